package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	coreos "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/user"
)

// TestRealClient signs in with the client that most Go applications use.
func TestRealClient(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name      string
		client    client
		style     oauth2.AuthStyle
		algorithm string
	}{
		{"client_secret_basic, ES256", w.web, oauth2.AuthStyleInHeader, "ES256"},
		{"client_secret_post, ES256", w.web, oauth2.AuthStyleInParams, "ES256"},
		{"public, RS256", w.spa, oauth2.AuthStyleInParams, "RS256"},
		{"public, found out by trying", w.spa, oauth2.AuthStyleAutoDetect, "RS256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := coreos.ClientContext(t.Context(), w.caller)
			provider, err := coreos.NewProvider(ctx, w.address("acme", ""))
			if err != nil {
				t.Fatal(err)
			}
			config := oauth2.Config{ClientID: c.client.id, ClientSecret: c.client.secret, Endpoint: provider.Endpoint(), RedirectURL: c.client.redirect,
				Scopes: []string{"openid", "profile", "email", "groups", "offline_access", "unknown"}}
			config.Endpoint.AuthStyle = c.style
			v := oauth2.GenerateVerifier()
			back := w.get(config.AuthCodeURL("state", coreos.Nonce("nonce"), oauth2.S256ChallengeOption(v)))
			for back.location != nil && back.location.Host == "" {
				back = w.get(w.server.URL + back.location.String())
			}
			if back.status != http.StatusSeeOther || back.query.Get("state") != "state" || back.query.Get("iss") != w.address("acme", "") ||
				!strings.HasPrefix(back.location.String(), c.client.redirect) {
				t.Fatalf("answered %d %s", back.status, back.location)
			}
			token, err := config.Exchange(ctx, back.query.Get("code"), oauth2.VerifierOption(v))
			if err != nil {
				t.Fatal(err)
			}
			raw := token.Extra("id_token").(string)
			verifier := provider.Verifier(&coreos.Config{ClientID: c.client.id, Now: w.clock.now})
			idToken, err := verifier.Verify(ctx, raw)
			if err != nil {
				t.Fatal(err)
			}
			if idToken.Nonce != "nonce" || idToken.Subject != w.ann.ID {
				t.Errorf("nonce %q, sub %q", idToken.Nonce, idToken.Subject)
			}
			if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
				t.Error(err)
			}
			parsed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(c.algorithm)})
			if err != nil {
				t.Errorf("not signed with %s: %v", c.algorithm, err)
			} else if typ := parsed.Signatures[0].Header.ExtraHeaders["typ"]; typ != "JWT" {
				t.Errorf("typ %v", typ)
			}
			claims := payload(raw)
			for name, want := range map[string]any{"upn": "ann@acme.example", "preferred_username": "ann@acme.example", "name": "Ann Lee",
				"given_name": "Ann", "family_name": "Lee", "email": "ann.lee@acme.example", "acr": acrPassword, "sid": w.signin.session} {
				if claims[name] != want {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
			if amr, _ := json.Marshal(claims["amr"]); string(amr) != `["pwd"]` {
				t.Errorf("amr is %s", amr)
			}
			// The administrator lets only one of the apps have groups, whatever they ask for.
			_, hasGroups := claims["groups"]
			if hasGroups != (c.client == w.web) || strings.Contains(token.Extra("scope").(string), "groups") != hasGroups {
				t.Errorf("groups: %v, scope %v", claims["groups"], token.Extra("scope"))
			}
			info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
			if err != nil {
				t.Fatal(err)
			}
			if info.Subject != w.ann.ID || info.Email != "ann.lee@acme.example" {
				t.Errorf("userinfo: %+v", info)
			}
			expired := *token
			expired.Expiry = w.clock.now().AddDate(-1, 0, 0)
			renewed, err := config.TokenSource(ctx, &expired).Token()
			if err != nil {
				t.Fatal(err)
			}
			if renewed.RefreshToken == token.RefreshToken || renewed.AccessToken == token.AccessToken {
				t.Error("nothing was rotated")
			}
			second, err := verifier.Verify(ctx, renewed.Extra("id_token").(string))
			if err != nil {
				t.Fatal(err)
			}
			first := payload(raw)
			again := payload(renewed.Extra("id_token"))
			if second.Nonce != "" || second.Subject != idToken.Subject || again["auth_time"] != first["auth_time"] || again["sid"] != first["sid"] {
				t.Errorf("refreshed ID token: %v", again) // OpenID Connect Core §12.2
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	a := w.get(w.address("acme", "/.well-known/openid-configuration"))
	if a.status != 200 || a.header.Get("Cache-Control") != "public, max-age=3600" || a.json["issuer"] != w.address("acme", "") {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint", "revocation_endpoint"} {
		// Every endpoint is there: none answers "not found" or "method not allowed".
		method := "GET"
		if name == "token_endpoint" || name == "revocation_endpoint" {
			method = "POST"
		}
		r, err := http.NewRequest(method, a.json[name].(string), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.do(r).status; got == 404 || got == 405 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if a.json["authorization_response_iss_parameter_supported"] != true || a.json["request_uri_parameter_supported"] != false {
		t.Error("promises differ")
	}
	if got := w.get(w.address("nobody", "/.well-known/openid-configuration")); got.status != 404 {
		t.Errorf("an unknown tenant has a provider: %d", got.status)
	}
}

// TestKeyRotation plays a client that fetched the key set before a rotation and does not fetch it again.
func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	before := w.tokens(w.web)["id_token"].(string)
	if err := w.keys.Rotate(t.Context(), w.acme.Scope(), "ES256", w.clock.now()); err != nil {
		t.Fatal(err)
	}
	answered := w.get(w.address("acme", "/oauth2/keys"))
	if answered.header.Get("Cache-Control") != "public, max-age=900" {
		t.Errorf("Cache-Control %q", answered.header.Get("Cache-Control"))
	}
	if keysAge > keyring.CacheLife || idTokenLife > keyring.LongestToken {
		t.Error("the keyring's rule is broken")
	}
	var cached jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(answered.body), &cached); err != nil {
		t.Fatal(err)
	}
	kid := func(compact string) string {
		signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		id := signed.Signatures[0].Header.KeyID
		known := cached.Key(id)
		if len(known) != 1 {
			t.Fatalf("the cached set has key %s %d times", id, len(known))
		}
		if _, err := signed.Verify(known[0]); err != nil {
			t.Errorf("key %s: %v", id, err)
		}
		return id
	}
	seen := []string{kid(before), kid(w.tokens(w.web)["id_token"].(string))}
	w.clock.advance(keyring.CacheLife)
	seen = append(seen, kid(w.tokens(w.web)["id_token"].(string)))
	w.clock.advance(keyring.CacheLife)
	seen = append(seen, kid(w.tokens(w.web)["id_token"].(string)))
	if seen[0] == seen[len(seen)-1] {
		t.Errorf("the key never changed: %v", seen)
	}
	if strings.Contains(answered.body, `"d"`) {
		t.Error("a private key is published")
	}
}

func TestPostAuthorize(t *testing.T) {
	w := newWorld(t)
	a := w.post(w.address("acme", "/oauth2/authorize"), w.request(w.web).Encode(), "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site")
	if a.status != http.StatusSeeOther || a.location.Host != "" || a.query.Get("client_id") != w.web.id || a.query.Get("state") != "s 1" {
		t.Errorf("answered %d %v", a.status, a.location)
	}
}

func TestSilent(t *testing.T) {
	w := newWorld(t)
	silent := with(w.request(w.web), "prompt", "none")
	if a := w.authorize("acme", silent); a.query.Get("error") != "login_required" || !strings.HasPrefix(a.query.Get("error_description"), "50058: ") {
		t.Errorf("without a session: %v", a.location)
	}
	w.code(w.web) // a session begins
	asked := len(w.signin.asks)
	if a := w.authorize("acme", silent); a.query.Get("code") == "" || a.query.Get("iss") == "" {
		t.Errorf("with a session: %v", a.location)
	}
	if a := w.authorize("acme", with(silent, "id_token_hint", w.tokens(w.web, "prompt", "none")["id_token"].(string))); a.query.Get("code") == "" {
		t.Errorf("with the user's own hint: %v", a.location)
	}
	w.clock.advance(1000 * 1e9)
	if a := w.authorize("acme", with(silent, "max_age", "999")); a.query.Get("error") != "login_required" {
		t.Errorf("with an old session: %v", a.location)
	}
	if a := w.authorize("acme", with(silent, "max_age", "1000")); a.query.Get("code") == "" {
		t.Errorf("with a session just young enough: %v", a.location)
	}
	if a := w.authorize("acme", with(silent, "claims", `{"id_token":{"sub":{"value":"somebody"}}}`)); a.query.Get("error") != "login_required" {
		t.Errorf("for another user: %v", a.location)
	}
	if a := w.authorize("acme", with(silent, "max_age", "0")); a.query.Get("error") != "login_required" {
		t.Errorf("max_age=0: %v", a.location)
	}
	if len(w.signin.asks) != asked {
		t.Error("somebody was asked to sign in")
	}
}

func TestAsksSignin(t *testing.T) {
	w := newWorld(t)
	hint := w.tokens(w.web, "scope", "openid profile")["id_token"].(string)
	last := func(change ...string) (answer, int) {
		a := w.authorize("acme", with(w.request(w.web), change...))
		return a, len(w.signin.asks) - 1
	}
	_, i := last("prompt", "login", "login_hint", "ann@acme.example")
	if ask := w.signin.asks[i]; !ask.Fresh || ask.LoginHint != "ann@acme.example" || ask.AppID != w.web.id || ask.AppName != "Web" {
		t.Errorf("%+v", ask)
	}
	_, i = last("max_age", "0")
	if !w.signin.asks[i].Fresh {
		t.Error("max_age=0 asks for no fresh sign-in")
	}
	_, i = last("max_age", "60", "prompt", "select_account consent")
	if ask := w.signin.asks[i]; ask.Fresh || ask.MaxAge.Seconds() != 60 || !ask.SelectAccount {
		t.Errorf("%+v", ask)
	}
	_, i = last("login_hint", strings.Repeat("x", maxHintBytes+1))
	if ask := w.signin.asks[i]; ask.LoginHint != "" || ask.Fresh || ask.MaxAge != anyAge {
		t.Errorf("%+v", ask)
	}
	_, i = last("id_token_hint", hint)
	if ask := w.signin.asks[i]; ask.LoginHint != "ann@acme.example" || ask.Fresh {
		t.Errorf("%+v", ask)
	}
	_, i = last("id_token_hint", hint, "login_hint", "a.lee@acme.example")
	if ask := w.signin.asks[i]; ask.LoginHint != "a.lee@acme.example" {
		t.Errorf("the application's own hint is lost: %+v", ask)
	}
	_, i = last("id_token_hint", hint, "claims", `{"id_token":{"sub":{"value":"`+w.ann.ID+`"}}}`)
	if ask := w.signin.asks[i]; ask.LoginHint != "ann@acme.example" {
		t.Errorf("%+v", ask)
	}
	if a, n := last("id_token_hint", hint, "claims", `{"id_token":{"sub":{"value":"`+w.bob.ID+`"}}}`); a.query.Get("error") != "invalid_request" || n != i {
		t.Errorf("hint and claims name different users: %v", a.location)
	}
	w.signin.who = w.bob
	a, i := last("id_token_hint", hint)
	if !w.signin.asks[i].Fresh || a.query.Get("error") != "login_required" {
		t.Errorf("another user's session answered for the hint: %v", a.location) // OpenID Connect Core §3.1.2.2
	}
	w.signin.who, w.signin.stale = w.ann, clockTolerance+1e9
	if a, _ := last("prompt", "login"); a.query.Get("error") != "login_required" {
		t.Errorf("an old sign-in passed for a fresh one: %v", a.location)
	}
}

func TestState(t *testing.T) {
	w := newWorld(t)
	for _, state := range []string{"", "a", "ä ö&=?#%\"<>\r\n", strings.Repeat("x", 8000)} {
		q := w.request(w.web)
		q.Set("state", state)
		a := w.authorize("acme", q)
		if a.query.Get("code") == "" || a.query.Get("state") != state {
			t.Errorf("state %.20q came back as %.20q (%d)", state, a.query.Get("state"), a.status)
		}
		q.Set("scope", "none")
		if a := w.authorize("acme", q); a.query.Get("error") != "invalid_scope" || a.query.Get("state") != state {
			t.Errorf("state %.20q came back with the error as %.20q", state, a.query.Get("state"))
		}
	}
	q := w.request(w.web)
	q.Del("state")
	if a := w.authorize("acme", q); a.query.Get("code") == "" || a.query.Has("state") {
		t.Errorf("without state: %v", a.location)
	}
}

func TestClaimsParameter(t *testing.T) {
	w := newWorld(t)
	tokens := w.tokens(w.web, "claims", `{"id_token":{"email":null,"groups":null,"auth_time":{"essential":true},"acr":{"essential":true,"value":"`+acrPassword+`"}},
		"userinfo":{"given_name":null,"upn":null}}`)
	id := payload(tokens["id_token"])
	if id["email"] != "ann.lee@acme.example" || id["groups"] == nil || id["auth_time"] == nil || id["upn"] != nil || id["given_name"] != nil {
		t.Errorf("ID token: %v", id)
	}
	info := w.userInfo("acme", tokens["access_token"]).json
	if info["given_name"] != "Ann" || info["upn"] != "ann@acme.example" || info["email"] != nil || info["sub"] != w.ann.ID {
		t.Errorf("userinfo: %v", info)
	}
	// An app that may not have groups does not get them by asking for the claim either.
	if id := payload(w.tokens(w.secret2, "claims", `{"id_token":{"groups":{"essential":true}}}`)["id_token"]); id["groups"] != nil {
		t.Errorf("groups leaked: %v", id)
	}
}

func TestManyGroups(t *testing.T) {
	w := newWorld(t)
	var many []string
	for i := range maxTokenGroups + 1 {
		many = append(many, fmt.Sprintf("group %03d", i))
	}
	must(w.users.Change(t.Context(), w.acme.Scope(), w.ann.ID, user.Change{Groups: &many}, w.clock.now()))
	tokens := w.tokens(w.web, "scope", "openid groups")
	if id := payload(tokens["id_token"]); id["groups"] != nil || id["_claim_names"] == nil || id["_claim_sources"] == nil {
		t.Errorf("ID token: %v", id)
	}
	if groups, _ := w.userInfo("acme", tokens["access_token"]).json["groups"].([]any); len(groups) != len(many) {
		t.Errorf("userinfo has %d groups", len(groups))
	}
}

// TestTenantsNeverMeet uses what one tenant issued at the other.
func TestTenantsNeverMeet(t *testing.T) {
	w := newWorld(t)
	tokens := w.tokens(w.web, "scope", "openid offline_access")
	twin := w.web
	twin.tenant = "other"
	w.wants(w.exchange(twin, w.code(w.web)), 401, "invalid_client")
	stranger := w.foreign
	w.wants(w.exchange(stranger, w.code(w.web)), 400, "invalid_grant")
	w.wants(w.refresh(stranger, tokens["refresh_token"].(string)), 400, "invalid_grant")
	w.wants(w.userInfo("other", tokens["access_token"]), 401, "invalid_token")
	form := url.Values{"client_id": {stranger.id}, "client_secret": {stranger.secret}, "token": {tokens["refresh_token"].(string)}}
	if a := w.post(w.address("other", "/oauth2/revoke"), form.Encode()); a.status != 200 {
		t.Errorf("revoke: %d", a.status)
	}
	if a := w.refresh(w.web, tokens["refresh_token"].(string)); a.status != 200 {
		t.Errorf("another tenant ended the grant: %s", a.body)
	}
	q := w.request(w.foreign)
	q.Set("id_token_hint", tokens["id_token"].(string))
	if a := w.authorize("other", q); a.query.Get("error") != "invalid_request" || a.query.Get("iss") != w.address("other", "") {
		t.Errorf("a foreign hint: %v", a.location)
	}
	if set := w.get(w.address("other", "/oauth2/keys")).body; set == w.get(w.address("acme", "/oauth2/keys")).body {
		t.Error("two tenants share keys")
	}
	// The request of one tenant cannot be resumed at another.
	began := w.get(w.address("acme", "/oauth2/authorize?"+w.request(w.web).Encode()))
	moved := strings.Replace(began.location.String(), "/t/acme/", "/t/other/", 1)
	if a := w.get(w.server.URL + moved); a.location != nil || a.status < 400 {
		t.Errorf("resumed elsewhere: %d %v", a.status, a.location)
	}
	if err := w.p.SessionEnded(context.Background(), w.other.Scope(), w.signin.session); err != nil {
		t.Error(err)
	}
	if a := w.userInfo("acme", tokens["access_token"]); a.status != 200 {
		t.Error("another tenant ended a session")
	}
}
