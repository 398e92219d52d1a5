package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// config is what the command line said.
type config struct {
	issuer, clientID, secret string
	// url is where browsers reach this application, without a slash at the end.
	url    string
	client *http.Client
}

// requestTimeout bounds one request to the provider.
const requestTimeout = 15 * time.Second

// clientFor returns an HTTP client that trusts the CA in a file, or the system's when there is none.
func clientFor(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read --ca-file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the file %s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: requestTimeout}, nil
}

// attempt is a sign-in that has left for the provider.
type attempt struct {
	state, nonce, verifier string
	begun                  time.Time
}

// session is what the application remembers of one browser.
type session struct {
	attempt *attempt
	// idToken and claims are those of the person who is signed in; claims is nil when nobody is.
	idToken string
	claims  map[string]any
	used    time.Time
}

// endpoints are the provider's, once it has been reached.
type endpoints struct {
	oauth      oauth2.Config
	verifier   *oidc.IDTokenVerifier
	endSession string
	issuerSent bool // the provider promises iss in its answers (RFC 9207 §3)
}

type application struct {
	config
	mu        sync.Mutex
	endpoints *endpoints          // guarded by mu; nil until discovery succeeded
	sessions  map[string]*session // guarded by mu, by the cookie's value
}

func newApplication(c config) *application {
	return &application{config: c, sessions: make(map[string]*session)}
}

func (a *application) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", a.home)
	m.HandleFunc("GET /signin", a.signIn)
	m.HandleFunc("GET /callback", a.callback)
	m.HandleFunc("POST /signout", a.signOut)
	m.HandleFunc("GET /signed-out", a.signedOut)
	return m
}

const (
	cookieName = "sample-session"
	// sessionLife ends a session that is not used; attemptLife a sign-in that does not come back.
	sessionLife = 8 * time.Hour
	attemptLife = time.Hour
	// maxSessions bounds memory; the oldest goes first.
	maxSessions = 1000
)

// remember returns the browser's session, and makes one with its cookie when asked to. It is nil when there is none.
func (a *application) remember(w http.ResponseWriter, r *http.Request, create bool) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if cookie, err := r.Cookie(cookieName); err == nil {
		if s := a.sessions[cookie.Value]; s != nil && now.Sub(s.used) < sessionLife {
			s.used = now
			return s
		}
	}
	if !create {
		return nil
	}
	for len(a.sessions) >= maxSessions {
		delete(a.sessions, slices.MinFunc(slices.Collect(maps.Keys(a.sessions)), func(x, y string) int {
			return a.sessions[x].used.Compare(a.sessions[y].used)
		}))
	}
	return a.keep(w, &session{used: now})
}

// keep stores a session under a fresh cookie. The caller holds mu.
func (a *application) keep(w http.ResponseWriter, s *session) *session {
	id := rand.Text()
	a.sessions[id] = s
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return s
}

// forget drops the browser's session.
func (a *application) forget(r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cookie, err := r.Cookie(cookieName); err == nil {
		delete(a.sessions, cookie.Value)
	}
}

