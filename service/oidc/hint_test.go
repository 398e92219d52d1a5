package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport-auth/sallyport/service/db"
)

// forge puts a token together from a header, the payload of a genuine one and whatever signs.
func forge(genuine string, header map[string]any, sign func(input string) []byte) string {
	input := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." + strings.Split(genuine, ".")[1]
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

// hmacBy signs as HS256 does.
func hmacBy(key []byte) func(string) []byte {
	return func(input string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(input))
		return m.Sum(nil)
	}
}

// ecdsaBy signs as ES256 does (RFC 7518 §3.4).
func ecdsaBy(key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func bytesOf(b []byte) func(string) []byte { return func(string) []byte { return b } }

// falseHints are tokens that are no ID tokens of acme.
func falseHints(t *testing.T, w *world) map[string]string {
	t.Helper()
	ctx := context.Background()
	genuine := w.tokens(w.web)["id_token"].(string)
	w.tokens(w.spa) // the RS256 key is there too
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(w.get(w.address("acme", "/oauth2/keys")).body), &set); err != nil {
		t.Fatal(err)
	}
	var ec, rs jose.JSONWebKey
	for _, k := range set.Keys {
		if k.Algorithm == "ES256" {
			ec = k
		} else {
			rs = k
		}
	}
	if ec.KeyID == "" || rs.KeyID == "" {
		t.Fatal("the key set lacks one of ES256 and RS256")
	}
	header := func(more ...any) map[string]any {
		h := map[string]any{"alg": "ES256", "kid": ec.KeyID, "typ": "JWT"}
		for i := 0; i+1 < len(more); i += 2 {
			h[more[i].(string)] = more[i+1]
		}
		return h
	}
	without := func(h map[string]any, name string) map[string]any { delete(h, name); return h }
	thief := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	thiefJWK := jose.JSONWebKey{Key: thief.Public()}
	signature := must(base64.RawURLEncoding.DecodeString(strings.Split(genuine, ".")[2]))
	sum := sha256.Sum256([]byte(genuine[:strings.LastIndex(genuine, ".")]))
	der := must(thief.Sign(rand.Reader, sum[:], crypto.SHA256))
	spki := must(x509.MarshalPKIXPublicKey(ec.Key))

	out := map[string]string{
		// RFC 8725 §3.1, §3.2: the algorithm is ours to choose.
		"none":                         forge(genuine, header("alg", "none"), bytesOf(nil)),
		"none with the old signature":  forge(genuine, header("alg", "none"), bytesOf(signature)),
		"None":                         forge(genuine, header("alg", "None"), bytesOf(nil)),
		"NONE":                         forge(genuine, header("alg", "NONE"), bytesOf(nil)),
		"no alg":                       forge(genuine, without(header(), "alg"), bytesOf(signature)),
		"empty alg":                    forge(genuine, header("alg", ""), bytesOf(nil)),
		"HS256 by the public key, JWK": forge(genuine, header("alg", "HS256"), hmacBy(must(ec.MarshalJSON()))),
		"HS256 by the public key, DER": forge(genuine, header("alg", "HS256"), hmacBy(spki)),
		"HS256 by the public key, PEM": forge(genuine, header("alg", "HS256"), hmacBy(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))),
		"HS256 by the RSA key, DER":    forge(genuine, header("alg", "HS256", "kid", rs.KeyID), hmacBy(must(x509.MarshalPKIXPublicKey(rs.Key)))),
		"HS256 by nothing":             forge(genuine, header("alg", "HS256"), hmacBy(nil)),
		"HS256 by the client's secret": forge(genuine, header("alg", "HS256"), hmacBy([]byte(w.web.secret))), // OIDC Core §10.1 would allow it
		"RS256 with an EC key":         forge(genuine, header("alg", "RS256"), bytesOf(make([]byte, 256))),
		"ES256 with an RSA key":        forge(genuine, header("kid", rs.KeyID), bytesOf(signature)),
		"ES384":                        forge(genuine, header("alg", "ES384"), bytesOf(make([]byte, 96))),
		// RFC 7515 §4.1, RFC 8725 §3.10: keys come from the tenant's own row, never from the token.
		"another key, our kid":       forge(genuine, header(), ecdsaBy(thief)),
		"another key in jwk":         forge(genuine, header("jwk", thiefJWK), ecdsaBy(thief)),
		"another key in jwk, no kid": forge(genuine, without(header("jwk", thiefJWK), "kid"), ecdsaBy(thief)),
		"another key at jku":         forge(genuine, header("jku", "https://evil.example/keys"), ecdsaBy(thief)),
		"another key at x5u":         forge(genuine, header("x5u", "https://evil.example/x"), ecdsaBy(thief)),
		"no kid":                     forge(genuine, without(header(), "kid"), bytesOf(signature)),
		"unknown kid":                forge(genuine, header("kid", "x"), ecdsaBy(thief)),
		"kid of a path":              forge(genuine, header("kid", "../../../dev/null"), hmacBy(nil)),
		"kid of SQL":                 forge(genuine, header("kid", "' OR '1'='1"), ecdsaBy(thief)),
		"kid with NUL":               forge(genuine, header("kid", ec.KeyID+"\x00"), bytesOf(signature)),
		"kid of a number":            forge(genuine, header("kid", 1), bytesOf(signature)),
		"kid of another tenant":      w.tokens(w.foreign)["id_token"].(string),
		// RFC 7515 §4.1.11, RFC 7797 §6: what is critical and not understood is refused.
		"crit":        forge(genuine, header("crit", []string{"x"}, "x", 1), bytesOf(signature)),
		"empty crit":  forge(genuine, header("crit", []string{}), bytesOf(signature)),
		"unencoded":   forge(genuine, header("b64", false, "crit", []string{"b64"}), bytesOf(signature)),
		"zero":        forge(genuine, header(), bytesOf(make([]byte, 64))), // r = s = 0
		"no sign":     forge(genuine, header(), bytesOf(nil)),
		"DER":         forge(genuine, header(), bytesOf(der)), // RFC 7518 §3.4: 64 bytes, not ASN.1
		"cut short":   forge(genuine, header(), bytesOf(signature[:63])),
		"longer":      genuine + "AAAA",
		"payload":     alter(genuine),
		"no parts":    strings.ReplaceAll(genuine, ".", ""),
		"two parts":   genuine[:strings.LastIndex(genuine, ".")],
		"four parts":  genuine + "." + strings.Split(genuine, ".")[2],
		"encrypted":   "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA", // RFC 7516 §3.1
		"JSON":        must(jose.ParseSignedCompact(genuine, []jose.SignatureAlgorithm{jose.ES256})).FullSerialize(),
		"white space": " " + genuine,
		"padding":     genuine + "=",
	}
	// Signed by acme itself, and no ID token of its issuer all the same.
	claims := payload(genuine)
	for name, change := range map[string]func(c map[string]any) (typ string){
		"our key, another type":     func(map[string]any) string { return "at+jwt" }, // RFC 8725 §3.11
		"our key, another issuer":   func(c map[string]any) string { c["iss"] = w.address("other", ""); return typeJWT },
		"our key, issuer and slash": func(c map[string]any) string { c["iss"] = w.address("acme", "/"); return typeJWT },
		"our key, no issuer":        func(c map[string]any) string { delete(c, "iss"); return typeJWT },
		"our key, no subject":       func(c map[string]any) string { delete(c, "sub"); return typeJWT },
		"our key, no audience":      func(c map[string]any) string { delete(c, "aud"); return typeJWT },
		"our key, two audiences":    func(c map[string]any) string { c["aud"] = []string{w.web.id, "x"}; return typeJWT },
	} {
		c := maps.Clone(claims)
		typ := change(c)
		out[name] = must(w.keys.Sign(ctx, w.acme.Scope(), "ES256", typ, c, w.clock.now()))
	}
	return out
}

