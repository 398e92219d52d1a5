package clients

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	redirect   = "http://127.0.0.1:9/callback" // nobody listens: the browser is stopped before
	postLogout = "http://127.0.0.1:9/signed-out"
	scope      = "openid profile email groups offline_access"
)

// library is what a client library can and does check.
type library struct {
	name string
	// run starts the program.
	run func(t *testing.T, w *world) *party
	// checksIssuer: it compares the iss of the answer (RFC 9207).
	checksIssuer bool
	// keepsKeys: it fetches the key set again for an unknown key only once the set it has is a minute old.
	keepsKeys bool
}

// installNode installs the libraries of node/package.json in a folder of the test's own, with our programs beside them.
func installNode(t *testing.T) (dir string) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "%s is not installed (Debian packages nodejs, npm)", program)
		}
	}
	// What openid-client is written for; Debian 12's own Node.js is older.
	if err := exec.CommandContext(t.Context(), "node", "-e", `process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)`).Run(); err != nil {
		missing(t, "openid-client needs Node.js 20 or later: %v", err)
	}
	dir = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "party.mjs"} {
		raw, err := os.ReadFile(filepath.Join("node", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		missing(t, "npm cannot install the libraries (no network?): %v\n%s", err, out)
	}
	return dir
}

// TestOpenIDClient: npm openid-client on Node.js.
func TestOpenIDClient(t *testing.T) {
	dir := installNode(t)
	judge(t, library{name: "openid-client", checksIssuer: true, keepsKeys: true, run: func(t *testing.T, w *world) *party {
		return runParty(t, dir, []string{"NODE_EXTRA_CA_CERTS=" + w.caFile}, "node", "party.mjs")
	}})
}

// TestAuthlib: Debian's python3-authlib.
func TestAuthlib(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.CommandContext(t.Context(), python, "-c", "import authlib.integrations.requests_client").Run(); err != nil {
		missing(t, "%s has no Authlib (Debian packages python3-authlib, python3-requests): %v", python, err)
	}
	judge(t, library{name: "Authlib", run: func(t *testing.T, w *world) *party {
		return runParty(t, "python", []string{"REQUESTS_CA_BUNDLE=" + w.caFile, "PYTHONDONTWRITEBYTECODE=1"}, python, "party.py")
	}})
}

// judge plays a library with each algorithm and each way of authenticating.
func judge(t *testing.T, l library) {
	w := openWorld(t)
	for _, c := range []struct{ algorithm, auth string }{
		{"ES256", "client_secret_basic"}, {"RS256", "client_secret_post"}, {"ES256", "none"},
	} {
		t.Run(c.algorithm+" "+c.auth, func(t *testing.T) {
			w := *w
			w.t = t
			a := w.register(l.name+" "+c.auth, c.algorithm, redirect, postLogout, c.auth == "none")
			p := l.run(t, &w)
			p.must("open", map[string]string{"issuer": w.issuer, "id": a.id, "secret": a.secret, "auth": c.auth, "algorithm": c.algorithm,
				"redirect": redirect, "postLogout": postLogout, "scope": scope})
			(&trial{t: t, w: &w, l: l, app: a, p: p, b: w.browser()}).play()
		})
	}
	t.Run("another CA", func(t *testing.T) {
		w := *w
		w.t, w.caFile = t, foreignCA(t)
		out := l.run(t, &w).try("open", map[string]string{"issuer": w.issuer, "id": "x", "secret": "x", "auth": "client_secret_basic",
			"algorithm": "ES256", "redirect": redirect, "postLogout": postLogout, "scope": scope})
		if !strings.Contains(strings.ToLower(out.Refused), "certificate") {
			t.Errorf("the provider's certificate is not refused for its CA: %+v", out)
		}
	})
}

// trial is one library with one registration and one browser.
type trial struct {
	t   *testing.T
	w   *world
	l   library
	app registration
	p   *party
	b   *browser
}

func (r *trial) play() {
	r.wantTyped(0, "a question without pages", func() { r.checkNobody() })
	var first said
	r.wantTyped(1, "the first sign-in", func() { first = r.signIn(nil) })
	r.checkClaims(first)
	r.wantTyped(0, "prompt=none", func() { r.signIn(map[string]string{"prompt": "none"}) })
	r.wantTyped(1, "prompt=login", func() { r.signIn(map[string]string{"prompt": "login"}) })
	r.wantTyped(1, "max_age=0", func() { r.signIn(map[string]string{"max_age": "0"}) })
	r.wantTyped(0, "max_age=3600", func() { r.signIn(map[string]string{"max_age": "3600"}) })
	r.wantTyped(0, "what was altered", func() { r.checkRefusals() })
	r.checkRefresh()
	r.checkRotation(first)
	r.checkLogout()
}

// come has the browser sign in and returns the address at which it comes back to the application.
func (r *trial) come(address string) *url.URL {
	r.t.Helper()
	back := r.b.visit(address, redirect+"?")
	if back.status != 0 {
		r.t.Fatalf("the browser did not come back: %s answers %d\n%.2000s", back.url, back.status, back.body)
	}
	return back.url
}

// signIn signs in from the application's first word, with more parameters, to its verified tokens.
func (r *trial) signIn(more map[string]string) said {
	r.t.Helper()
	return r.p.must("finish", map[string]string{"url": r.come(r.p.must("begin", more).URL).String()})
}

// wantTyped wants the password to be typed so often meanwhile.
func (r *trial) wantTyped(times int, what string, meanwhile func()) {
	r.t.Helper()
	before := r.b.typed
	meanwhile()
	if got := r.b.typed - before; got != times {
		r.t.Errorf("%s: the password was typed %d times, not %d", what, got, times)
	}
}

// checkNobody asks, without pages, who sits at a browser where nobody has signed in; the library passes the error on.
func (r *trial) checkNobody() {
	r.t.Helper()
	back := r.come(r.p.must("begin", map[string]string{"prompt": "none"}).URL)
	if got := back.Query(); got.Get("error") != "login_required" || got.Get("iss") != r.w.issuer {
		r.t.Errorf("prompt=none without a session: %v", got)
	}
	if out := r.p.try("finish", map[string]string{"url": back.String()}); !strings.Contains(out.Refused, "login_required") {
		r.t.Errorf("the library makes %+v of login_required", out)
	}
}

// checkClaims looks at what the library let through: it has checked signature, iss, aud, exp, nonce and at_hash itself.
func (r *trial) checkClaims(s said) {
	r.t.Helper()
	if s.Alg != r.app.algorithm || s.Kid == "" || s.Scope != scope || s.RefreshToken == "" {
		r.t.Errorf("tokens: alg %q, kid %q, scope %q", s.Alg, s.Kid, s.Scope)
	}
	for name, want := range map[string]any{"iss": r.w.issuer, "aud": r.app.id, "upn": alice, "given_name": "Alice"} {
		if s.Claims[name] != want {
			r.t.Errorf("%s is %v, not %v", name, s.Claims[name], want)
		}
	}
	info := r.p.must("userinfo", nil).Claims
	for _, name := range []string{"sub", "upn", "email", "name"} {
		if info[name] == nil || info[name] != s.Claims[name] {
			r.t.Errorf("%s is %v in the ID token and %v in userinfo", name, s.Claims[name], info[name])
		}
	}
	if groups, ok := info["groups"].([]any); !ok || !slices.Contains(groups, any("Staff")) {
		r.t.Errorf("groups are %v", info["groups"])
	}
}

// checkRefusals alters requests and answers on their way through the browser: the library or we must notice.
func (r *trial) checkRefusals() {
	r.t.Helper()
	for _, c := range []struct {
		name   string
		ask    func(url.Values) // changes the request
		answer func(url.Values) // changes the answer
		only   bool             // for libraries that check iss
		word   string           // of the refusal
	}{
		{name: "another state", answer: func(q url.Values) { q.Set("state", "x") }, word: "state"},
		{name: "no state", answer: func(q url.Values) { q.Del("state") }, word: "state"},
		{name: "another issuer", answer: func(q url.Values) { q.Set("iss", "https://evil.example") }, only: true, word: "iss"},
		{name: "no issuer", answer: func(q url.Values) { q.Del("iss") }, only: true, word: "iss"},
		{name: "another code", answer: func(q url.Values) { q.Set("code", strings.Repeat("A", len(q.Get("code")))) }, word: "invalid_grant"},
		{name: "another nonce", ask: func(q url.Values) { q.Set("nonce", "x") }, word: "nonce"},
		{name: "another challenge", ask: func(q url.Values) { q.Set("code_challenge", strings.Repeat("A", 43)) }, word: "invalid_grant"},
	} {
		if c.only && !r.l.checksIssuer {
			continue
		}
		at := altered(r.t, r.p.must("begin", nil).URL, c.ask)
		back := altered(r.t, r.come(at).String(), c.answer)
		if out := r.p.try("finish", map[string]string{"url": back}); !strings.Contains(out.Refused, c.word) {
			r.t.Errorf("%s is not refused for its %s but with %q", c.name, c.word, out.Refused)
		}
	}
}

// altered changes the query of an address.
func altered(t *testing.T, address string, change func(url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if change != nil {
		change(q)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// checkRefresh refreshes twice; the refresh token is another one each time, the person the same.
func (r *trial) checkRefresh() {
	r.t.Helper()
	first := r.signIn(nil)
	seen := []string{first.RefreshToken}
	for range 2 {
		next := r.p.must("refresh", nil)
		if slices.Contains(seen, next.RefreshToken) || next.RefreshToken == "" {
			r.t.Error("the refresh token did not change")
		}
		seen = append(seen, next.RefreshToken)
		if next.Claims["sub"] != first.Claims["sub"] || next.Claims["auth_time"] != first.Claims["auth_time"] || next.Claims["nonce"] != nil {
			r.t.Errorf("refreshed claims: %v, at first %v", next.Claims, first.Claims)
		}
		r.p.must("userinfo", nil)
	}
}

// checkRotation turns the signing key over, first in the ordinary way, which nobody may notice, then at once, as after a theft.
func (r *trial) checkRotation(first said) {
	r.t.Helper()
	r.w.rotate(r.app.algorithm)
	r.p.must("age", nil)
	for what, s := range map[string]said{"a sign-in": r.signIn(nil), "a refresh": r.p.must("refresh", nil)} {
		if s.Kid != first.Kid {
			r.t.Errorf("%s after the rotation is signed with %q already, although clients may know %q alone", what, s.Kid, first.Kid)
		}
	}
	r.w.replace(r.app.algorithm)
	if r.l.keepsKeys {
		r.p.must("age", nil)
	}
	next := r.signIn(nil)
	if next.Kid == first.Kid {
		r.t.Error("the replaced key goes on signing")
	}
	if again := r.p.must("refresh", nil); again.Kid != next.Kid {
		r.t.Errorf("a refresh after the replacement is signed with %q, not %q", again.Kid, next.Kid)
	}
}

// checkLogout signs out: no question is asked, the browser comes back where the application wants it, and the next sign-in asks for
// the password. The refresh token lives on until the application revokes it, since it asked for offline_access.
func (r *trial) checkLogout() {
	r.t.Helper()
	asked := r.b.asked
	back := r.b.visit(r.p.must("logout", nil).URL, postLogout)
	if back.status != 0 || back.url.Query().Get("state") != "bye" || r.b.asked != asked {
		r.t.Fatalf("after %d questions the sign-out ended at %s (%d)\n%.1000s", r.b.asked-asked, back.url, back.status, back.body)
	}
	r.p.must("refresh", nil)
	r.p.must("revoke", nil)
	if out := r.p.try("refresh", nil); !strings.Contains(out.Refused, "invalid_grant") {
		r.t.Errorf("a refresh after the revocation: %+v", out)
	}
	r.wantTyped(1, "a sign-in after the sign-out", func() { r.signIn(nil) })
}
