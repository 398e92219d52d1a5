package oidc

import (
	"context"
	"crypto/tls"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// onePassword is right for everybody.
type onePassword struct{ users *user.Store }

func (o onePassword) Check(ctx context.Context, s tenant.Scope, a password.Attempt) (password.Answer, error) {
	defer a.Password.Wipe()
	u, err := o.users.ByUPN(ctx, s, a.Name)
	if err != nil || string(a.Password.Reveal()) != "right" {
		return password.Answer{Code: wire.InvalidPassword, Shown: wire.InvalidPassword, Reason: wire.BadPassword}, nil
	}
	return password.Answer{Right: true, User: u, Reason: wire.Accepted, Methods: []string{"pwd"}}, nil
}

// noLog records nothing.
type noLog struct{}

func (noLog) Record(context.Context, tenant.Scope, audit.SignIn) error { return nil }

// browse is a browser: it keeps cookies, follows redirects and Refresh while they stay with us, and fills in forms.
type browse struct {
	t    *testing.T
	w    *world
	http *http.Client
	at   *url.URL
	body string
}

func (w *world) browser(t *testing.T) *browse {
	jar := must(cookiejar.New(nil))
	transport := &http.Transport{TLSClientConfig: w.caller.Transport.(*http.Transport).TLSClientConfig.Clone(), DisableKeepAlives: true}
	transport.TLSClientConfig.MinVersion = tls.VersionTLS13
	return &browse{t: t, w: w, http: &http.Client{Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browse) open(method, address, form string) {
	b.t.Helper()
	for range 10 {
		r := must(http.NewRequest(method, address, strings.NewReader(form)))
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			r.Header.Set("Origin", b.w.server.URL)
		}
		answer, err := b.http.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		b.at = r.URL
		onward := answer.Header.Get("Location")
		if _, refresh, ok := strings.Cut(answer.Header.Get("Refresh"), "url="); ok {
			onward = refresh
		}
		buffer := new(strings.Builder)
		_ = answer.Write(buffer)
		_ = answer.Body.Close()
		b.body = buffer.String()
		if onward == "" {
			return
		}
		if b.at = must(r.URL.Parse(onward)); b.at.Host != r.URL.Host {
			return // at the application
		}
		method, address, form = "GET", b.at.String(), ""
	}
	b.t.Fatal("sent round and round")
}

// submit posts the page's form with its hidden fields and one more.
func (b *browse) submit(name, value string) {
	b.t.Helper()
	action := formAction.FindStringSubmatch(b.body)
	if action == nil {
		b.t.Fatalf("no form at %v:\n%s", b.at, b.body)
	}
	form := url.Values{}
	for _, input := range formInput.FindAllStringSubmatch(b.body, -1) {
		form.Set(input[1], html.UnescapeString(input[2]))
	}
	if name != "" {
		form.Set(name, value)
	}
	b.open("POST", must(b.at.Parse(html.UnescapeString(action[1]))).String(), form.Encode())
}

// TestWithSignin goes through the real sign-in pages, with cookies: in, in again without a page, silently, as another user, out.
func TestWithSignin(t *testing.T) {
	w := newWorld(t)
	w.p.now = time.Now // the sign-in has no clock of ours
	service := signin.New(signin.Config{DB: w.db, Tenants: tenant.NewStore(w.db), Users: w.users, Apps: w.apps, Password: onePassword{w.users},
		Audit: noLog{}, SessionEnded: w.p.SessionEnded})
	w.p.signin = service
	mux := http.NewServeMux()
	mux.Handle("/t/{tenant}/signin/", service.Routes())
	mux.Handle("/t/{tenant}/signed-out", service.Routes())
	mux.Handle("/", w.p.Routes())
	front := httptest.NewUnstartedServer(mux)
	front.StartTLS()
	t.Cleanup(front.Close)
	w.server, w.p.public, w.caller = front, front.URL, front.Client()
	w.caller.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	b := w.browser(t)
	authorize := func(change ...string) url.Values {
		b.open("GET", w.address("acme", "/oauth2/authorize?"+with(w.request(w.web), change...).Encode()), "")
		return b.at.Query()
	}
	redeem := func(q url.Values) map[string]any {
		t.Helper()
		if q.Get("code") == "" || q.Get("state") != "s 1" || !strings.HasPrefix(b.at.String(), webRedirect) {
			t.Fatalf("no code at %v\n%s", b.at, b.body)
		}
		a := w.exchange(w.web, q.Get("code"))
		if a.status != 200 {
			t.Fatal(a.body)
		}
		return a.json
	}
	signIn := func(name string) url.Values {
		t.Helper()
		if strings.Contains(b.body, `type="text" value=""`) {
			b.submit("username", name)
		}
		b.submit("password", "right")
		return b.at.Query()
	}

	authorize()
	first := redeem(signIn("ann@acme.example"))
	claims := payload(first["id_token"])
	if claims["sub"] != w.ann.ID || claims["sid"] == nil || claims["auth_time"] == nil {
		t.Errorf("%v", claims)
	}
	second := redeem(authorize())
	silent := redeem(authorize("prompt", "none", "id_token_hint", first["id_token"].(string)))
	for _, tokens := range []map[string]any{second, silent} {
		if again := payload(tokens["id_token"]); again["sid"] != claims["sid"] || again["auth_time"] != claims["auth_time"] {
			t.Errorf("another session: %v", again)
		}
	}
	if authorize("prompt", "login", "login_hint", "ann@acme.example"); !strings.Contains(b.body, `name="password"`) {
		t.Fatalf("prompt=login asks for no password:\n%s", b.body)
	}
	fresh := redeem(signIn(""))
	if payload(fresh["id_token"])["auth_time"].(float64) < claims["auth_time"].(float64) {
		t.Error("auth_time went back")
	}
	// Somebody else at the same browser: the first person's tokens end with the session.
	authorize("prompt", "select_account")
	other := redeem(signIn("bob@acme.example"))
	if payload(other["id_token"])["sub"] != w.bob.ID {
		t.Error("not Bob")
	}
	w.wants(w.userInfo("acme", first["access_token"]), 401, "invalid_token")
	if q := authorize("prompt", "none", "id_token_hint", first["id_token"].(string)); q.Get("error") != "login_required" {
		t.Errorf("Ann is still signed in: %v", q)
	}
	// A journey belongs to its browser: its return address is worth nothing elsewhere.
	stolen := w.browser(t)
	authorize("prompt", "login", "login_hint", "bob@acme.example")
	stolen.open("GET", b.at.String(), "")
	if !strings.Contains(stolen.body, "90003") {
		t.Errorf("another browser went on with the journey:\n%.600s", stolen.body)
	}
	// Out, asked first; then by the ID token alone.
	b.open("GET", w.address("acme", "/oauth2/logout?client_id="+w.web.id+"&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye"), "")
	b.submit("", "")
	if b.at.String() != "https://app.example/bye" {
		t.Errorf("signed out, and went to %v", b.at)
	}
	w.wants(w.userInfo("acme", other["access_token"]), 401, "invalid_token")
	if q := authorize("prompt", "none"); q.Get("error") != "login_required" {
		t.Errorf("still signed in: %v", q)
	}
	authorize()
	last := redeem(signIn("ann@acme.example"))
	b.open("GET", w.address("acme", "/oauth2/logout?id_token_hint="+last["id_token"].(string)), "")
	if b.at.Path != "/t/acme/signed-out" || !strings.Contains(b.body, `id="signed-out"`) {
		t.Errorf("signed out, and went to %v", b.at)
	}
	w.wants(w.userInfo("acme", last["access_token"]), 401, "invalid_token")
}
