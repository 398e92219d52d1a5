package oidc

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// TestRefusedAuthorize is the table of authorization requests that must fail, each with the rule that it breaks. Those with a
// number are answered with a page: the browser is sent nowhere.
func TestRefusedAuthorize(t *testing.T) {
	w := newWorld(t)
	id := w.tokens(w.web)["id_token"].(string)
	foreign := w.tokens(w.foreign)["id_token"].(string)
	asked := len(w.signin.asks)
	long := strings.Repeat("x", maxQueryBytes)
	for _, c := range []struct {
		name, rule string
		change     []string
		raw        string // appended to the query
		page       string // our number
		redirect   string // or the error that the application is told
	}{
		// Client and address: never a redirect.
		{name: "no client", rule: "RFC 6749 §4.1.1", change: []string{"client_id", ""}, page: "90006"},
		{name: "unknown client", rule: "RFC 6749 §4.1.2.1", change: []string{"client_id", "nobody"}, page: "90006"},
		{name: "client with NUL", rule: "RFC 6749 §A.1", raw: "&x=%00", page: "90002"},
		{name: "client of another tenant", rule: "OIDC Core §2 iss", change: []string{"client_id", w.foreign.id}, page: "90006"},
		{name: "client twice", rule: "RFC 6749 §3.1", raw: "&client_id=" + w.web.id, page: "90002"},
		{name: "no redirect", rule: "OIDC Core §3.1.2.1", change: []string{"redirect_uri", ""}, page: "90007"},
		{name: "redirect twice", rule: "RFC 6749 §3.1", raw: "&redirect_uri=https%3A%2F%2Fevil.example", page: "90002"},
		{name: "redirect: case of host", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://APP.example/cb?x=1"}, page: "90007"},
		{name: "redirect: case of path", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example/CB?x=1"}, page: "90007"},
		{name: "redirect: trailing slash", rule: "RFC 9700 §2.1", change: []string{"redirect_uri", "https://app.example/cb/?x=1"}, page: "90007"},
		{name: "redirect: user info", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://app.example@evil.example/cb?x=1"}, page: "90007"},
		{name: "redirect: encoded", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example/%63b?x=1"}, page: "90007"},
		{name: "redirect: dot segments", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example/a/../cb?x=1"}, page: "90007"},
		{name: "redirect: further query", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://app.example/cb?x=1&y=2"}, page: "90007"},
		{name: "redirect: less query", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://app.example/cb"}, page: "90007"},
		{name: "redirect: fragment", rule: "RFC 6749 §3.1.2", change: []string{"redirect_uri", "https://app.example/cb?x=1#f"}, page: "90007"},
		{name: "redirect: http", rule: "RFC 9700 §2.6", change: []string{"redirect_uri", "http://app.example/cb?x=1"}, page: "90007"},
		{name: "redirect: port", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example:443/cb?x=1"}, page: "90007"},
		{name: "redirect: subdomain", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://app.example.evil.example/cb?x=1"}, page: "90007"},
		{name: "redirect: script", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "javascript:alert(1)"}, page: "90007"},
		{name: "redirect: of another app", rule: "RFC 6749 §3.1.2.3", change: []string{"redirect_uri", spaRedirect}, page: "90007"},
		{name: "redirect: line break", rule: "RFC 9110 §5.5", change: []string{"redirect_uri", "https://app.example/cb?x=1\r\nSet-Cookie: a=b"}, page: "90007"},
		{name: "redirect: white space", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", " " + webRedirect}, page: "90007"},
		{name: "redirect: backslash", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", `https://app.example\@evil.example/cb?x=1`}, page: "90007"},
		{name: "redirect: no scheme", rule: "RFC 6749 §3.1.2", change: []string{"redirect_uri", "//app.example/cb?x=1"}, page: "90007"},
		{name: "redirect: path alone", rule: "RFC 6749 §3.1.2", change: []string{"redirect_uri", "/cb?x=1"}, page: "90007"},
		{name: "redirect: data", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "data:text/html,x"}, page: "90007"},
		{name: "redirect: full stop after the host", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example./cb?x=1"}, page: "90007"},
		{name: "redirect: letter that looks alike", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://аpp.example/cb?x=1"}, page: "90007"},
		{name: "redirect: path parameter", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example/cb;y?x=1"}, page: "90007"},
		{name: "redirect: encoded query", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", "https://app.example/cb?x=%31"}, page: "90007"},
		{name: "redirect: query twice", rule: "RFC 9700 §4.1", change: []string{"redirect_uri", "https://app.example/cb?x=1&x=1"}, page: "90007"},
		{name: "redirect: tab", rule: "RFC 3986 §6.2.1", change: []string{"redirect_uri", webRedirect + "\t"}, page: "90007"},
		{name: "redirect: NUL", rule: "RFC 6749 §A.6", change: []string{"redirect_uri", webRedirect + "\x00"}, page: "90002"},
		{name: "redirect: no UTF-8", rule: "RFC 6749 §B", change: []string{"redirect_uri", webRedirect + "\xff"}, page: "90002"},
		{name: "redirect: of the sign-out", rule: "RFC 6749 §3.1.2.3", change: []string{"redirect_uri", "https://app.example/bye"}, page: "90007"},
		{name: "broken encoding", rule: "RFC 6749 §B", raw: "&state=%zz", page: "90002"},
		{name: "huge", rule: "ours", change: []string{"state", long}, page: "90002"},
		{name: "many parameters", rule: "ours", raw: strings.Repeat("&a", maxParameters), page: "90002"},

		// The rest: told to the application.
		{name: "state twice", rule: "RFC 6749 §3.1", raw: "&state=x", redirect: "invalid_request"},
		{name: "unknown parameter twice", rule: "RFC 6749 §3.1", raw: "&x=1&x=2", redirect: "invalid_request"},
		{name: "scope twice", rule: "RFC 6749 §3.1", raw: "&scope=openid", redirect: "invalid_request"},
		{name: "no response type", rule: "RFC 6749 §3.1.1", change: []string{"response_type", ""}, redirect: "invalid_request"},
		{name: "implicit", rule: "RFC 9700 §2.1.2", change: []string{"response_type", "token"}, redirect: "unsupported_response_type"},
		{name: "hybrid", rule: "RFC 6749 §3.1.1", change: []string{"response_type", "code id_token"}, redirect: "unsupported_response_type"},
		{name: "response type in capitals", rule: "RFC 6749 §3.1.1", change: []string{"response_type", "CODE"}, redirect: "unsupported_response_type"},
		{name: "fragment mode", rule: "OAuth Multiple Response Types §2.1", change: []string{"response_mode", "fragment"}, redirect: "invalid_request"},
		{name: "form_post mode", rule: "OAuth Form Post §2", change: []string{"response_mode", "form_post"}, redirect: "invalid_request"},
		{name: "no scope", rule: "OIDC Core §3.1.2.1", change: []string{"scope", ""}, redirect: "invalid_scope"},
		{name: "no openid", rule: "OIDC Core §3.1.2.1", change: []string{"scope", "profile OPENID"}, redirect: "invalid_scope"},
		{name: "request object", rule: "OIDC Core §6", change: []string{"request", "eyJ"}, redirect: "request_not_supported"},
		{name: "request by reference", rule: "OIDC Core §6", change: []string{"request_uri", "https://app.example/r"}, redirect: "request_uri_not_supported"},
		{name: "registration", rule: "OIDC Core §7.2.1", change: []string{"registration", "{}"}, redirect: "registration_not_supported"},
		{name: "no challenge", rule: "RFC 7636 §4.4.1", change: []string{"code_challenge", ""}, redirect: "invalid_request"},
		{name: "no challenge method", rule: "RFC 7636 §4.3", change: []string{"code_challenge_method", ""}, redirect: "invalid_request"},
		{name: "plain challenge", rule: "RFC 9700 §2.1.1", change: []string{"code_challenge_method", "plain"}, redirect: "invalid_request"},
		{name: "short challenge", rule: "RFC 7636 §4.2", change: []string{"code_challenge", "abc"}, redirect: "invalid_request"},
		{name: "challenge of another alphabet", rule: "RFC 7636 §4.2", change: []string{"code_challenge", strings.Repeat("+", 43)}, redirect: "invalid_request"},
		{name: "long challenge", rule: "RFC 7636 §4.2", change: []string{"code_challenge", strings.Repeat("A", 128)}, redirect: "invalid_request"},
		{name: "method in small letters", rule: "RFC 7636 §4.3", change: []string{"code_challenge_method", "s256"}, redirect: "invalid_request"},
		{name: "challenge twice", rule: "RFC 6749 §3.1", raw: "&code_challenge=" + strings.Repeat("A", 43), redirect: "invalid_request"},
		{name: "nonce twice", rule: "RFC 6749 §3.1", raw: "&nonce=x", redirect: "invalid_request"},
		{name: "padded challenge", rule: "RFC 7636 §4.2", change: []string{"code_challenge", challengeOf(verifier) + "="}, redirect: "invalid_request"},
		{name: "long nonce", rule: "ours", change: []string{"nonce", strings.Repeat("n", maxNonceBytes+1)}, redirect: "invalid_request"},
		{name: "unknown prompt", rule: "OIDC Core §3.1.2.1", change: []string{"prompt", "create"}, redirect: "invalid_request"},
		{name: "none and login", rule: "OIDC Core §3.1.2.1", change: []string{"prompt", "none login"}, redirect: "invalid_request"},
		{name: "negative max_age", rule: "OIDC Core §3.1.2.1", change: []string{"max_age", "-1"}, redirect: "invalid_request"},
		{name: "max_age with a sign", rule: "OIDC Core §3.1.2.1", change: []string{"max_age", "+1"}, redirect: "invalid_request"},
		{name: "endless max_age", rule: "OIDC Core §3.1.2.1", change: []string{"max_age", "99999999999999999999"}, redirect: "invalid_request"},
		{name: "claims: no JSON", rule: "OIDC Core §5.5", change: []string{"claims", "{"}, redirect: "invalid_request"},
		{name: "claims: deep", rule: "RFC 8259 §9", change: []string{"claims", strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50)}, redirect: "invalid_request"},
		{name: "claims: impossible acr", rule: "OIDC Core §5.5.1.1", change: []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"x"}}}`}, redirect: "unmet_authentication_requirements"},
		{name: "hint: no token", rule: "OIDC Core §3.1.2.1", change: []string{"id_token_hint", "x"}, redirect: "invalid_request"},
		{name: "hint: altered", rule: "RFC 7515 §5.2", change: []string{"id_token_hint", alter(id)}, redirect: "invalid_request"},
		{name: "hint: alg none", rule: "RFC 8725 §3.2", change: []string{"id_token_hint", algNone(id)}, redirect: "invalid_request"},
		{name: "hint: HMAC", rule: "RFC 8725 §3.1", change: []string{"id_token_hint", algHMAC(id)}, redirect: "invalid_request"},
		{name: "hint: of another tenant", rule: "OIDC Core §3.1.2.1", change: []string{"id_token_hint", foreign}, redirect: "invalid_request"},
		{name: "hint: large", rule: "ours", change: []string{"id_token_hint", strings.Repeat("x", maxTokenBytes+1)}, redirect: "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.get(w.address("acme", "/oauth2/authorize?") + with(w.request(w.web), c.change...).Encode() + c.raw)
			if c.page != "" {
				if a.location != nil || a.status < 400 || a.status >= 500 || !strings.Contains(a.body, c.page) {
					t.Errorf("%s: answered %d, %v; want a page with %s\n%.2000s", c.rule, a.status, a.location, c.page, a.body)
				}
				return
			}
			if a.status != http.StatusSeeOther || a.query.Get("error") != c.redirect || !strings.HasPrefix(a.location.String(), webRedirect+"&") {
				t.Fatalf("%s: answered %d, %v; want %s", c.rule, a.status, a.location, c.redirect)
			}
			description := a.query.Get("error_description")
			if a.query.Get("iss") != w.address("acme", "") || a.query.Has("code") || safeDescription(description) != description ||
				!strings.HasPrefix(description, "9") || !strings.Contains(description, " Trace ") {
				t.Errorf("%s: %v", c.rule, a.query)
			}
			if want := with(w.request(w.web), c.change...).Get("state"); c.raw != "&state=x" && a.query.Get("state") != want {
				t.Errorf("state is %q", a.query.Get("state"))
			}
		})
	}
	if len(w.signin.asks) != asked {
		t.Error("somebody was asked to sign in for a bad request")
	}
}

// TestRefusedExchange is the table of code exchanges that must fail; each starts from a good one with a fresh code.
func TestRefusedExchange(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, rule string
		client     client // the good exchange's; zero is w.web
		change     []string
		raw        string
		header     []string
		query      string
		status     int
		want       string
		alive      bool // the code must still work afterwards
	}{
		{name: "no grant type", rule: "RFC 6749 §4.1.3", change: []string{"grant_type", ""}, status: 400, want: "invalid_request", alive: true},
		{name: "password grant", rule: "RFC 9700 §2.4", change: []string{"grant_type", "password"}, status: 400, want: "unsupported_grant_type", alive: true},
		{name: "client credentials grant", rule: "RFC 6749 §5.2", change: []string{"grant_type", "client_credentials"}, status: 400, want: "unsupported_grant_type", alive: true},
		{name: "no code", rule: "RFC 6749 §4.1.3", change: []string{"code", ""}, status: 400, want: "invalid_request", alive: true},
		{name: "unknown code", rule: "RFC 6749 §5.2", change: []string{"code", newSecret()}, status: 400, want: "invalid_grant", alive: true},
		{name: "code of another form", rule: "RFC 6749 §5.2", change: []string{"code", "' OR 1=1 --"}, status: 400, want: "invalid_grant", alive: true},
		{name: "no verifier", rule: "RFC 7636 §4.5", change: []string{"code_verifier", ""}, status: 400, want: "invalid_request", alive: true},
		{name: "wrong verifier", rule: "RFC 7636 §4.6", change: []string{"code_verifier", strings.Repeat("a", 43)}, status: 400, want: "invalid_grant", alive: true},
		{name: "challenge as verifier", rule: "RFC 7636 §4.6", change: []string{"code_verifier", challengeOf(verifier)}, status: 400, want: "invalid_grant", alive: true},
		{name: "long verifier", rule: "RFC 7636 §4.1", change: []string{"code_verifier", strings.Repeat("a", 129)}, status: 400, want: "invalid_grant", alive: true},
		{name: "verifier twice", rule: "RFC 6749 §3.2", raw: "&code_verifier=" + verifier, status: 400, want: "invalid_request", alive: true},
		{name: "verifier and more", rule: "RFC 7636 §4.6", change: []string{"code_verifier", verifier + "a"}, status: 400, want: "invalid_grant", alive: true},
		{name: "short verifier", rule: "RFC 7636 §4.1", change: []string{"code_verifier", "abc"}, status: 400, want: "invalid_grant", alive: true},
		{name: "no redirect", rule: "RFC 6749 §4.1.3", change: []string{"redirect_uri", ""}, status: 400, want: "invalid_request", alive: true},
		{name: "another registered redirect", rule: "RFC 6749 §4.1.3", change: []string{"redirect_uri", "https://app.example/other"}, status: 400, want: "invalid_grant", alive: true},
		{name: "another client's code", rule: "RFC 6749 §4.1.3", change: []string{"client_id", w.secret2.id, "client_secret", w.secret2.secret}, status: 400, want: "invalid_grant", alive: true},
		{name: "code taken by a public client", rule: "RFC 6749 §4.1.3", change: []string{"client_id", w.spa.id, "client_secret", ""}, status: 400, want: "invalid_grant", alive: true},
		{name: "wrong secret", rule: "RFC 6749 §5.2", change: []string{"client_secret", "x"}, status: 401, want: "invalid_client", alive: true},
		{name: "no secret", rule: "RFC 6749 §3.2.1", change: []string{"client_secret", ""}, status: 401, want: "invalid_client", alive: true},
		{name: "unknown client", rule: "RFC 6749 §5.2", change: []string{"client_id", "nobody"}, status: 401, want: "invalid_client", alive: true},
		{name: "no client", rule: "RFC 6749 §3.2.1", change: []string{"client_id", "", "client_secret", ""}, status: 401, want: "invalid_client", alive: true},
		{name: "client of another tenant", rule: "RFC 6749 §5.2", change: []string{"client_id", w.foreign.id, "client_secret", w.foreign.secret}, status: 401, want: "invalid_client", alive: true},
		{name: "public client with a secret", rule: "RFC 6749 §2.3", client: w.spa, change: []string{"client_secret", "x"}, status: 401, want: "invalid_client", alive: true},
		{name: "two ways at once", rule: "RFC 6749 §2.3", header: basic(w.web.id, w.web.secret), status: 400, want: "invalid_request", alive: true},
		{name: "Basic names another client", rule: "RFC 6749 §2.3", change: []string{"client_secret", ""}, header: basic(w.secret2.id, w.secret2.secret), status: 400, want: "invalid_request", alive: true},
		{name: "Basic with a wrong secret", rule: "RFC 6749 §5.2", change: []string{"client_secret", ""}, header: basic(w.web.id, "x"), status: 401, want: "invalid_client", alive: true},
		{name: "Basic badly encoded", rule: "RFC 6749 §2.3.1", change: []string{"client_secret", ""}, header: basic("%zz", "x"), status: 401, want: "invalid_client", alive: true},
		{name: "Basic that is none", rule: "RFC 7617 §2", change: []string{"client_secret", ""}, header: []string{"Authorization", "Basic !"}, status: 401, want: "invalid_client", alive: true},
		{name: "Bearer", rule: "RFC 6749 §2.3", header: []string{"Authorization", "Bearer x"}, status: 401, want: "invalid_client", alive: true},
		{name: "client assertion", rule: "RFC 7523 §2.2", change: []string{"client_assertion", "x"}, status: 401, want: "invalid_client", alive: true},
		{name: "code twice", rule: "RFC 6749 §3.2", raw: "&code=x", status: 400, want: "invalid_request", alive: true},
		{name: "grant type twice", rule: "RFC 6749 §3.2", raw: "&grant_type=authorization_code", status: 400, want: "invalid_request", alive: true},
		{name: "secret in the address", rule: "RFC 6749 §2.3.1", query: "?client_secret=x", status: 400, want: "invalid_request", alive: true},
		{name: "id and secret in the address", rule: "RFC 6749 §2.3.1", change: []string{"client_id", "", "client_secret", ""},
			query: "?client_id=" + w.web.id + "&client_secret=" + w.web.secret, status: 400, want: "invalid_request", alive: true},
		{name: "anything in the address", rule: "RFC 6749 §3.2", query: "?x=1", status: 400, want: "invalid_request", alive: true},
		{name: "secret twice", rule: "RFC 6749 §3.2", raw: "&client_secret=" + w.web.secret, status: 400, want: "invalid_request", alive: true},
		{name: "another client's secret", rule: "RFC 6749 §3.2.1", change: []string{"client_secret", w.secret2.secret}, status: 401, want: "invalid_client", alive: true},
		{name: "secret of the tenant's twin", rule: "RFC 6749 §3.2.1", change: []string{"client_secret", w.foreign.secret}, status: 401, want: "invalid_client", alive: true},
		{name: "Basic without a secret", rule: "RFC 6749 §3.2.1", change: []string{"client_secret", ""}, header: basic(w.web.id, ""), status: 401, want: "invalid_client", alive: true},
		{name: "Basic without an id", rule: "RFC 6749 §2.3.1", change: []string{"client_secret", "", "client_id", ""}, header: basic("", w.web.secret), status: 401, want: "invalid_client", alive: true},
		{name: "huge Basic", rule: "ours", change: []string{"client_secret", ""}, header: basic(w.web.id, strings.Repeat("x", maxBodyBytes)), status: 401, want: "invalid_client", alive: true},
		{name: "Basic and an assertion", rule: "RFC 6749 §2.3", change: []string{"client_secret", "", "client_assertion", "x"}, header: basic(w.web.id, w.web.secret), status: 401, want: "invalid_client", alive: true},
		{name: "multipart body", rule: "RFC 6749 §4.1.3", header: []string{"Content-Type", "multipart/form-data; boundary=x"}, status: 400, want: "invalid_request", alive: true},
		{name: "plain text body", rule: "RFC 6749 §4.1.3", header: []string{"Content-Type", "text/plain"}, status: 400, want: "invalid_request", alive: true},
		{name: "broken content type", rule: "RFC 9110 §8.3", header: []string{"Content-Type", "application/x-www-form-urlencoded; ="}, status: 400, want: "invalid_request", alive: true},
		{name: "many parameters", rule: "ours", raw: strings.Repeat("&a", maxParameters), status: 400, want: "invalid_request", alive: true},
		{name: "JSON body", rule: "RFC 6749 §4.1.3", header: []string{"Content-Type", "application/json"}, status: 400, want: "invalid_request", alive: true},
		{name: "no content type", rule: "RFC 6749 §4.1.3", header: []string{"Content-Type", ""}, status: 400, want: "invalid_request", alive: true},
		{name: "huge body", rule: "ours", raw: "&x=" + strings.Repeat("x", maxBodyBytes), status: 400, want: "invalid_request", alive: true},
		{name: "broken encoding", rule: "RFC 6749 §B", raw: "&x=%zz", status: 400, want: "invalid_request", alive: true},
		{name: "NUL", rule: "RFC 6749 §A", raw: "&x=%00", status: 400, want: "invalid_request", alive: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.client.id == "" {
				c.client = w.web
			}
			code := w.code(c.client)
			form := with(w.exchangeForm(c.client, code), c.change...)
			a := w.post(w.address("acme", "/oauth2/token")+c.query, form.Encode()+c.raw, c.header...)
			if a.status != c.status || a.json["error"] != c.want {
				t.Fatalf("%s: answered %d %s; want %d %s", c.rule, a.status, a.body, c.status, c.want)
			}
			if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("WWW-Authenticate is %q", a.header.Get("WWW-Authenticate")) // RFC 6749 §5.2, RFC 9110 §15.5.2
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("headers: %v", a.header)
			}
			description := a.json["error_description"].(string)
			if safeDescription(description) != description || !strings.Contains(description, " Trace ") {
				t.Errorf("description %q", description)
			}
			if c.want == "invalid_client" && !strings.HasPrefix(description, "90006: The client could not be authenticated. Trace ") {
				t.Errorf("failures of clients differ: %q", description)
			}
			if after := w.exchange(c.client, code); c.alive != (after.status == 200) {
				t.Errorf("afterwards the code yields %d %s", after.status, after.body)
			}
		})
	}
}

// TestRefusedElsewhere: the endpoints that take tokens refuse what the token endpoint refuses, and a refusal changes nothing.
func TestRefusedElsewhere(t *testing.T) {
	w := newWorld(t)
	tokens := w.tokens(w.web, "scope", offline)
	access, refresh := tokens["access_token"].(string), tokens["refresh_token"].(string)
	const form = "application/x-www-form-urlencoded"
	client := "client_id=" + w.web.id + "&client_secret=" + w.web.secret
	bearerHeader := []string{"Authorization", "Bearer " + access}
	for _, c := range []struct {
		name, rule, path, query, body string
		header                        []string
		status                        int
		want                          string
	}{
		{"refresh token in the address", "RFC 6749 §2.3.1", "token", "?refresh_token=" + refresh, client + "&grant_type=refresh_token", nil, 400, "invalid_request"},
		{"refresh token twice", "RFC 6749 §3.2", "token", "", client + "&grant_type=refresh_token&refresh_token=" + refresh + "&refresh_token=" + refresh, nil, 400, "invalid_request"},
		{"scope twice", "RFC 6749 §3.2", "token", "", client + "&grant_type=refresh_token&refresh_token=" + refresh + "&scope=openid&scope=email", nil, 400, "invalid_request"},
		{"access token to refresh", "RFC 6749 §6", "token", "", client + "&grant_type=refresh_token&refresh_token=" + access, nil, 400, "invalid_grant"},
		{"refresh token as code", "RFC 6749 §4.1.3", "token", "", client + "&grant_type=authorization_code&redirect_uri=x&code_verifier=" + verifier + "&code=" + refresh, nil, 400, "invalid_grant"},
		{"revoke: token in the address", "RFC 7009 §2.1", "revoke", "?token=" + access, client, nil, 400, "invalid_request"},
		{"revoke: token twice", "RFC 6749 §3.2", "revoke", "", client + "&token=" + access + "&token=x", nil, 400, "invalid_request"},
		{"revoke: two ways at once", "RFC 6749 §2.3", "revoke", "", client + "&token=" + access, basic(w.web.id, w.web.secret), 400, "invalid_request"},
		{"revoke: no client", "RFC 7009 §2.1", "revoke", "", "token=" + access, nil, 401, "invalid_client"},
		{"revoke: with the access token alone", "RFC 7009 §2.1", "revoke", "", "token=" + access, bearerHeader, 401, "invalid_client"},
		{"revoke: JSON", "RFC 7009 §2.1", "revoke", "", `{"token":"x"}`, []string{"Content-Type", "application/json"}, 400, "invalid_request"},
		{"revoke: huge", "ours", "revoke", "", client + "&token=" + strings.Repeat("x", maxBodyBytes), nil, 400, "invalid_request"},
		{"userinfo: token twice", "RFC 6750 §2", "userinfo", "", "access_token=" + access + "&access_token=" + access, nil, 400, "invalid_request"},
		{"userinfo: two places", "RFC 6750 §2", "userinfo", "", "access_token=" + access, bearerHeader, 400, "invalid_request"},
		{"userinfo: in the address", "RFC 6750 §2.3", "userinfo", "?access_token=" + access, "", nil, 400, "invalid_request"},
		{"userinfo: address and header", "RFC 6750 §2", "userinfo", "?access_token=" + access, "", bearerHeader, 400, "invalid_request"},
		{"userinfo: JSON", "RFC 6750 §2.2", "userinfo", "", `{"access_token":"x"}`, []string{"Content-Type", "application/json"}, 400, "invalid_request"},
		{"userinfo: huge", "ours", "userinfo", "", "access_token=" + strings.Repeat("x", maxBodyBytes), nil, 400, "invalid_request"},
		{"userinfo: huge header", "ours", "userinfo", "", "", []string{"Authorization", "Bearer " + strings.Repeat("x", 20<<10)}, 401, "invalid_token"},
		{"userinfo: refresh token", "RFC 6750 §3.1", "userinfo", "", "access_token=" + refresh, nil, 401, "invalid_token"},
		{"userinfo: ID token", "RFC 6750 §3.1", "userinfo", "", "access_token=" + tokens["id_token"].(string), nil, 401, "invalid_token"},
		{"userinfo: altered", "RFC 6750 §3.1", "userinfo", "", "access_token=" + access[:len(access)-1] + "_", nil, 401, "invalid_token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.post(w.address("acme", "/oauth2/")+c.path+c.query, c.body, append([]string{"Content-Type", form}, c.header...)...)
			if a.status != c.status || a.json["error"] != c.want {
				t.Errorf("%s: answered %d %s; want %d %s", c.rule, a.status, a.body, c.status, c.want)
			}
		})
	}
	// Two Authorization headers, one of them right.
	r := must(http.NewRequest("POST", w.address("acme", "/oauth2/revoke"), strings.NewReader("token="+access)))
	r.Header.Set("Content-Type", form)
	r.Header.Add("Authorization", basic(w.web.id, w.web.secret)[1])
	r.Header.Add("Authorization", basic(w.web.id, "x")[1])
	w.wants(w.do(r), 400, "invalid_request")

	if a := w.userInfo("acme", access); a.status != 200 {
		t.Errorf("a refusal ended the access token: %s", a.body)
	}
	if a := w.refresh(w.web, refresh); a.status != 200 {
		t.Errorf("a refusal ended the refresh token: %s", a.body)
	}
}

// TestAppEnds: what an application holds falls with its secret's and its own end.
func TestAppEnds(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	tokens, code := w.tokens(w.web, "scope", offline), w.code(w.web)
	old := w.web
	var err error
	if w.web.secret, err = w.apps.RotateSecret(ctx, w.acme.Scope(), w.web.id, w.clock.now()); err != nil {
		t.Fatal(err)
	}
	w.wants(w.exchange(old, code), 401, "invalid_client")
	w.wants(w.refresh(old, tokens["refresh_token"].(string)), 401, "invalid_client")
	next := w.refresh(w.web, tokens["refresh_token"].(string))
	if a := w.exchange(w.web, code); a.status != 200 || next.status != 200 {
		t.Fatalf("with the new secret: %d %s, %d %s", a.status, a.body, next.status, next.body)
	}
	if err := w.apps.Remove(ctx, w.acme.Scope(), w.web.id); err != nil {
		t.Fatal(err)
	}
	w.wants(w.userInfo("acme", next.json["access_token"]), 401, "invalid_token")
	w.wants(w.refresh(w.web, next.json["refresh_token"].(string)), 401, "invalid_client")
	if a := w.get(w.address("acme", "/oauth2/authorize?") + w.request(w.web).Encode()); a.location != nil || !strings.Contains(a.body, "90006") {
		t.Errorf("a removed application is served: %d %v", a.status, a.location)
	}
}

// TestLoopbackRedirect: other ports and other names of the same machine are other addresses (narrower than RFC 8252 §7.3).
func TestLoopbackRedirect(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"http://127.0.0.1:9998/cb", "http://127.0.0.1/cb", "http://localhost:9999/cb", "http://[::1]:9999/cb",
		"http://127.0.0.2:9999/cb", "http://2130706433:9999/cb", "http://127.1:9999/cb", "https://127.0.0.1:9999/cb", "http://0.0.0.0:9999/cb"} {
		a := w.get(w.address("acme", "/oauth2/authorize?") + with(w.request(w.spa), "redirect_uri", address).Encode())
		if a.location != nil || !strings.Contains(a.body, "90007") {
			t.Errorf("%s: answered %d %v", address, a.status, a.location)
		}
	}
}

func TestTokenNeedsPost(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke"} {
		if a := w.get(w.address("acme", path)); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", path, a.status) // RFC 6749 §3.2
		}
	}
}

func TestFailuresAreLimited(t *testing.T) {
	w := newWorld(t)
	bad := with(w.exchangeForm(w.web, newSecret()), "client_secret", "x").Encode()
	for range failureBurst {
		w.wants(w.post(w.address("acme", "/oauth2/token"), bad), 401, "invalid_client")
	}
	a := w.post(w.address("acme", "/oauth2/token"), bad)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.HasPrefix(a.json["error_description"].(string), "90008") {
		t.Errorf("answered %d %s", a.status, a.body)
	}
}

// Guesses at codes and at tokens count as guesses at secrets do; a request that is only malformed does not.
func TestGuessesAreLimited(t *testing.T) {
	for name, c := range map[string]struct {
		guess  func(w *world) answer
		status int
		limits bool
	}{
		"codes":     {func(w *world) answer { return w.exchange(w.web, newSecret()) }, 400, true},
		"tokens":    {func(w *world) answer { return w.userInfo("acme", newSecret()) }, 401, true},
		"malformed": {func(w *world) answer { return w.post(w.address("acme", "/oauth2/token"), "a=%zz") }, 400, false},
	} {
		w := newWorld(t)
		for range failureBurst {
			if a := c.guess(w); a.status != c.status {
				t.Fatalf("%s: %d %s", name, a.status, a.body)
			}
		}
		if a := c.guess(w); (a.status == http.StatusTooManyRequests) != c.limits {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestResumeRefusals(t *testing.T) {
	w := newWorld(t)
	begin := func() string {
		a := w.get(w.address("acme", "/oauth2/authorize?"+w.request(w.web).Encode()))
		if a.location == nil {
			t.Fatal(a.body)
		}
		return w.server.URL + a.location.String()
	}
	page := func(name string, a answer, number string) {
		t.Helper()
		if a.location != nil || !strings.Contains(a.body, number) {
			t.Errorf("%s: answered %d %v\n%.1000s", name, a.status, a.location, a.body)
		}
	}
	first, second := begin(), begin()
	page("no journey", w.get(strings.Split(first, "?")[0]), "90003")
	page("unknown journey", w.get(strings.Split(first, "?")[0]+"?journey=x"), "90003")
	page("another request's journey", w.get(strings.Split(first, "?")[0]+"?"+strings.Split(second, "?")[1]), "90003")
	page("journey twice", w.get(first+"&journey=x"), "90002")
	page("unknown request", w.get(w.address("acme", "/oauth2/resume/x?journey=y")), "90003")
	if a := w.get(first); a.query.Get("code") == "" {
		t.Errorf("the good return: %d %v", a.status, a.location)
	}
	page("a second time", w.get(first), "90003")
	w.clock.advance(requestLife)
	page("too late", w.get(second), "90003")

	third := begin()
	w.exec(`UPDATE app SET redirect_uris = $1 WHERE id = $2`, "[]", w.web.id) // below the store, which would keep one at least
	page("the address was unregistered meanwhile", w.get(third), "90007")
}

// alter changes the payload of a token.
func alter(compact string) string {
	parts := strings.Split(compact, ".")
	return parts[0] + "." + parts[1][:len(parts[1])-6] + "AAAAAA." + parts[2]
}

// algNone is the token without a signature, as alg=none (base64url of {"alg":"none"}).
func algNone(compact string) string {
	return "eyJhbGciOiJub25lIn0." + strings.Split(compact, ".")[1] + "."
}

// algHMAC is the token with alg=HS256 and some signature (base64url of {"alg":"HS256"}).
func algHMAC(compact string) string {
	return "eyJhbGciOiJIUzI1NiJ9." + strings.Split(compact, ".")[1] + "." + strings.Repeat("A", 43)
}

func basic(id, secret string) []string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(id, secret)
	return []string{"Authorization", r.Header.Get("Authorization")}
}
