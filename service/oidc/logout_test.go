package oidc

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/db"
)

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// confirm reads the form of a confirmation page.
func confirm(t *testing.T, w *world, a answer) (address string, form url.Values) {
	t.Helper()
	action := formAction.FindStringSubmatch(a.body)
	if a.status != 200 || action == nil {
		t.Fatalf("no confirmation: %d %v\n%s", a.status, a.location, a.body)
	}
	form = url.Values{}
	for _, input := range formInput.FindAllStringSubmatch(a.body, -1) {
		form.Set(input[1], html.UnescapeString(input[2]))
	}
	return w.server.URL + html.UnescapeString(action[1]), form
}

func TestLogoutWithHint(t *testing.T) {
	w := newWorld(t)
	plain, lasting := w.tokens(w.web, "scope", "openid profile"), w.tokens(w.web, "scope", offline)
	q := url.Values{"id_token_hint": {plain["id_token"].(string)}, "post_logout_redirect_uri": {"https://app.example/bye"}, "state": {"s &1"}}
	w.clock.advance(2 * idTokenLife) // an expired ID token is still a hint (RP-Initiated Logout §2)
	a := w.get(w.address("acme", "/oauth2/logout?"+q.Encode()))
	if a.status != http.StatusSeeOther || a.location.String() != "https://app.example/bye?state=s+%261" {
		t.Errorf("answered %d %v", a.status, a.location)
	}
	if w.signin.session != "" {
		t.Error("the session goes on")
	}
	w.wants(w.userInfo("acme", plain["access_token"]), 401, "invalid_token")
	if a := w.refresh(w.web, lasting["refresh_token"].(string)); a.status != 200 {
		t.Errorf("the offline grant ended too: %s", a.body)
	}
	// Signed out already: straight on.
	if a := w.get(w.address("acme", "/oauth2/logout?"+q.Encode())); a.status != http.StatusSeeOther || a.location.Host != "app.example" {
		t.Errorf("answered %d %v", a.status, a.location)
	}
	if a := w.get(w.address("acme", "/oauth2/logout")); a.status != http.StatusSeeOther || a.location.Path != "/t/acme/signed-out" {
		t.Errorf("answered %d %v", a.status, a.location)
	}
}

// RP-Initiated Logout §2, §6: without the ID token of this very session the person is asked.
func TestLogoutAsks(t *testing.T) {
	w := newWorld(t)
	id := w.tokens(w.web, "scope", "openid profile")["id_token"].(string)
	bye := "https://app.example/bye"
	w.signin.session = db.NewID() // signed out and in again since
	for name, q := range map[string]url.Values{
		"nothing":                 {},
		"hint of another session": {"id_token_hint": {id}, "post_logout_redirect_uri": {bye}, "state": {`"><script>`}},
		"altered hint":            {"id_token_hint": {alter(id)}, "client_id": {w.web.id}, "post_logout_redirect_uri": {bye}},
		"alg none":                {"id_token_hint": {algNone(id)}, "client_id": {w.web.id}},
		"alg HMAC":                {"id_token_hint": {algHMAC(id)}},
		"client only":             {"client_id": {w.web.id}, "post_logout_redirect_uri": {bye}},
		"huge hint":               {"id_token_hint": {strings.Repeat("x", maxTokenBytes+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			w.signin.session = db.NewID()
			a := w.get(w.address("acme", "/oauth2/logout?"+q.Encode()))
			address, form := confirm(t, w, a)
			if w.signin.session == "" {
				t.Fatal("signed out without asking")
			}
			if strings.Contains(a.body, "<script>") {
				t.Error("the page holds what a stranger wrote")
			}
			// A form of another site cannot press the button.
			if cross := w.post(address, form.Encode(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); cross.status != 403 || w.signin.session == "" {
				t.Errorf("another site signed the person out: %d", cross.status)
			}
			done := w.post(address, form.Encode(), "Sec-Fetch-Site", "same-origin", "Origin", w.server.URL)
			want := w.server.URL + "/t/acme/signed-out"
			if q.Has("post_logout_redirect_uri") {
				want = bye
				if s := q.Get("state"); s != "" {
					want += "?state=" + url.QueryEscape(s)
				}
			}
			if got := onward(w, done); got != want {
				t.Errorf("went to %v, want %s", got, want)
			}
			if w.signin.session != "" {
				t.Error("the session goes on")
			}
		})
	}
}

// onward is where an answer sends the browser: by a redirect within our origin, by Refresh beyond it, since a redirect would be held
// against the form-action of the page before.
func onward(w *world, a answer) string {
	if a.location != nil && a.location.Host == "" {
		return w.server.URL + a.location.String()
	}
	_, address, _ := strings.Cut(a.header.Get("Refresh"), "url=")
	return address
}

func TestLogoutRefusals(t *testing.T) {
	w := newWorld(t)
	id := w.tokens(w.web)["id_token"].(string)
	for _, c := range []struct {
		name, rule string
		q          string
		page       string
	}{
		{"unregistered address", "RP-Initiated Logout §2", url.Values{"id_token_hint": {id}, "post_logout_redirect_uri": {"https://app.example/bye/"}}.Encode(), "90007"},
		{"redirect address as return", "RP-Initiated Logout §3.1", url.Values{"id_token_hint": {id}, "post_logout_redirect_uri": {webRedirect}}.Encode(), "90007"},
		{"another app's address", "RP-Initiated Logout §2", url.Values{"id_token_hint": {id}, "post_logout_redirect_uri": {"https://second.example/bye"}}.Encode(), "90007"},
		{"address without an app", "RP-Initiated Logout §3", url.Values{"post_logout_redirect_uri": {"https://app.example/bye"}}.Encode(), "90007"},
		{"another client's hint", "RP-Initiated Logout §2", url.Values{"id_token_hint": {id}, "client_id": {w.secret2.id}}.Encode(), "90002"},
		{"unknown client", "RP-Initiated Logout §2", url.Values{"client_id": {"nobody"}}.Encode(), "90006"},
		{"repeated", "RFC 6749 §3.1", "state=1&state=2", "90002"},
		{"broken encoding", "RFC 6749 §B", "state=%zz", "90002"},
		{"huge", "ours", "state=" + strings.Repeat("x", maxQueryBytes), "90002"},
	} {
		a := w.get(w.address("acme", "/oauth2/logout?"+c.q))
		if a.location != nil || a.status < 400 || !strings.Contains(a.body, c.page) || w.signin.session == "" {
			t.Errorf("%s (%s): answered %d %v\n%.500s", c.name, c.rule, a.status, a.location, a.body)
		}
	}
}

func TestLogoutPost(t *testing.T) {
	w := newWorld(t)
	id := w.tokens(w.web)["id_token"].(string)
	a := w.post(w.address("acme", "/oauth2/logout"), url.Values{"id_token_hint": {id}}.Encode(), "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example")
	if a.status != http.StatusSeeOther || a.location.Host != "" || w.signin.session == "" {
		t.Fatalf("answered %d %v", a.status, a.location)
	}
	if a = w.get(w.server.URL + a.location.String()); a.location == nil || a.location.Path != "/t/acme/signed-out" || w.signin.session != "" {
		t.Errorf("answered %d %v", a.status, a.location)
	}
}

func TestSessionEndedNeedsSession(t *testing.T) {
	w := newWorld(t)
	if err := w.p.SessionEnded(context.Background(), w.acme.Scope(), ""); err != nil {
		t.Error(err) // nothing to end: a browser without a session signs out
	}
}
