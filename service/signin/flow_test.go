package signin

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("/door/begin/acme").expect(t, "name")
	if !strings.Contains(a.body, "<h1>Sign in to Acme &amp; Söhne &lt;GmbH&gt;</h1>") || !strings.Contains(a.body, "to continue to Payroll") {
		t.Errorf("the page does not say where one signs in:\n%s", a.main())
	}
	a = b.submit(a, "username", "  anna@acme.example ").expect(t, "password")
	if !strings.Contains(a.body, `id="identity">anna@acme.example<`) || !strings.Contains(a.body, `value="anna@acme.example" autocomplete="username" readonly`) {
		t.Errorf("the name is not shown, or not where password managers look:\n%s", a.main())
	}
	a = b.submit(a, "password", "nope").expect(t, "password 50126")
	if !strings.Contains(a.body, "<title>Error: The name or the password is not right.") || !strings.Contains(a.body, `aria-describedby="error identity"`) {
		t.Errorf("the error is not where readers find it:\n%s", a.main())
	}
	trace := a.trace()
	b.submit(a, "password", canary).expect(t, "anna@acme.example")
	if got := w.results[0]; got.User.ID != w.anna.ID || got.Session == "" || len(got.Methods) != 1 || got.Methods[0] != "pwd" || !got.At.Equal(w.clock.now()) {
		t.Errorf("result %+v", got)
	}
	if got := strings.Join(w.checker.typed, "|"); got != "nope|"+canary {
		t.Errorf("checked were %q", got)
	}
	records := w.records()
	if len(records) != 2 || records[0].Outcome != outcomeWrong || records[0].Code != wire.InvalidPassword || records[0].DC != "dc1:636" ||
		records[0].Reason != string(wire.BadPassword) || records[1].Outcome != outcomeRight || records[1].Person != w.anna.ID || len(records[1].Stops) != 1 {
		t.Errorf("records %+v", records)
	}
	for _, r := range records {
		if r.Trace != trace || r.TypedName != "anna@acme.example" || r.App != "app-1" || r.Address != "127.0.0.1" || r.Journey == "" {
			t.Errorf("record %+v, trace on the page %q", r, trace)
		}
	}
	if parent := w.checker.checks[1].Trace; !strings.HasPrefix(parent, "00-"+trace+"-") {
		t.Errorf("the agent gets the traceparent %q, the page showed %q", parent, trace)
	}
	if n := strings.Count(w.lines.String(), `"msg":"sign-in"`); n != 2 {
		t.Errorf("%d lines of sign-ins for two attempts", n)
	}
	b.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
	b.get("/door/current/other").expectBody(t, "false  <nil>")
}

func (a answer) expectBody(t *testing.T, want string) {
	t.Helper()
	if a.body != want {
		t.Errorf("%s says %q, want %q", a.url.Path, a.body, want)
	}
}

// All causes that must look alike give the same status, headers and bytes, but for ids of constant length.
func TestUniformRefusals(t *testing.T) {
	w := newWorld(t)
	var first answer
	for i, name := range []string{"anna@acme.example", "lock@acme.example", "gone@acme.example", "off1@acme.example", "off@acme.example", "nobody@nowhere.test", `ACME\anna`} {
		b := w.browser()
		a := b.signIn(name, "nope").expect(t, "password 50126")
		a.body = strings.NewReplacer(a.trace(), "TRACE", strings.Split(a.url.Path, "/")[4], "JOURNEY", name, "NAME",
			`ACME\anna`, "NAME").Replace(a.body)
		a.header.Del("Date")
		length := a.header.Get("Content-Length")
		a.header.Del("Content-Length") // differs by the length of the name alone, held by the body below
		if i == 0 {
			first = a
			continue
		}
		if a.status != first.status || a.body != first.body || fmt.Sprint(a.header) != fmt.Sprint(first.header) || length == "" {
			t.Errorf("%s looks different:\n%d %v\n%s", name, a.status, a.header, a.main())
		}
	}
	codes := map[wire.Code]bool{}
	for _, r := range w.records() {
		codes[r.Code] = true
	}
	for _, c := range []wire.Code{wire.InvalidPassword, wire.AccountLockedOut, wire.UserNotFound, wire.AccountIsDisabled, wire.DomainUnknown} {
		if !codes[c] {
			t.Errorf("the log does not know %d", c)
		}
	}
}

