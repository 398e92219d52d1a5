package clients

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// chromium is where Debian puts it.
const chromium = "/usr/bin/chromium"

// TestBrowserApplication: npm oidc-client-ts in a page without a server of its own. It is the client that depends on what browsers let
// a page do: calls to another origin, with an Authorization header and without a secret.
func TestBrowserApplication(t *testing.T) {
	if _, err := os.Stat(chromium); err != nil {
		missing(t, "%s is missing (Debian package chromium)", chromium)
	}
	dir := installNode(t)
	w := openWorld(t)
	for _, algorithm := range []string{"ES256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			w := *w
			w.t = t
			origin := servePage(t, &w, dir, algorithm)
			ctx := openChromium(t, &w)
			b := person{t: t, ctx: ctx}
			b.does("opening the application", chromedp.Navigate(origin+"/"), chromedp.WaitVisible(chromedp.ID("signin")), chromedp.Click(chromedp.ID("signin")))
			b.typesName()
			b.wants("upn", alice)
			b.wants("email", alice)
			b.wants("refreshed", "new tokens, same person")
			b.wants("revoked", "invalid_grant")
			// One click, no question: the page sends the ID token along.
			b.does("signing out", chromedp.Click(chromedp.ID("signout")), chromedp.WaitVisible(chromedp.ID("signin")))
			b.wants("state", "signed out")
			b.does("signing in again", chromedp.Click(chromedp.ID("signin")), chromedp.WaitVisible(chromedp.ID("username")))
		})
	}
}

// servePage registers a public application and serves it on an origin of its own.
func servePage(t *testing.T, w *world, dir, algorithm string) (origin string) {
	t.Helper()
	page, err := template.ParseFiles(filepath.Join("node", "page.html"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	origin = "http://" + server.Listener.Addr().String()
	a := w.register("Page "+algorithm, algorithm, origin+"/callback", origin+"/out", true)
	mux.HandleFunc("GET /{place...}", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(rw, map[string]string{"Issuer": w.issuer, "ClientID": a.id}); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /oidc-client-ts.min.js", func(rw http.ResponseWriter, r *http.Request) {
		http.ServeFile(rw, r, filepath.Join(dir, "node_modules", "oidc-client-ts", "dist", "browser", "oidc-client-ts.min.js"))
	})
	server.Start()
	t.Cleanup(server.Close)
	return origin
}

// openChromium starts a browser, which trusts the installation's server key and no other unknown one.
func openChromium(t *testing.T, w *world) context.Context {
	t.Helper()
	u, err := url.Parse(w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	spki := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(chromium), chromedp.Headless, chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1000, 760),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(spki[:])))
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return ctx
}

// person sits at a real browser.
type person struct {
	t   *testing.T
	ctx context.Context
}

func (p person) does(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		ctx := context.WithoutCancel(p.ctx)
		at, _ := chromedp.Run(ctx, chromedp.Location()) // only for the message
		trouble, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		p.t.Fatalf("%s: %v (at %s)\n%s", what, err, at, trouble)
	}
}

// typesName types alice's name and password.
func (p person) typesName() {
	p.t.Helper()
	p.does("typing the name", chromedp.WaitVisible(chromedp.ID("username")), chromedp.SendKeys(chromedp.ID("username"), alice+kb.Enter))
	p.does("typing the password", chromedp.WaitVisible(chromedp.ID("password")),
		chromedp.SendKeys(chromedp.ID("password"), people.RightPassword+kb.Enter), chromedp.WaitVisible(chromedp.ID("claims")))
}

// wants reads an element.
func (p person) wants(id chromedp.ID, want string) {
	p.t.Helper()
	got, err := chromedp.Run(p.ctx, chromedp.Text(id))
	if err != nil || strings.TrimSpace(got) != want {
		page, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`)) // only for the message
		p.t.Errorf("#%s says %q, not %q (%v)\n%s", id, got, want, err, page)
	}
}
