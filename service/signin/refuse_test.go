package signin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// raw returns the same browser, which follows no redirect by itself.
func (b *browser) raw() *browser {
	c := *b.http
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w: b.w, jar: b.jar, site: b.site, http: &c}
}

func TestAnotherBrowserGetsNothing(t *testing.T) {
	w := newWorld(t)
	b, other := w.browser(), w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example").expect(t, "password")
	journey := strings.TrimSuffix(a.url.Path, "/password")
	other.get("/door/begin/acme").expect(t, "name") // it has a binding of its own
	for _, who := range []*browser{other, w.browser()} {
		for _, page := range []string{"", "/password", "/continue"} {
			if got := who.get(journey+page).expect(t, "90003"); got.status != 400 {
				t.Errorf("%s: %d", page, got.status)
			}
		}
		who.do("POST", journey, url.Values{"username": {"bert@acme.example"}}).expect(t, "90003")
		who.do("POST", journey+"/password", url.Values{"password": {canary}}).expect(t, "90003")
		who.get("/door/resume/acme/1?journey="+journey[len(journey)-36:]).expect(t, "90003")
	}
	if w.checker.count() != 0 {
		t.Error("a stranger's password was checked")
	}
	// Unknown journeys look the same; so does the journey in another tenant.
	b.get("/t/acme/signin/00000000-0000-7000-8000-000000000000").expect(t, "90003")
	b.get(strings.Replace(journey, "/t/acme/", "/t/other/", 1)).expect(t, "90003")
	b.get("/t/nowhere/signin/x").expect(t, "90005")
	b.get("/t/NO%00WHERE/signin/x").expect(t, "90005")
	b.submit(a, "password", canary).expect(t, "anna@acme.example")
}

func TestExpired(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	w.clock.add(journeyLife)
	b.submit(a, "password", canary).expect(t, "90003")
	b.get(a.url.Path).expect(t, "90003")
	if w.checker.count() != 0 {
		t.Error("a password was checked for an expired journey")
	}
	// The result, too, must be taken in time.
	b.http = b.raw().http
	a = b.get("/door/begin/acme")
	to := a.header.Get("Location")
	b.do("POST", to, url.Values{"username": {"anna@acme.example"}})
	b.do("POST", to+"/password", url.Values{"password": {canary}})
	w.clock.add(journeyLife)
	b.get("/door/resume/acme/1?journey="+to[len(to)-36:]).expect(t, "90003")
}

func TestResultIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.signIn("anna@acme.example", canary).expect(t, "anna@acme.example")
	journey := a.url.Query().Get("journey")
	b.get(a.url.RequestURI()).expect(t, "90003")
	for _, page := range []string{"", "/password", "/continue"} { // the back button, all the way
		b.get("/t/acme/signin/"+journey+page).expect(t, "90003")
	}
	// Racing for one result: one wins. And the journey of one request never answers another.
	raw := b.raw()
	w.set(func(a *Ask) { a.Fresh = true })
	to := raw.get("/door/begin/acme").header.Get("Location")
	raw.do("POST", to, url.Values{"username": {"anna@acme.example"}})
	raw.do("POST", to+"/password", url.Values{"password": {canary}})
	id := to[len(to)-36:]
	b.get("/door/resume/acme/2?journey="+id).expect(t, "90003")
	b.get("/door/resume/other/1?journey="+id).expect(t, "90003")
	b.get("/door/resume/acme/1?journey=").expect(t, "90003")
	var wg sync.WaitGroup
	won := make(chan string, 8)
	for range cap(won) {
		wg.Go(func() { won <- b.get("/door/resume/acme/1?journey=" + id).body })
	}
	wg.Wait()
	close(won)
	wins := 0
	for body := range won {
		if strings.HasPrefix(body, "hello ") {
			wins++
		}
	}
	if wins != 1 {
		t.Errorf("%d of 8 took the one result", wins)
	}
}

