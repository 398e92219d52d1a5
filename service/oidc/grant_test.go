package oidc

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/user"
)

const offline = "openid offline_access"

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	ctx := context.Background()
	if err := w.db.Write(ctx, func(tx db.Querier) error { _, err := tx.ExecContext(ctx, query, args...); return err }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.Reader().QueryRowContext(context.Background(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// RFC 6749 §4.1.2: a code used twice is refused, and what it had yielded is revoked.
func TestCodeReuse(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.web, "scope", offline)
	first := w.exchange(w.web, code)
	if first.status != 200 {
		t.Fatal(first.body)
	}
	// Somebody else's try with it changes nothing.
	w.wants(w.post(w.address("acme", "/oauth2/token"), with(w.exchangeForm(w.secret2, code), "redirect_uri", webRedirect).Encode()), 400, "invalid_grant")
	if a := w.userInfo("acme", first.json["access_token"]); a.status != 200 {
		t.Errorf("revoked by another client: %s", a.body)
	}
	w.wants(w.exchange(w.web, code), 400, "invalid_grant")
	w.wants(w.userInfo("acme", first.json["access_token"]), 401, "invalid_token")
	w.wants(w.refresh(w.web, first.json["refresh_token"].(string)), 400, "invalid_grant")
}

// RFC 6749 §4.1.2: a code lives a minute; what it yields does not depend on it.
func TestCodeExpiry(t *testing.T) {
	w := newWorld(t)
	late, early := w.code(w.web), w.code(w.web)
	w.clock.advance(codeLife - time.Second)
	if a := w.exchange(w.web, early); a.status != 200 {
		t.Error(a.body)
	}
	w.clock.advance(time.Second)
	w.wants(w.exchange(w.web, late), 400, "invalid_grant")
}

// RFC 9700 §4.14.2: rotation, the same successor within the grace time, and a family that falls.
func TestRefreshRotation(t *testing.T) {
	w := newWorld(t)
	first := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	rotated := w.refresh(w.web, first)
	second, _ := rotated.json["refresh_token"].(string)
	if rotated.status != 200 || second == "" || second == first || rotated.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", rotated.status, rotated.body)
	}
	w.clock.advance(refreshGrace)
	repeated := w.refresh(w.web, first)
	if repeated.json["refresh_token"] != second || repeated.json["access_token"] == rotated.json["access_token"] {
		t.Errorf("the retry got %s", repeated.body)
	}
	if n := w.count(`SELECT count(*) FROM oidc_refresh WHERE used_at = 0`); n != 1 {
		t.Errorf("the chain forked: %d live refresh tokens", n)
	}
	third, _ := w.refresh(w.web, second).json["refresh_token"].(string)
	if third == "" {
		t.Fatal("the successor does not work")
	}
	if n := w.count(`SELECT count(*) FROM oidc_refresh WHERE successor_salt IS NOT NULL`); n != 1 {
		t.Errorf("%d salts are kept, want that of the last rotation", n)
	}
	// The successor has been used: whoever has the first token now is somebody else.
	w.wants(w.refresh(w.web, first), 400, "invalid_grant")
	w.wants(w.refresh(w.web, third), 400, "invalid_grant")
	w.wants(w.userInfo("acme", repeated.json["access_token"]), 401, "invalid_token")
}

func TestRefreshReuseAfterGrace(t *testing.T) {
	w := newWorld(t)
	first := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	second := w.refresh(w.web, first).json
	w.clock.advance(refreshGrace + time.Second)
	w.wants(w.refresh(w.web, first), 400, "invalid_grant")
	w.wants(w.refresh(w.web, second["refresh_token"].(string)), 400, "invalid_grant")
	w.wants(w.userInfo("acme", second["access_token"]), 401, "invalid_token")
}

func TestRefreshReuseJustAfterUseOfSuccessor(t *testing.T) {
	w := newWorld(t)
	first := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	second := w.refresh(w.web, first).json["refresh_token"].(string)
	third := w.refresh(w.web, second).json["refresh_token"].(string)
	w.wants(w.refresh(w.web, first), 400, "invalid_grant")
	w.wants(w.refresh(w.web, third), 400, "invalid_grant")
}

func TestRefreshRefusals(t *testing.T) {
	w := newWorld(t)
	token := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	for _, c := range []struct {
		name, rule string
		client     client
		token      string
		more       []string
		status     int
		want       string
	}{
		{"no token", "RFC 6749 §6", w.web, "", nil, 400, "invalid_request"},
		{"unknown token", "RFC 6749 §5.2", w.web, newSecret(), nil, 400, "invalid_grant"},
		{"token of another form", "RFC 6749 §5.2", w.web, token + "=", nil, 400, "invalid_grant"},
		{"another client", "RFC 6749 §6", w.secret2, token, nil, 400, "invalid_grant"},
		{"public client", "RFC 6749 §6", w.spa, token, nil, 400, "invalid_grant"},
		{"wrong secret", "RFC 6749 §6", w.web, token, []string{"client_secret", "x"}, 401, "invalid_client"},
		{"wider scope", "RFC 6749 §6", w.web, token, []string{"scope", "openid email"}, 400, "invalid_scope"},
		{"unknown scope", "RFC 6749 §6", w.web, token, []string{"scope", "openid x"}, 400, "invalid_scope"},
	} {
		if a := w.refresh(c.client, c.token, c.more...); a.status != c.status || a.json["error"] != c.want {
			t.Errorf("%s (%s): answered %d %s", c.name, c.rule, a.status, a.body)
		}
	}
	if a := w.refresh(w.web, token); a.status != 200 {
		t.Errorf("a refusal used the token: %s", a.body)
	}
	if w.tokens(w.web)["refresh_token"] != nil {
		t.Error("a refresh token without offline_access") // OpenID Connect Core §11
	}
}

// RFC 6749 §6: the access token may be narrower, the successor is as wide as ever.
func TestRefreshNarrowing(t *testing.T) {
	w := newWorld(t)
	token := w.tokens(w.web, "scope", "openid profile email offline_access")["refresh_token"].(string)
	narrow := w.refresh(w.web, token, "scope", "openid email").json
	if narrow["scope"] != "openid email" || payload(narrow["id_token"])["upn"] != nil {
		t.Errorf("narrow: %v", narrow)
	}
	if info := w.userInfo("acme", narrow["access_token"]).json; info["email"] == nil || info["name"] != nil {
		t.Errorf("userinfo: %v", info)
	}
	noID := w.refresh(w.web, narrow["refresh_token"].(string), "scope", "email").json
	if noID["id_token"] != nil {
		t.Errorf("an ID token without openid: %v", noID)
	}
	a := w.userInfo("acme", noID["access_token"])
	w.wants(a, 403, "insufficient_scope") // RFC 6750 §3.1
	if !strings.Contains(a.header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
		t.Error(a.header)
	}
	if wide := w.refresh(w.web, noID["refresh_token"].(string)).json; wide["scope"] != "openid profile email offline_access" {
		t.Errorf("wide again: %v", wide)
	}
}

func TestRefreshEnds(t *testing.T) {
	w := newWorld(t)
	idle := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	w.clock.advance(refreshIdle)
	w.wants(w.refresh(w.web, idle), 400, "invalid_grant")

	token := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	for range offlineLife/refreshIdle + 1 {
		w.clock.advance(refreshIdle - time.Minute)
		a := w.refresh(w.web, token)
		if a.status != 200 {
			return // the grant's own end
		}
		token = a.json["refresh_token"].(string)
	}
	t.Error("a grant lives for ever when it is refreshed")
}

func TestGrantEnds(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name           string
		end            func(w *world)
		offlineToo     bool
		refreshRefused string
	}{
		{"user disabled", func(w *world) {
			yes := true
			must(w.users.Change(ctx, w.acme.Scope(), w.ann.ID, user.Change{Disabled: &yes}, w.clock.now()))
		}, true, "invalid_grant"},
		{"user disabled and enabled again", func(w *world) {
			for _, disabled := range []bool{true, false} {
				w.clock.advance(time.Second)
				must(w.users.Change(ctx, w.acme.Scope(), w.ann.ID, user.Change{Disabled: &disabled}, w.clock.now()))
			}
		}, true, "invalid_grant"},
		{"user signed out everywhere", func(w *world) {
			w.clock.advance(time.Second)
			if err := w.users.SignOut(ctx, w.acme.Scope(), w.ann.ID, w.clock.now()); err != nil {
				w.t.Fatal(err)
			}
		}, true, "invalid_grant"},
		{"user removed", func(w *world) {
			if err := w.users.Remove(ctx, w.acme.Scope(), w.ann.ID); err != nil {
				w.t.Fatal(err)
			}
		}, true, "invalid_grant"},
		{"app disabled", func(w *world) {
			yes := true
			must(w.apps.Change(ctx, w.acme.Scope(), w.web.id, app.Change{Disabled: &yes}, w.clock.now()))
		}, true, "invalid_client"},
		{"session signed out", func(w *world) {
			if err := w.p.SessionEnded(ctx, w.acme.Scope(), w.signin.session); err != nil {
				w.t.Fatal(err)
			}
		}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			plain, lasting, code := w.tokens(w.web), w.tokens(w.web, "scope", offline), w.code(w.web)
			c.end(w)
			w.wants(w.userInfo("acme", plain["access_token"]), 401, "invalid_token")
			if a := w.exchange(w.web, code); a.status == 200 {
				t.Error("the code still works")
			}
			a := w.userInfo("acme", lasting["access_token"])
			b := w.refresh(w.web, lasting["refresh_token"].(string))
			if !c.offlineToo {
				if a.status != 200 || b.status != 200 {
					t.Errorf("the offline grant ended too: %s %s", a.body, b.body)
				}
				return
			}
			w.wants(a, 401, "invalid_token")
			if b.json["error"] != c.refreshRefused {
				t.Errorf("refresh: %d %s", b.status, b.body)
			}
		})
	}
}