// TestFalseHints: at the authorization endpoint a false id_token_hint is an error (OpenID Connect Core §3.1.2.1: MUST validate), at the
// logout endpoint as good as none (RP-Initiated Logout §2: the person is asked). It is the one place where we read tokens that others hand us.
func TestFalseHints(t *testing.T) {
	w := newWorld(t)
	for name, hint := range falseHints(t, w) {
		t.Run(name, func(t *testing.T) {
			asked := len(w.signin.asks)
			a := w.authorize("acme", with(w.request(w.web), "id_token_hint", hint))
			if a.query.Get("error") != "invalid_request" || len(w.signin.asks) != asked {
				t.Errorf("authorize answers %d %v", a.status, a.location)
			}
			w.signin.session = payload(w.tokens(w.web)["id_token"])["sid"].(string) // signed in, as most hints claim
			a = w.get(w.address("acme", "/oauth2/logout?"+url.Values{"id_token_hint": {hint}}.Encode()))
			if a.status != http.StatusOK || a.location != nil || w.signin.session == "" {
				t.Errorf("logout answers %d %v", a.status, a.location)
			}
		})
	}
}

// TestHintTimes: a hint says whom the application means and admits nobody, so that its times do not matter; the session's do.
func TestHintTimes(t *testing.T) {
	w := newWorld(t)
	genuine := w.tokens(w.web)["id_token"].(string)
	claims := payload(genuine)
	for name, at := range map[string]time.Time{"long expired": w.clock.now().Add(-300 * 24 * time.Hour), "from the future": w.clock.now().Add(300 * 24 * time.Hour)} {
		claims["iat"], claims["exp"] = at.Unix(), at.Add(idTokenLife).Unix()
		hint := must(w.keys.Sign(context.Background(), w.acme.Scope(), "ES256", typeJWT, claims, w.clock.now()))
		w.signin.session = ""
		if a := w.authorize("acme", with(w.request(w.web), "id_token_hint", hint, "prompt", "none")); a.query.Get("error") != "login_required" {
			t.Errorf("%s: without a session %v", name, a.location)
		}
		w.signin.session, w.signin.at = db.NewID(), w.clock.now()
		if a := w.authorize("acme", with(w.request(w.web), "id_token_hint", hint, "prompt", "none")); a.query.Get("code") == "" {
			t.Errorf("%s: with a session %v", name, a.location)
		}
	}
	// The token of a key that had to be replaced says nothing any more.
	if err := w.keys.Replace(context.Background(), w.acme.Scope(), "ES256", w.clock.now()); err != nil {
		t.Fatal(err)
	}
	if a := w.authorize("acme", with(w.request(w.web), "id_token_hint", genuine)); a.query.Get("error") != "invalid_request" {
		t.Errorf("after the key was replaced: %v", a.location)
	}
}
