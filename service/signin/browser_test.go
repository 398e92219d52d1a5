package signin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// startChromium returns the context of a tab in a real browser.
func startChromium(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatal("SALLYPORT_CI=1 wants this test to run, and chromium is not installed (Debian: apt-get install chromium)")
		}
		t.Skip("chromium is not installed (Debian: apt-get install chromium)")
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(flags, chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1100, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// do runs steps.
func do(t *testing.T, ctx context.Context, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// ask runs a step that answers.
func ask[T any](t *testing.T, ctx context.Context, what string, step chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, step)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return v
}

// shot stores a picture of the tab in the folder that SALLYPORT_SCREENSHOTS names, if it does.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SALLYPORT_SCREENSHOTS")
	if dir == "" {
		return
	}
	png := ask(t, ctx, "screenshot", chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A person signs in with a real browser, which holds our own policy against us: the journey ends at an application on another
// origin, which redirects to a third.
func TestSignInWithChromium(t *testing.T) {
	ctx := startChromium(t)
	w := newWorld(t)
	third := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(rw, `<p id="arrived">%s, referrer [%s]</p>`, r.URL.Path, r.Referer())
	}))
	t.Cleanup(third.Close)
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, third.URL+"/home", http.StatusSeeOther)
	}))
	t.Cleanup(app.Close)
	w.app = app.URL + "/callback"
	console := watchConsole(ctx)

	do(t, ctx, "begin", chromedp.Navigate(w.server.URL+"/door/begin/acme"), chromedp.WaitVisible(chromedp.ID("username")))
	if id := ask(t, ctx, "focus", chromedp.Evaluate[string]("document.activeElement.id")); id != "username" {
		t.Errorf("the focus is on %q", id)
	}
	if ring := ask(t, ctx, "focus ring", chromedp.Evaluate[string]("getComputedStyle(document.activeElement).outlineWidth")); ring != "3px" {
		t.Errorf("the focus is marked by %q", ring)
	}
	shot(t, ctx, "name")
	do(t, ctx, "type the name and press Enter", chromedp.SendKeys(chromedp.ID("username"), "anna@acme.example"+kb.Enter), chromedp.WaitVisible(chromedp.ID("password")))
	if id := ask(t, ctx, "focus", chromedp.Evaluate[string]("document.activeElement.id")); id != "password" {
		t.Errorf("the focus is on %q", id)
	}
	shot(t, ctx, "password")
	do(t, ctx, "a wrong password", chromedp.SendKeys(chromedp.ID("password"), "nope"+kb.Enter), chromedp.WaitVisible(chromedp.ID("error")))
	if title := ask(t, ctx, "title", chromedp.Title()); !strings.HasPrefix(title, "Error: The name or the password is not right.") {
		t.Errorf("the title is %q", title)
	}
	shot(t, ctx, "wrong")
	do(t, ctx, "reload", chromedp.Reload(), chromedp.WaitVisible(chromedp.ID("error")))
	if n := w.checker.count(); n != 1 {
		t.Errorf("a reload was a check: %d", n)
	}
	do(t, ctx, "the right password", chromedp.SendKeys(chromedp.ID("password"), canary), chromedp.Click(chromedp.ID("submit")),
		chromedp.WaitVisible(chromedp.ID("arrived")))
	if got := ask(t, ctx, "the application", chromedp.Text(chromedp.ID("arrived"))); got != "/home, referrer []" {
		t.Errorf("the application says %q", got)
	}
	if w.checker.count() != 2 || w.checker.typed[1] != canary {
		t.Errorf("checked were %q", w.checker.typed)
	}
	if said := console(); len(said) != 0 {
		t.Errorf("the browser complains: %q", said)
	}
	do(t, ctx, "back", chromedp.NavigateBack())
	if at := ask(t, ctx, "location", chromedp.Location()); strings.Contains(at, "/continue") {
		t.Errorf("the back button lands on the page that sends on: %s", at)
	}
}

// The pages fit into a phone's width and into a window at 200 %, and have large targets, in light and dark.
func TestPagesInChromium(t *testing.T) {
	for scheme, setting := range map[string]string{"light": "preferredColorScheme=1", "dark": "preferredColorScheme=0"} {
		t.Run(scheme, func(t *testing.T) {
			ctx := startChromium(t, chromedp.Flag("blink-settings", setting))
			w := newWorld(t)
			site := w.server.URL
			do(t, ctx, "begin", chromedp.Navigate(site+"/door/begin/acme"),
				chromedp.SendKeys(chromedp.ID("username"), "nobody.with.a.very.long.name@department.of.something.example"+kb.Enter),
				chromedp.WaitVisible(chromedp.ID("password")), chromedp.SendKeys(chromedp.ID("password"), "nope"+kb.Enter), chromedp.WaitVisible(chromedp.ID("error")))
			if dark := ask(t, ctx, "scheme", chromedp.Evaluate[bool](`matchMedia("(prefers-color-scheme: dark)").matches`)); dark != (scheme == "dark") {
				t.Fatalf("the browser is not in %s", scheme)
			}
			password := ask(t, ctx, "location", chromedp.Location())
			for name, at := range map[string]string{"name": strings.TrimSuffix(password, "/password"), "wrong": password, "gone": site + "/t/acme/signin/x",
				"nowhere": site + "/t/nowhere/signed-out", "signedout": site + "/t/acme/signed-out"} {
				for _, size := range []struct {
					name          string
					width, height int64
				}{{"wide", 1100, 800}, {"narrow", 320, 640}, {"zoom", 640, 400}} {
					what := name + "-" + scheme + "-" + size.name
					do(t, ctx, what, chromedp.EmulateViewport(size.width, size.height), chromedp.Navigate(at), chromedp.WaitReady(chromedp.CSS("main")))
					if over := ask(t, ctx, what, chromedp.Evaluate[int]("document.documentElement.scrollWidth - window.innerWidth")); over > 0 {
						t.Errorf("%s: %d pixels stick out", what, over)
					}
					small := ask(t, ctx, what, chromedp.Evaluate[string](`[...document.querySelectorAll("a,button,input.field")]
						.filter(e => e.getBoundingClientRect().height < 44).map(e => e.id).join()`))
					if small != "" {
						t.Errorf("%s: lower than 44 pixels: %s", what, small)
					}
					shot(t, ctx, what)
				}
			}
		})
	}
}

// watchConsole collects what the browser complains about: a breach of our own policy, among others.
func watchConsole(ctx context.Context) func() []string {
	var mu sync.Mutex
	var said []string
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			mu.Lock()
			said = append(said, m.String())
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
}