func TestDisabledBeforeTheResultIsTaken(t *testing.T) {
	w := newWorld(t)
	b := w.browser().raw()
	to := b.get("/door/begin/acme").header.Get("Location")
	b.do("POST", to, url.Values{"username": {"anna@acme.example"}})
	b.do("POST", to+"/password", url.Values{"password": {canary}})
	if _, err := w.users.Change(context.Background(), w.acme.Scope(), w.anna.ID, userDisabled(true), w.clock.now()); err != nil {
		t.Fatal(err)
	}
	b.get("/door/resume/acme/1?journey="+to[len(to)-36:]).expect(t, "50057")
}

func TestCrossSitePosts(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	for _, site := range []string{"cross-site", "same-site"} {
		b.site = site
		if got := b.submit(a, "password", canary).expect(t, "90004"); got.status != 403 {
			t.Errorf("%s: %d", site, got.status)
		}
	}
	// A browser without Sec-Fetch-Site: the Origin decides.
	for origin, want := range map[string]string{"https://evil.example": "90004", "null": "90004", w.server.URL: "password 50126"} {
		r, _ := http.NewRequest("POST", w.server.URL+a.action(), strings.NewReader("password=nope"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if refused := resp.StatusCode == 403; refused != (want == "90004") {
			t.Errorf("origin %s: %d", origin, resp.StatusCode)
		}
	}
	if w.checker.count() != 1 {
		t.Errorf("%d checks", w.checker.count())
	}
}

func TestMalformedForms(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	journey := strings.TrimSuffix(a.url.Path, "/password")
	for _, c := range []struct{ name, path, kind, body string }{
		{"field twice", "/password", "", "password=a&password=b"},
		{"name twice", "", "", "username=a&username=b"},
		{"field twice in disguise", "/password", "", "password=a&%70assword=b"},
		{"broken escape", "/password", "", "password=%zz"},
		{"too large", "/password", "", "password=" + strings.Repeat("x", 16<<10)},
		{"too large name", "", "", "username=" + strings.Repeat("x", 1<<20)},
		{"attempt from the future", "/password", "", "password=x&attempt=1"},
		{"attempt no number", "/password", "", "password=x&attempt=-1"},
		{"json", "/password", "application/json", `{"password":"x"}`},
		{"multipart", "/password", "multipart/form-data; boundary=x", "--x--"},
		{"no type", "/password", "none", "password=x"},
	} {
		r, _ := http.NewRequest("POST", w.server.URL+journey+c.path, strings.NewReader(c.body))
		switch c.kind {
		case "":
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		case "none":
		default:
			r.Header.Set("Content-Type", c.kind)
		}
		if got := b.send(r); got.status != 400 || got.code() != "90002" {
			t.Errorf("%s: %d %q", c.name, got.status, got.code())
		}
	}
	if w.checker.count() != 0 {
		t.Error("a malformed form was checked")
	}
	// Odd but well-formed: package password refuses these, and they look like any wrong password.
	for _, odd := range []string{"", "nul\x00", strings.Repeat("x", 1025)} {
		b.do("POST", journey+"/password", url.Values{"password": {odd}}).expect(t, "password 50126")
	}
	b.do("POST", journey+"/password", url.Values{}).expect(t, "password 50126")
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		if got := b.do(method, journey, nil); got.status != 404 || got.code() != "90009" {
			t.Errorf("%s: %d %q", method, got.status, got.code())
		}
	}
}

func TestTwoTabsTwoJourneys(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	one := b.get("/door/begin/acme").expect(t, "name")
	two := b.get("/door/begin/acme").expect(t, "name")
	one = b.submit(one, "username", "anna@acme.example").expect(t, "password")
	two = b.submit(two, "username", "bert@acme.example").expect(t, "password")
	b.submit(two, "password", canary).expect(t, "bert@acme.example")
	b.submit(one, "password", canary).expect(t, "anna@acme.example")
	if w.results[0].User.ID != w.bert.ID || w.results[1].User.ID != w.anna.ID {
		t.Errorf("the journeys were mixed up: %+v", w.results)
	}
}

// Two clicks on the button are one attempt, and both lead to its result.
func TestDoubleClick(t *testing.T) {
	for name, c := range map[string]struct{ typed, want string }{"right": {canary, "anna@acme.example"}, "wrong": {"nope", "password 50126"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.checker.gate, w.checker.started = make(chan struct{}), make(chan struct{}, 4)
			b := w.browser()
			a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
			form := a.form()
			form.Set("password", c.typed)
			raw := b.raw()
			first, second := make(chan answer), make(chan answer)
			go func() { first <- raw.do("POST", a.action(), form) }()
			<-w.checker.started // the first is at the directory
			go func() { second <- raw.do("POST", a.action(), form) }()
			w.checker.gate <- struct{}{}
			x, y := <-first, <-second
			if x.status != 303 || y.status != 303 || x.header.Get("Location") != y.header.Get("Location") {
				t.Errorf("the clicks led to %d %q and %d %q", x.status, x.header.Get("Location"), y.status, y.header.Get("Location"))
			}
			b.get(x.header.Get("Location")).expect(t, c.want)
			if n := w.checker.count(); n != 1 {
				t.Fatalf("two clicks were %d checks", n)
			}
			if n := len(w.records()); n != 1 {
				t.Errorf("two clicks are %d records", n)
			}
		})
	}
}

