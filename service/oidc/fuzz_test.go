package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/app"
)

// FuzzAuthorize feeds queries to everything that reads an authorization request, and holds the answer to the rules.
func FuzzAuthorize(f *testing.F) {
	good := url.Values{"client_id": {"a"}, "redirect_uri": {"https://a.example/cb"}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}}.Encode()
	for _, seed := range []string{good, good + "&state=%F0%9F%94%91", good + "&prompt=none+login&max_age=0", good + "&claims=%7B%22id_token%22%3Anull%7D",
		good + "&scope=x", "state=%00", "a&a&a", ";", "%", good + "&request=x"} {
		f.Add(seed)
	}
	a := app.App{ID: "a", RedirectURIs: []string{"https://a.example/cb"}}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parseParameters(raw, maxQueryBytes)
		if err != nil {
			return
		}
		q, refused := parseAuthorize(p, a)
		if refused != nil {
			if d := refused.description("trace"); d != safeDescription(d) || refused.name == "" || strings.Contains(refused.name, " ") {
				t.Errorf("unsafe refusal %q %q", refused.name, d)
			}
		} else if p.get("code_challenge_method") != "S256" || !isChallenge(q.Challenge) || p.get("response_type") != "code" || q.MaxAge < anyAge ||
			q.Silent && q.SelectAccount || len(p.repeated) > 0 {
			t.Errorf("accepted %+v", q)
		}
		u, err := url.Parse(withParameters("https://a.example/cb?x=1", "state", q.State, "iss", "i"))
		if err != nil || u.Host != "a.example" || u.Query().Get("state") != q.State || u.Query().Get("iss") != "i" || u.Fragment != "" {
			t.Errorf("state %q makes %v, %v", q.State, u, err)
		}
	})
}

// FuzzToken feeds bodies and Authorization headers to everything that reads a token request.
func FuzzToken(f *testing.F) {
	for _, seed := range [][2]string{
		{"grant_type=authorization_code&code=x&client_id=a", ""},
		{"grant_type=refresh_token&refresh_token=x", "Basic YTpi"},
		{"client_id=a&client_secret=b", "Basic YTpi"},
		{"scope=a+b", "Basic JTAwOiUwMA=="},
		{"%", "Bearer x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, body, authorization string) {
		p, err := parseParameters(body, maxBodyBytes)
		if err != nil {
			return
		}
		h := http.Header{}
		if authorization != "" {
			h.Set("Authorization", authorization)
		}
		c, refused := readCredentials(h, p)
		if (refused == nil) != (c.id != "") {
			t.Errorf("client %q, refused %v", c.id, refused)
		}
		if !isText(c.id) || !isText(c.secret) {
			t.Errorf("not text: %q %q", c.id, c.secret)
		}
		if isSecret(p.get("code")) && len(p.get("code")) != 43 {
			t.Errorf("took the code %q", p.get("code"))
		}
		if verifies(p.get("code_verifier"), challengeOf(verifier)) && p.get("code_verifier") != verifier {
			t.Error("a wrong verifier verifies")
		}
		if got, err := narrow([]string{"openid", "email"}, p.get("scope")); err == nil && len(got) > 2 {
			t.Errorf("widened to %v", got)
		}
	})
}

// FuzzClaims feeds the claims parameter.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{`{}`, `{"id_token":{"upn":null,"sub":{"value":"x"}},"userinfo":{"groups":{"essential":true}}}`,
		`{"id_token":{"acr":{"essential":true,"values":["a"]}}}`, `[[[[[[`, `{"a":1e999}`, `{"id_token":{"sub":{"value":"\ud800"}}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := parseClaims(raw)
		if err != nil {
			return
		}
		back, err := decodeStoredClaims(c.encode())
		if err != nil || strings.Join(back.IDToken, " ") != strings.Join(c.IDToken, " ") || strings.Join(back.UserInfo, " ") != strings.Join(c.UserInfo, " ") {
			t.Errorf("%+v became %+v, %v", c, back, err)
		}
		if len(c.IDToken) > len(requestable) || len(c.UserInfo) > len(requestable) {
			t.Errorf("too many claims: %+v", c)
		}
	})
}

// FuzzBearer feeds addresses, bodies and Authorization headers to what looks for an access token.
func FuzzBearer(f *testing.F) {
	f.Add("", "", "Bearer x")
	f.Add("", "access_token=x", "")
	f.Add("access_token=x", "", "bearer  y")
	f.Add("", "access_token=x&access_token=y", "Bearer\tz")
	f.Fuzz(func(t *testing.T, query, body, authorization string) {
		r := httptest.NewRequest(http.MethodPost, "/userinfo", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		token, refused := bearer(httptest.NewRecorder(), r)
		if token == "" {
			return
		}
		if refused != nil || query != "" || authorization != "" && strings.Contains(body, "access_token=") && !strings.HasSuffix(authorization, token) {
			t.Errorf("took %q, %v", token, refused)
		}
	})
}
