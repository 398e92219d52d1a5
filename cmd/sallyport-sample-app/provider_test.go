package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testProvider is a provider that signs one person in without asking, and can be told to misbehave.
type testProvider struct {
	*httptest.Server
	t      *testing.T
	key    *ecdsa.PrivateKey
	secret string // expected, "" for none

	mu        sync.Mutex
	codes     map[string]map[string]string // code → what it was asked with
	wrong     string                       // "nonce", "issuer", "audience", "iss", "denied", "hash", "no id token"
	loggedOut []string                     // id_token_hint of each logout
}

func newTestProvider(t *testing.T, secret string) *testProvider {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &testProvider{t: t, key: key, secret: secret, codes: map[string]map[string]string{}}
	m := http.NewServeMux()
	m.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	m.HandleFunc("GET /authorize", p.authorize)
	m.HandleFunc("POST /token", p.token)
	m.HandleFunc("GET /keys", p.keys)
	m.HandleFunc("GET /logout", p.logout)
	p.Server = httptest.NewTLSServer(m)
	t.Cleanup(p.Close)
	return p
}

// caFile writes the provider's certificate where --ca-file can read it.
func (p *testProvider) caFile() string {
	name := filepath.Join(p.t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(name, block, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return name
}

func (p *testProvider) is(wrong string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong == wrong
}

func (p *testProvider) discovery(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "end_session_endpoint": p.URL + "/logout?x=1", "authorization_response_iss_parameter_supported": true,
		"id_token_signing_alg_values_supported": []string{"ES256"}})
}

func (p *testProvider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = map[string]string{"challenge": q.Get("code_challenge"), "nonce": q.Get("nonce"), "redirect": q.Get("redirect_uri")}
	p.mu.Unlock()
	if q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("state") == "" {
		p.t.Errorf("the request lacks PKCE, nonce or state: %v", q)
	}
	back := q.Get("redirect_uri") + "?state=" + q.Get("state")
	issuer := p.URL
	if p.is("iss") {
		issuer = "https://other.example"
	}
	if p.is("denied") {
		http.Redirect(w, r, back+"&error=access_denied&error_description=%3Cscript%3E&iss="+issuer, http.StatusSeeOther)
		return
	}
	http.Redirect(w, r, back+"&code="+code+"&iss="+issuer, http.StatusSeeOther)
}

func (p *testProvider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	asked, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || id != "sample" || secret != p.secret || r.FormValue("redirect_uri") != asked["redirect"] ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked["challenge"] {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	access := rand.Text()
	half := sha256.Sum256([]byte(access))
	claims := map[string]any{"iss": p.URL, "aud": "sample", "sub": "u1", "upn": "ann@corp.example", "name": "<Ann>", "nonce": asked["nonce"],
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	switch {
	case p.is("nonce"):
		claims["nonce"] = "another"
	case p.is("issuer"):
		claims["iss"] = "https://other.example"
	case p.is("audience"):
		claims["aud"] = "other"
	case p.is("hash"):
		claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
	}
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "id_token": p.sign(claims)}
	if p.is("no id token") {
		delete(answer, "id_token")
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (p *testProvider) sign(claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k1"}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	compact, _ := signed.CompactSerialize()
	return compact
}

func (p *testProvider) keys(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
}

func (p *testProvider) logout(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.loggedOut = append(p.loggedOut, r.FormValue("id_token_hint"))
	p.mu.Unlock()
	if r.FormValue("client_id") != "sample" || r.FormValue("x") != "1" {
		p.t.Errorf("the logout request lacks something: %v", r.Form)
	}
	http.Redirect(w, r, r.FormValue("post_logout_redirect_uri"), http.StatusSeeOther)
}