// Of racing exchanges of one code, one wins; of racing uses of one refresh token, all get the same successor.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	const racers = 8
	race := func(one func() answer) []answer {
		answers := make([]answer, racers)
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range racers {
			all.Go(func() {
				<-start
				answers[i] = one()
			})
		}
		close(start)
		all.Wait()
		return answers
	}
	code := w.code(w.web, "scope", offline)
	won := 0
	for _, a := range race(func() answer { return w.exchange(w.web, code) }) {
		switch {
		case a.status == 200:
			won++
		case a.json["error"] != "invalid_grant":
			t.Errorf("a loser got %d %s", a.status, a.body)
		}
	}
	if n := w.count(`SELECT count(*) FROM oidc_refresh`); won != 1 || n != 1 {
		t.Errorf("%d exchanges won, %d refresh tokens were issued", won, n)
	}
	token := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	successors := map[any]bool{}
	for _, a := range race(func() answer { return w.refresh(w.web, token) }) {
		if a.status != 200 {
			t.Errorf("a racer got %d %s", a.status, a.body)
		}
		successors[a.json["refresh_token"]] = true
	}
	if len(successors) != 1 {
		t.Errorf("%d different successors", len(successors))
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	send := func(c client, token string, more ...string) answer {
		f := url.Values{"client_id": {c.id}, "token": {token}}
		if c.secret != "" {
			f.Set("client_secret", c.secret)
		}
		return w.post(w.address("acme", "/oauth2/revoke"), with(f, more...).Encode())
	}
	tokens := w.tokens(w.web, "scope", offline)
	access, refresh := tokens["access_token"].(string), tokens["refresh_token"].(string)
	w.wants(send(w.secret2, refresh), 400, "invalid_grant") // RFC 7009 §2.1
	w.wants(send(w.spa, access), 400, "invalid_grant")
	w.wants(send(w.web, access, "client_secret", "x"), 401, "invalid_client")
	w.wants(send(w.web, ""), 400, "invalid_request")
	for _, unknown := range []string{newSecret(), "x"} {
		if a := send(w.web, unknown); a.status != 200 {
			t.Errorf("an unknown token: %d", a.status) // RFC 7009 §2.2
		}
	}
	if a := w.userInfo("acme", access); a.status != 200 {
		t.Fatal("a refusal revoked")
	}
	if a := send(w.web, access, "token_type_hint", "refresh_token"); a.status != 200 { // a wrong hint does not matter (§2.1)
		t.Error(a.body)
	}
	w.wants(w.userInfo("acme", access), 401, "invalid_token")
	next := w.refresh(w.web, refresh).json
	if next["refresh_token"] == nil {
		t.Fatal("revoking the access token ended the family")
	}
	if a := send(w.web, next["refresh_token"].(string), "token_type_hint", "x"); a.status != 200 {
		t.Error(a.body)
	}
	w.wants(w.refresh(w.web, next["refresh_token"].(string)), 400, "invalid_grant")
	w.wants(w.userInfo("acme", next["access_token"]), 401, "invalid_token")
	public := w.tokens(w.spa)["access_token"].(string)
	if a := send(w.spa, public); a.status != 200 {
		t.Error(a.body)
	}
	w.wants(w.userInfo("acme", public), 401, "invalid_token")
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t)
	access := w.tokens(w.web, "scope", "openid profile")["access_token"].(string)
	at := w.address("acme", "/oauth2/userinfo")
	if a := w.post(at, "access_token="+access); a.status != 200 || a.json["upn"] != "ann@acme.example" { // RFC 6750 §2.2
		t.Errorf("in the body: %d %s", a.status, a.body)
	}
	if a := w.post(at, "", "Authorization", "bearer "+access, "Content-Type", ""); a.status != 200 { // RFC 9110 §11.1: case-insensitive
		t.Errorf("POST with the header: %d %s", a.status, a.body)
	}
	if a := w.get(at); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="OpenID Connect"` || a.body != "" { // RFC 6750 §3.1
		t.Errorf("without a token: %d %v %s", a.status, a.header, a.body)
	}
	for _, other := range []string{"Basic " + access, "Bearer", access} { // another scheme is none of ours
		if a := w.get(at, "Authorization", other); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="OpenID Connect"` || a.body != "" {
			t.Errorf("%.10s: %d %v %s", other, a.status, a.header, a.body)
		}
	}
	w.wants(w.get(at+"?access_token="+access), 400, "invalid_request") // RFC 6750 §2.3 is not for us
	w.wants(w.post(at, "access_token="+access, "Authorization", "Bearer "+access), 400, "invalid_request")
	w.wants(w.get(at, "Authorization", "Bearer "+access, "Authorization", "Bearer "+access), 400, "invalid_request")
	a := w.get(at, "Authorization", "Bearer "+newSecret())
	w.wants(a, 401, "invalid_token")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `Bearer realm="OpenID Connect", error="invalid_token", error_description="90012: `) {
		t.Error(a.header.Get("WWW-Authenticate"))
	}
	w.wants(w.get(at, "Authorization", "Bearer x y"), 401, "invalid_token")
	// What is told is what is known now.
	name := "Ann Other"
	must(w.users.Change(context.Background(), w.acme.Scope(), w.ann.ID, user.Change{DisplayName: &name}, w.clock.now()))
	if a := w.userInfo("acme", access); a.json["name"] != name || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", a.header, a.body)
	}
	w.clock.advance(accessLife)
	w.wants(w.userInfo("acme", access), 401, "invalid_token")
}