func TestWhatThePasswordProvesIsShown(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.signIn("old@acme.example", "right but old").expect(t, "password 50144")
	if !strings.Contains(a.body, "has expired") || strings.Contains(a.body, `aria-invalid="true"`) {
		t.Errorf("no help:\n%s", a.main())
	}
}

func TestTrouble(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.signIn("dead@acme.example", canary).expect(t, "password 80001")
	if a.status != 200 || strings.Contains(a.body, `aria-invalid="true"`) || strings.Contains(a.body, "nobody is there") {
		t.Errorf("status %d:\n%s", a.status, a.main())
	}
	a = b.signIn("odd@acme.example", canary).expect(t, "password 90001")
	if strings.Contains(a.body, "something inside") || !strings.Contains(w.lines.String(), "something inside") {
		t.Error("the cause of a failure is for the log, and only for it")
	}
	for _, r := range w.records() {
		if r.Outcome != outcomeUnknown {
			t.Errorf("an outage is recorded as %q", r.Outcome)
		}
	}
	// An outage never ends a journey.
	for range maxAttempts + 3 {
		a = b.submit(a, "password", canary).expect(t, "password 90001")
	}
}

func TestTooManyWrongPasswordsEndTheJourney(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.signIn("anna@acme.example", "nope")
	for range maxAttempts - 2 {
		a = b.submit(a, "password", "nope").expect(t, "password 50126")
	}
	action, form := a.action(), a.form()
	b.submit(a, "password", "nope").expect(t, "90003")
	form.Set("password", canary)
	b.do("POST", action, form).expect(t, "90003")
	if w.checker.count() != maxAttempts {
		t.Errorf("%d checks", w.checker.count())
	}
}

func TestImpossibleNames(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, name := range []string{"", "   ", strings.Repeat("n", maxName+1), "a\x00b", "a\nb", "\xff"} {
		a := b.submit(b.get("/door/begin/acme"), "username", name).expect(t, "name 50126")
		b.submit(a, "username", "anna@acme.example").expect(t, "password")
	}
	// An impossible name while the password is waited for leads back to the name.
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	path := strings.TrimSuffix(a.url.Path, "/password")
	b.do("POST", path, url.Values{"username": {""}}).expect(t, "name 50126")
	b.get(path+"/password").expect(t, "name 50126")
	b.get(path+"/continue").expect(t, "name 50126")
	if w.checker.count() != 0 {
		t.Error("something was checked")
	}
}

func TestAnotherName(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.signIn("anna@acme.example", "nope").expect(t, "password 50126")
	name := b.get(strings.TrimSuffix(a.url.Path, "/password")).expect(t, "name")
	if !strings.Contains(name.body, `value="anna@acme.example"`) {
		t.Error("the name page does not keep the name")
	}
	stale := a
	a = b.submit(name, "username", "bert@acme.example").expect(t, "password")
	// The page of the first name, still open in another tab, must not try its password on the second.
	b.submit(stale, "password", canary).expect(t, "password")
	if w.checker.count() != 1 {
		t.Error("a password for one name was checked for another")
	}
	b.submit(a, "password", canary).expect(t, "bert@acme.example")
}

func TestLoginHint(t *testing.T) {
	w := newWorld(t)
	w.set(func(a *Ask) { a.LoginHint = "anna@acme.example" })
	b := w.browser()
	b.submit(b.get("/door/begin/acme").expect(t, "password"), "password", canary).expect(t, "anna@acme.example")
	b.get("/door/begin/acme").expect(t, "anna@acme.example")
	w.set(func(a *Ask) { a.LoginHint = "ANNA@acme.example" })
	b.get("/door/begin/acme").expect(t, "anna@acme.example")
	w.set(func(a *Ask) { a.LoginHint = "bert@acme.example" })
	b.get("/door/begin/acme").expect(t, "password")
	w.set(func(a *Ask) { a.LoginHint = "im\x00possible" })
	b.get("/door/begin/acme").expect(t, "name")
	w.set(func(a *Ask) { a.LoginHint, a.SelectAccount = "anna@acme.example", true })
	b.get("/door/begin/acme").expect(t, "name")
}