// provider asks the provider for its description, once it can be reached.
func (a *application) provider(ctx context.Context) (*endpoints, error) {
	a.mu.Lock()
	known := a.endpoints
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// Not the request's context: the key set lives on for later requests.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), a.client), a.issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
		Issuer     bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	known = &endpoints{
		oauth: oauth2.Config{ClientID: a.clientID, ClientSecret: a.secret, Endpoint: p.Endpoint(), RedirectURL: a.url + "/callback",
			Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups"}},
		verifier:   p.Verifier(&oidc.Config{ClientID: a.clientID, SupportedSigningAlgs: []string{oidc.ES256, oidc.RS256}}),
		endSession: more.EndSession,
		issuerSent: more.Issuer,
	}
	if a.secret == "" {
		known.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public application just says who it is
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endpoints = known
	return known, nil
}

func (a *application) home(w http.ResponseWriter, r *http.Request) {
	s := a.remember(w, r, false)
	if s == nil || s.claims == nil {
		show(w, http.StatusOK, page{Title: "Sample app"})
		return
	}
	show(w, http.StatusOK, page{Title: "Sample app", UPN: nameOf(s.claims), Claims: rows(s.claims)})
}

func (a *application) signIn(w http.ResponseWriter, r *http.Request) {
	p, err := a.provider(r.Context())
	if err != nil {
		fail(w, http.StatusBadGateway, "The provider cannot be reached.", err)
		return
	}
	t := &attempt{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), begun: time.Now()}
	s := a.remember(w, r, true)
	a.mu.Lock()
	s.attempt = t
	a.mu.Unlock()
	http.Redirect(w, r, p.oauth.AuthCodeURL(t.state, oidc.Nonce(t.nonce), oauth2.S256ChallengeOption(t.verifier)), http.StatusSeeOther)
}

func (a *application) callback(w http.ResponseWriter, r *http.Request) {
	s := a.remember(w, r, false)
	var t *attempt
	if s != nil {
		a.mu.Lock()
		t, s.attempt = s.attempt, nil // one answer for one attempt
		a.mu.Unlock()
	}
	q := r.URL.Query()
	if t == nil || time.Since(t.begun) > attemptLife || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(t.state)) != 1 {
		fail(w, http.StatusBadRequest, "This answer belongs to no sign-in of this browser. Start again.", errors.New("state does not match"))
		return
	}
	if name := q.Get("error"); name != "" {
		fail(w, http.StatusForbidden, "The provider refused: "+name+". "+q.Get("error_description"), nil)
		return
	}
	idToken, claims, err := a.redeem(r.Context(), q, t)
	if err != nil {
		fail(w, http.StatusBadGateway, "The sign-in could not be completed.", err)
		return
	}
	a.forget(r) // a new cookie for a person: whoever planted the old one gains nothing
	a.mu.Lock()
	a.keep(w, &session{idToken: idToken, claims: claims, used: time.Now()})
	a.mu.Unlock()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// redeem turns a code into a checked ID token and its claims.
func (a *application) redeem(ctx context.Context, q url.Values, t *attempt) (string, map[string]any, error) {
	p, err := a.provider(ctx)
	if err != nil {
		return "", nil, err
	}
	if iss := q.Get("iss"); iss != a.issuer && (iss != "" || p.issuerSent) { // RFC 9207 §2.4
		return "", nil, fmt.Errorf("the answer is of the issuer %q", iss)
	}
	ctx = oidc.ClientContext(ctx, a.client)
	token, err := p.oauth.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(t.verifier))
	if err != nil {
		return "", nil, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", nil, errors.New("the answer holds no ID token")
	}
	idToken, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return "", nil, err
	}
	if subtle.ConstantTimeCompare([]byte(idToken.Nonce), []byte(t.nonce)) != 1 {
		return "", nil, errors.New("the ID token's nonce is not ours")
	}
	if idToken.AccessTokenHash != "" {
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			return "", nil, err
		}
	}
	var claims map[string]any
	if err := idToken.Claims(&claims); err != nil {
		return "", nil, err
	}
	return raw, claims, nil
}

func (a *application) signOut(w http.ResponseWriter, r *http.Request) {
	s := a.remember(w, r, false)
	a.forget(r)
	p, err := a.provider(r.Context())
	if err != nil || p.endSession == "" || s == nil || s.idToken == "" {
		http.Redirect(w, r, "/signed-out", http.StatusSeeOther)
		return
	}
	// OpenID Connect RP-Initiated Logout §2.
	target, err := url.Parse(p.endSession)
	if err != nil {
		fail(w, http.StatusBadGateway, "The provider's address for signing out is not usable.", err)
		return
	}
	q := target.Query()
	q.Set("id_token_hint", s.idToken)
	q.Set("client_id", a.clientID)
	q.Set("post_logout_redirect_uri", a.url+"/signed-out")
	target.RawQuery = q.Encode()
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

func (a *application) signedOut(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, page{Title: "Sample app", SignedOut: true})
}

// nameOf returns what to call the person.
func nameOf(claims map[string]any) string {
	for _, name := range []string{"upn", "preferred_username", "email", "sub"} {
		if s, ok := claims[name].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// rows returns the claims in the order of their names, values as text.
func rows(claims map[string]any) []row {
	var out []row
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value, ok := claims[name].(string)
		if !ok {
			encoded, err := json.Marshal(claims[name])
			if err != nil {
				continue
			}
			value = string(encoded)
		}
		if n, ok := claims[name].(float64); ok && (name == "exp" || name == "iat" || name == "auth_time") {
			value = time.Unix(int64(n), 0).UTC().Format(time.RFC3339)
		}
		out = append(out, row{name, value})
	}
	return out
}

// fail shows an error; the cause goes to the log.
func fail(w http.ResponseWriter, status int, sentence string, cause error) {
	if cause != nil {
		log.Printf("%s %v", sentence, cause)
	}
	show(w, status, page{Title: "Sample app", Error: sentence})
}