func TestOtherOrigins(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/oauth2/keys", "/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke"} {
		r := must(http.NewRequest("OPTIONS", w.address("acme", path), nil))
		r.Header.Set("Origin", "https://spa.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		a := w.do(r)
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" ||
			!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	for _, path := range []string{"/oauth2/authorize", "/oauth2/logout", "/oauth2/resume/x"} {
		if a := w.get(w.address("acme", path), "Origin", "https://spa.example"); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is open to scripts", path)
		}
	}
}

// Nothing that opens anything lies in the database.
func TestNothingIsStoredInClear(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.web, "scope", offline)
	tokens := w.exchange(w.web, code).json
	next := w.refresh(w.web, tokens["refresh_token"].(string)).json
	for _, table := range []string{"oidc_code", "oidc_refresh", "oidc_access"} {
		for _, secret := range []any{code, tokens["access_token"], tokens["refresh_token"], next["refresh_token"], next["access_token"]} {
			if n := w.count(`SELECT count(*) FROM `+table+` WHERE hash = $1`, []byte(secret.(string))); n != 0 {
				t.Errorf("%s holds a secret", table)
			}
		}
	}
	if n := w.count(`SELECT count(*) FROM oidc_refresh WHERE hash = $1`, hashOf(next["refresh_token"].(string))); n != 1 {
		t.Error("the successor is not stored by its hash")
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	token := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	last := w.refresh(w.web, token).json["refresh_token"].(string)
	w.tokens(w.web)
	w.get(w.address("acme", "/oauth2/authorize?"+w.request(w.web).Encode())) // never comes back
	sweep := func() {
		t.Helper()
		if err := w.p.sweep(ctx, w.clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	rows := func(table string) int { return w.count(`SELECT count(*) FROM ` + table) }
	sweep()
	if rows("oidc_request") != 1 || rows("oidc_grant") != 2 || rows("oidc_refresh") != 2 || rows("oidc_access") != 3 || rows("oidc_code") != 2 {
		t.Error("something was swept too early")
	}
	w.clock.advance(refreshGrace)
	sweep()
	if n := w.count(`SELECT count(*) FROM oidc_refresh WHERE successor_salt IS NOT NULL`); n != 0 {
		t.Errorf("%d salts are kept", n)
	}
	w.clock.advance(accessLife + codeLife)
	sweep()
	if rows("oidc_request") != 0 || rows("oidc_grant") != 1 || rows("oidc_access") != 0 || rows("oidc_code") != 1 || rows("oidc_refresh") != 2 {
		t.Error("expired rows are kept, or live ones are gone")
	}
	w.wants(w.refresh(w.web, token), 400, "invalid_grant") // re-use is still noticed
	w.wants(w.refresh(w.web, last), 400, "invalid_grant")
	w.clock.advance(offlineLife)
	sweep()
	for _, table := range []string{"oidc_grant", "oidc_code", "oidc_refresh"} {
		if rows(table) != 0 {
			t.Errorf("%s keeps rows", table)
		}
	}
}

func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := w.p.Run(ctx); err != context.Canceled {
		t.Errorf("Run returned %v", err)
	}
}
