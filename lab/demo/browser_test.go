package demo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// chromium is where Debian puts it.
const chromium = "/usr/bin/chromium"

// startWorld runs a demonstration for a test.
func startWorld(t *testing.T, o Options) *World {
	t.Helper()
	o.Out = testWriter{t}
	w, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// testWriter sends progress to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// openBrowser starts Chromium, which trusts the evaluation's server key and no other unknown one.
func openBrowser(t *testing.T, w *World) context.Context {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatalf("%s is missing (Debian package chromium)", chromium)
		}
		t.Skipf("%s is missing (Debian package chromium)", chromium)
	}
	transport, err := w.transport()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", localName(w.kept.Signin), transport.TLSClientConfig)
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
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// do runs browser steps.
func do(t *testing.T, ctx context.Context, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(context.WithoutCancel(ctx), chromedp.Location())
		shot(t, ctx, "failed")
		t.Fatalf("%s: %v (at %s)", what, err, at)
	}
}

// text reads an element.
func text(t *testing.T, ctx context.Context, id chromedp.ID) string {
	t.Helper()
	s, err := chromedp.Run(ctx, chromedp.Text(id))
	if err != nil {
		t.Fatalf("#%s: %v", id, err)
	}
	return strings.TrimSpace(s)
}

// shot keeps a picture of the page when SALLYPORT_SCREENSHOTS names a folder.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SALLYPORT_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Logf("no picture of %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		t.Log(err)
	}
}

// TestBrowser signs in to the sample application in a real browser and out again, by mouse and by keyboard alone.
func TestBrowser(t *testing.T) {
	w := startWorld(t, Options{})
	ctx := openBrowser(t, w)
	const alice = "alice@" + evaluationDomain

	do(t, ctx, "opening the application", chromedp.Navigate(w.SampleURL()), chromedp.WaitVisible(chromedp.ID("signin")))
	shot(t, ctx, "1-application")
	do(t, ctx, "choosing to sign in", chromedp.Click(chromedp.ID("signin")), chromedp.WaitVisible(chromedp.ID("username")))
	shot(t, ctx, "2-name")
	do(t, ctx, "typing the name", chromedp.SendKeys(chromedp.ID("username"), alice), chromedp.Click(chromedp.ID("submit")),
		chromedp.WaitVisible(chromedp.ID("password")))
	shot(t, ctx, "3-password")
	do(t, ctx, "typing a wrong password", chromedp.SendKeys(chromedp.ID("password"), people.WrongPassword),
		chromedp.Click(chromedp.ID("submit")), chromedp.WaitVisible(chromedp.ID("error")))
	shot(t, ctx, "4-wrong")
	if got := text(t, ctx, "error"); !strings.Contains(got, "50126") {
		t.Errorf("a wrong password shows %q, without 50126", got)
	}
	do(t, ctx, "typing the right password", chromedp.SendKeys(chromedp.ID("password"), people.RightPassword),
		chromedp.Click(chromedp.ID("submit")), chromedp.WaitVisible(chromedp.ID("claims")))
	shot(t, ctx, "5-signed-in")
	if got := text(t, ctx, "upn"); !strings.EqualFold(got, alice) {
		t.Errorf("the application says that %q signed in", got)
	}
	do(t, ctx, "signing out", chromedp.Click(chromedp.ID("signout")), chromedp.WaitVisible(chromedp.ID("signin")))
	shot(t, ctx, "6-signed-out")

	// The same by keyboard alone: the field has the focus, Enter sends, Tab and Enter reach everything else.
	do(t, ctx, "reaching the application's button by Tab", chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.ID("username")))
	do(t, ctx, "typing the name where the focus is", chromedp.KeyEvent(alice), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.ID("password")))
	do(t, ctx, "typing the password where the focus is", chromedp.KeyEvent(people.RightPassword), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.ID("claims")))
	if got := text(t, ctx, "upn"); !strings.EqualFold(got, alice) {
		t.Errorf("by keyboard, the application says that %q signed in", got)
	}
	for range 10 {
		focused, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.activeElement.id`))
		if err != nil {
			t.Fatal(err)
		}
		if focused == "signout" {
			break
		}
		do(t, ctx, "pressing Tab", chromedp.KeyEvent(kb.Tab))
	}
	do(t, ctx, "signing out by keyboard", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.ID("signin")))

	// Signed out is signed out at Sallyport too: the name is asked for again.
	do(t, ctx, "signing in again", chromedp.Click(chromedp.ID("signin")), chromedp.WaitVisible(chromedp.ID("username")))

	// A person whose password has expired is told so.
	do(t, ctx, "an expired password", chromedp.SendKeys(chromedp.ID("username"), "expired@"+evaluationDomain+kb.Enter),
		chromedp.WaitVisible(chromedp.ID("password")), chromedp.SendKeys(chromedp.ID("password"), people.RightPassword+kb.Enter),
		chromedp.WaitVisible(chromedp.ID("error")))
	shot(t, ctx, "7-expired")
	if got := text(t, ctx, "error"); !strings.Contains(got, "50144") {
		t.Errorf("an expired password shows %q, without 50144", got)
	}

	// All agents down: told at once, and the break-glass administrator still gets in.
	w.StopAgents()
	if err := w.AwaitAgents(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.RunResponse(ctx, chromedp.SendKeys(chromedp.ID("password"), people.RightPassword+kb.Enter)); err != nil {
		t.Fatal(err)
	}
	shot(t, ctx, "8-no-agent")
	if got := text(t, ctx, "error"); !strings.Contains(got, "80001") {
		t.Errorf("with all agents down the page shows %q, without 80001", got)
	}
	do(t, ctx, "break-glass", chromedp.Navigate(w.SampleURL()), chromedp.Click(chromedp.ID("signin")), chromedp.WaitVisible(chromedp.ID("username")),
		chromedp.SendKeys(chromedp.ID("username"), breakGlass+kb.Enter), chromedp.WaitVisible(chromedp.ID("password")),
		chromedp.SendKeys(chromedp.ID("password"), w.kept.BreakGlassPassword+kb.Enter), chromedp.WaitVisible(chromedp.ID("claims")))
	if got := text(t, ctx, "upn"); got != breakGlass {
		t.Errorf("the application says that %q signed in, not the break-glass administrator", got)
	}
}