func TestSessionReuse(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	b.get("/door/begin/acme").expect(t, "anna@acme.example")
	if w.checker.count() != 1 || w.results[0].Session != w.results[1].Session {
		t.Error("the session was not reused")
	}
	if last := w.records()[1]; last.Outcome != outcomeSession || last.Person != w.anna.ID || last.TypedName != "anna@acme.example" {
		t.Errorf("the record of a reuse: %+v", last)
	}
	b.get("/door/begin/other").expect(t, "name")

	w.set(func(a *Ask) { a.Fresh = true })
	b.get("/door/begin/acme").expect(t, "name")
	w.set(func(a *Ask) { a.Fresh, a.MaxAge = false, time.Minute })
	b.get("/door/begin/acme").expect(t, "anna@acme.example")
	w.clock.add(time.Minute + time.Millisecond)
	b.get("/door/begin/acme").expect(t, "name")
	w.set(func(a *Ask) { a.MaxAge = -1 })

	disabled := true
	if _, err := w.users.Change(context.Background(), w.acme.Scope(), w.anna.ID, userDisabled(disabled), w.clock.now()); err != nil {
		t.Fatal(err)
	}
	b.get("/door/begin/acme").expect(t, "name")
	b.get("/door/current/acme").expectBody(t, "false  <nil>")
}

// TestSignedOutEverywhere: setting a new password or signing a user out ends every browser's session; a new sign-in works.
func TestSignedOutEverywhere(t *testing.T) {
	w := newWorld(t)
	one, two := w.browser(), w.browser()
	one.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	two.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	w.clock.add(time.Second)
	if err := w.users.SignOut(context.Background(), w.acme.Scope(), w.anna.ID, w.clock.now()); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*browser{one, two} {
		b.get("/door/current/acme").expectBody(t, "false  <nil>")
		b.get("/door/begin/acme").expect(t, "name")
	}
	one.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	one.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
}

func TestSessionEnds(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	w.clock.add(sessionIdle - time.Minute)
	b.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
	w.clock.add(sessionIdle - time.Minute) // the use above has put the end off
	b.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
	w.clock.add(sessionIdle)
	b.get("/door/current/acme").expectBody(t, "false  <nil>")

	b = w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	for range sessionLife/time.Hour - 1 {
		w.clock.add(time.Hour)
		b.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
	}
	w.clock.add(time.Hour)
	b.get("/door/current/acme").expectBody(t, "false  <nil>") // however busy
}

// A cookie planted before the sign-in is worth nothing after it; the same person keeps the session's id, another does not.
func TestSessionIsFreshAtEachSignIn(t *testing.T) {
	w := newWorld(t)
	b, thief := w.browser(), w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	site, _ := url.Parse(w.server.URL)
	thief.jar.SetCookies(site, b.jar.Cookies(site))
	thief.get("/door/current/acme").expectBody(t, "true anna@acme.example <nil>")
	w.set(func(a *Ask) { a.Fresh = true })
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	thief.get("/door/current/acme").expectBody(t, "false  <nil>")
	if w.results[0].Session != w.results[1].Session || len(w.ended) != 0 {
		t.Errorf("the same person's session changed its id: %v, ended %v", w.results, w.ended)
	}
	b.signIn("bert@acme.example", canary).expect(t, "bert@acme.example")
	if w.results[2].Session == w.results[1].Session || len(w.ended) != 1 || w.ended[0] != w.results[1].Session {
		t.Errorf("another person took over the session: %v, ended %v", w.results, w.ended)
	}
	var rows int
	if err := w.db.Reader().QueryRowContext(context.Background(), `SELECT count(*) FROM browser_session`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d sessions are left, %v", rows, err)
	}
}

func TestEnd(t *testing.T) {
	w := newWorld(t)
	b, thief := w.browser(), w.browser()
	b.get("/door/end/acme").expectBody(t, " <nil>")
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	site, _ := url.Parse(w.server.URL)
	thief.jar.SetCookies(site, b.jar.Cookies(site))
	b.get("/door/end/acme").expectBody(t, w.results[0].Session+" <nil>")
	for _, x := range []*browser{b, thief} {
		x.get("/door/current/acme").expectBody(t, "false  <nil>")
	}
	for _, c := range b.jar.Cookies(site) {
		if strings.Contains(c.Name, "session") {
			t.Errorf("the cookie %s is still there", c.Name)
		}
	}
	if a := b.get("/t/acme/signed-out"); a.status != 200 || !a.shows("signed-out") {
		t.Errorf("no page says so: %d\n%s", a.status, a.main())
	}
}