// The same form again, just after it was settled, is a repetition; later it is a password typed into an old page.
func TestRepeatedPostAndBackButton(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	old := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	b.submit(old, "password", "nope").expect(t, "password 50126")
	b.submit(old, "password", "nope").expect(t, "password 50126")
	if w.checker.count() != 1 {
		t.Error("a repeated form was checked again")
	}
	w.clock.add(repeatWithin)
	b.submit(old, "password", canary).expect(t, "anna@acme.example")
	if w.checker.count() != 2 {
		t.Error("a password typed into an old page was not checked")
	}
}

// A browser that goes away in the middle changes nothing about the attempt: it is recorded, and counts.
func TestBrowserGoesAway(t *testing.T) {
	w := newWorld(t)
	w.checker.gate, w.checker.started = make(chan struct{}), make(chan struct{}, 1)
	b := w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "anna@acme.example")
	ctx, cancel := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "POST", w.server.URL+a.action(), strings.NewReader("attempt=0&password=nope"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	gone := make(chan error)
	go func() {
		resp, err := b.http.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	<-w.checker.started
	cancel()
	if err := <-gone; err == nil {
		t.Fatal("the request was answered before its end")
	}
	back := make(chan answer)
	go func() { back <- b.submit(a, "password", "nope") }() // the person comes back with the same page
	w.checker.gate <- struct{}{}
	(<-back).expect(t, "password 50126")
	if n := len(w.records()); n != 1 || w.checker.count() != 1 {
		t.Errorf("%d records, %d checks", n, w.checker.count())
	}
}

func TestTooManyPosts(t *testing.T) {
	w := newWorld(t)
	w.svc.posts = newLimiter(0.0001, 4)
	b := w.browser()
	a := b.signIn("anna@acme.example", "nope").expect(t, "password 50126")
	b.submit(a, "password", "nope").expect(t, "password 50126")
	got := b.submit(a, "password", canary).expect(t, "90008")
	if got.status != 429 || got.header.Get("Retry-After") == "" || got.trace() == "" {
		t.Errorf("%d %v", got.status, got.header)
	}
	b.get("/door/begin/acme").expect(t, "90008")
	b.get(a.url.Path).expect(t, "password 50126") // looking is free
	if w.checker.count() != 2 {
		t.Errorf("%d checks", w.checker.count())
	}
}

// failingLog cannot store.
type failingLog struct{}

func (failingLog) Record(context.Context, tenant.Scope, audit.SignIn) error {
	return fault.New(wire.Internal, "disk full")
}

// Nobody gets in without a record.
func TestNoRecordNoSignIn(t *testing.T) {
	w := newWorld(t)
	w.svc.audit = failingLog{}
	b := w.browser()
	b.signIn("anna@acme.example", canary).expect(t, "password 90001")
	b.get("/door/current/acme").expectBody(t, "false  <nil>")
	if !strings.Contains(w.lines.String(), "disk full") {
		t.Error("the log does not say why")
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	name := b.get("/door/begin/acme")
	for what, a := range map[string]answer{"name": name, "password": b.submit(name, "username", "a@b"), "gone": b.get("/t/acme/signin/x"),
		"signed out": b.get("/t/acme/signed-out")} {
		h := a.header
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %q", what, policy, want)
			}
		}
		if posts := what == "name" || what == "password"; posts != strings.Contains(policy, "form-action 'self'") ||
			posts == strings.Contains(policy, "form-action 'none'") {
			t.Errorf("%s: form-action in %q", what, policy)
		}
		for _, never := range []string{"unsafe", "script-src", "*", "http"} {
			if strings.Contains(policy, never) {
				t.Errorf("%s: policy %q has %q", what, policy, never)
			}
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" ||
			h.Get("Referrer-Policy") != "same-origin" || h.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %v", what, h)
		}
		if strings.Contains(a.body, "<script") || strings.Contains(a.body, "style=") || strings.Contains(a.body, " on") && strings.Contains(a.body, "onclick") {
			t.Errorf("%s: script or inline style", what)
		}
	}
}