func TestCookies(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := b.get("/door/begin/acme")
	a = b.do("POST", a.header.Get("Location"), url.Values{"username": {"anna@acme.example"}})
	a = b.do("POST", a.header.Get("Location"), url.Values{"password": {canary}})
	set := strings.Join(a.header.Values("Set-Cookie"), "\n")
	if !strings.HasPrefix(set, "__Host-sallyport-session-acme=") || !strings.HasSuffix(set, "; Path=/; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("cookies %q", set)
	}
	// The store has hashes only.
	secret := strings.TrimSuffix(strings.TrimPrefix(set, "__Host-sallyport-session-acme="), "; Path=/; HttpOnly; Secure; SameSite=Lax")
	var hash []byte
	if err := w.db.Reader().QueryRowContext(context.Background(), `SELECT secret_hash FROM browser_session`).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(hash) != hex.EncodeToString(hashOf(secret)) || strings.Contains(string(hash), secret) {
		t.Error("the session's row does not hold the hash of its secret")
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	count := func() (journeys, sessions int) {
		for _, q := range []struct {
			table string
			n     *int
		}{{"journey", &journeys}, {"browser_session", &sessions}} {
			if err := w.db.Reader().QueryRowContext(context.Background(), `SELECT count(*) FROM `+q.table).Scan(q.n); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, c := range []struct {
		after              time.Duration
		journeys, sessions int
	}{{0, 1, 1}, {journeyLife, 0, 1}, {sessionIdle, 0, 0}} {
		if err := w.svc.sweep(context.Background(), w.clock.now().Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if j, s := count(); j != c.journeys || s != c.sessions {
			t.Errorf("after %s: %d journeys, %d sessions", c.after, j, s)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.svc.Run(ctx); err != context.Canceled {
		t.Errorf("Run ended with %v", err)
	}
}

// What was typed as a password is in no log, no page and no table.
func TestPasswordIsNowhere(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	pages := b.signIn("anna@acme.example", canary+"x").body + b.signIn("dead@acme.example", canary).body + b.signIn("odd@acme.example", canary).body
	pages += b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example", "password", canary).body // filled into the wrong page
	pages += b.signIn("anna@acme.example", canary).body
	seen := map[string]string{"a page": pages, "the log": w.lines.String(), "the records": fmt.Sprintf("%+v", w.records())}
	rows, err := w.db.Reader().QueryContext(context.Background(), `SELECT typed_name || state || return_to FROM journey`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		seen["a journey"] += s
	}
	for _, form := range []string{canary, url.QueryEscape(canary), hex.EncodeToString([]byte(canary)), "Canary"} {
		for where, text := range seen {
			if strings.Contains(text, form) {
				t.Errorf("%s holds %q", where, form)
			}
		}
	}
}

func TestBeginRefusesForeignReturn(t *testing.T) {
	w := newWorld(t)
	r, _ := http.NewRequest("GET", "https://login.example/", nil)
	for _, to := range []string{"", "https://evil.example/", "//evil.example/"} {
		if _, err := w.svc.Begin(discard{}, r, w.acme, Ask{ReturnTo: to}); !fault.Has(err, wire.Internal) {
			t.Errorf("%q: %v", to, err)
		}
	}
}

func userDisabled(yes bool) user.Change { return user.Change{Disabled: &yes} }

// discard is a writer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// BenchmarkSignIn is one whole sign-in: begin, two posts with their pages, continue, finish; seven requests over TLS.
func BenchmarkSignIn(b *testing.B) {
	w := newWorld(b)
	w.set(func(a *Ask) { a.Fresh = true })
	for b.Loop() {
		w.browser().signIn("anna@acme.example", canary).expect(b, "anna@acme.example")
	}
}

// BenchmarkNamePage is one page round trip over a kept connection.
func BenchmarkNamePage(b *testing.B) {
	w := newWorld(b)
	client := w.browser()
	path := client.get("/door/begin/acme").expect(b, "name").url.Path
	for b.Loop() {
		client.get(path).expect(b, "name")
	}
}