// The way on is shown and sent, and stays on this host.
func TestContinuePage(t *testing.T) {
	w := newWorld(t)
	b := w.browser().raw()
	to := b.get("/door/begin/acme").header.Get("Location")
	b.do("POST", to, url.Values{"username": {"anna@acme.example"}})
	if got := b.do("POST", to+"/password", url.Values{"password": {canary}}).header.Get("Location"); got != to+"/continue" {
		t.Fatalf("a right password leads to %q", got)
	}
	for _, page := range []string{"", "/password"} { // reload and back button lead on
		if got := b.get(to + page); got.status != 303 || got.header.Get("Location") != to+"/continue" {
			t.Errorf("%q: %d %q", page, got.status, got.header.Get("Location"))
		}
	}
	if got := b.do("POST", to+"/password", url.Values{"password": {"x"}}); got.header.Get("Location") != to+"/continue" || w.checker.count() != 1 {
		t.Errorf("a post after the end: %d %q", got.status, got.header.Get("Location"))
	}
	r, _ := http.NewRequest("GET", w.server.URL+to+"/continue", nil)
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := "/door/resume/acme/1?journey=" + to[len(to)-36:]
	if resp.StatusCode != 200 || resp.Header.Get("Refresh") != "0;url="+want {
		t.Errorf("%d, Refresh %q, want %q", resp.StatusCode, resp.Header.Get("Refresh"), want)
	}
}

// FuzzPasswordForm posts anything to the password page: never a 5xx, never a session without the password.
func FuzzPasswordForm(f *testing.F) {
	w := newWorld(f)
	b := w.browser()
	a := b.submit(b.get("/door/begin/acme"), "username", "dead@acme.example")
	for _, s := range []string{"password=x", "attempt=0&password=%00", "username=y&password=x", "a=1&a=2", "%%%", "attempt=99999999999999999999"} {
		f.Add([]byte(s))
	}
	w.checker.rules["dead@acme.example"] = rule{answer: password.Answer{}, err: fault.New(wire.NoAgent, "")} // never ends the journey
	f.Fuzz(func(t *testing.T, body []byte) {
		w.t = t
		r, _ := http.NewRequest("POST", w.server.URL+a.action(), strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		got := b.send(r)
		if got.status >= 500 || strings.HasPrefix(got.body, "hello ") {
			t.Fatalf("%d for %q", got.status, body)
		}
		w.clock.add(time.Microsecond)
	})
}
