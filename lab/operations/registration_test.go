//go:build linux

package operations_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium returns the context of a tab in a real browser.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatal("SALLYPORT_CI=1 wants this test to run, and chromium is not installed (Debian: apt-get install chromium)")
		}
		t.Skip("chromium is not installed (Debian: apt-get install chromium)")
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1100, 1000),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return ctx
}

func steps(t *testing.T, ctx context.Context, what string, all ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, all...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func text(t *testing.T, ctx context.Context, id string) string {
	t.Helper()
	s, err := chromedp.Run(ctx, chromedp.Text(chromedp.ID(id)))
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return s
}

// shot stores a picture of the tab in the folder that SALLYPORT_SCREENSHOTS names, if it does.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SALLYPORT_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}

// administrator makes a cloud-only administrator with a password.
func (s *site) administrator(t *testing.T, name, password string) {
	t.Helper()
	if !strings.Contains(s.command(t, "domain", "list"), "people.example") {
		s.command(t, "domain", "create", "people.example", "--kind", "cloud")
	}
	s.command(t, "user", "create", name, "--role", "administrator")
	file := filepath.Join(t.TempDir(), "password")
	noError(t, os.WriteFile(file, []byte(password), 0o600))
	s.command(t, "user", "set-password", name, "--password-file", file)
}

// byCode are the arguments of a registration without a token.
func (s *site) byCode(state string, more ...string) []string {
	return append([]string{"register", "--service", s.publicS, "--ca-file", filepath.Join(s.data, "local-ca", "ca-certificate.pem"), "--state", state}, more...)
}

// shown is what a registration without a token shows.
type shownCode struct{ link, page, code, fingerprint string }

var codeWords = regexp.MustCompile(`(?s)opens\s+(https://\S+).*code at (https://\S+).*code: +(\S+)\n +fingerprint: +([0-9a-f ]+)\n`)

func (p *program) code8628() (c shownCode) {
	p.t.Helper()
	p.await("it shows a code", func() bool {
		m := codeWords.FindStringSubmatch(p.words())
		if m != nil {
			c = shownCode{m[1], m[2], m[3], m[4]}
		}
		return m != nil
	})
	return c
}

// TestRegisterByCode: an agent without a token shows a code; an administrator opens the link in a browser, signs in, compares and approves;
// the agent gets its certificate and is attached. The keyboard is enough.
func TestRegisterByCode(t *testing.T) {
	ctx := chromium(t)
	s := newSite(t)
	s.administrator(t, "ada@people.example", "a long password of ada")
	state := filepath.Join(t.TempDir(), "state")
	register := run(t, nil, sallyportAgent, s.byCode(state, "--name", "berlin-1")...)
	c := register.code8628()
	if c.page != s.publicS+"/t/contoso/register" || c.link != c.page+"/code/"+c.code {
		t.Errorf("%+v", c)
	}
	steps(t, ctx, "to the page", chromedp.Navigate(c.link), chromedp.WaitVisible(chromedp.ID("username")))
	steps(t, ctx, "sign in", chromedp.SendKeys(chromedp.ID("username"), "ada@people.example"+kb.Enter), chromedp.WaitVisible(chromedp.ID("password")),
		chromedp.SendKeys(chromedp.ID("password"), "a long password of ada"+kb.Enter), chromedp.WaitVisible(chromedp.ID("fingerprint")))
	host, err := os.Hostname()
	noError(t, err)
	for id, want := range map[string]string{"fingerprint": c.fingerprint, "code": c.code, "host": host, "address": "127.0.0.1", "directory-name": "corp"} {
		if got := text(t, ctx, id); got != want {
			t.Errorf("%s is %q, not %q", id, got, want)
		}
	}
	shot(t, ctx, "approve")
	// With the keyboard alone: from the checkbox to the button.
	steps(t, ctx, "approve", chromedp.Focus(chromedp.ID("compared")), chromedp.KeyEvent(" "), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(chromedp.ID("result")))
	shot(t, ctx, "approved")
	if got := text(t, ctx, "result"); got != "berlin-1 is let in" {
		t.Errorf("the page says %q", got)
	}
	if code := register.code(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, register.words())
	}
	register.says(`registered agent "berlin-1"`)
	attend(t, state).attached()
	if got := s.command(t, "agent", "show", "berlin-1"); !strings.Contains(got, c.fingerprint) || !strings.Contains(got, "ada@people.example") {
		t.Errorf("agent show:\n%s", got)
	}

	// A second one is denied, by typing the code.
	denied := run(t, nil, sallyportAgent, s.byCode(filepath.Join(t.TempDir(), "other"))...)
	c = denied.code8628()
	steps(t, ctx, "type the code", chromedp.Navigate(c.page), chromedp.WaitVisible(chromedp.ID("hint")))
	shot(t, ctx, "code")
	steps(t, ctx, "deny", chromedp.SendKeys(chromedp.ID("code"), strings.ToLower(c.code)+kb.Enter),
		chromedp.WaitVisible(chromedp.ID("deny")), chromedp.Click(chromedp.ID("deny")), chromedp.WaitVisible(chromedp.ID("result")))
	denied.refuses(3, "90083", "what to do:")
	if u, err := url.Parse(c.link); err != nil || u.RawQuery != "" {
		t.Errorf("%s, %v", c.link, err)
	}
}

// TestSecondAdministratorByCommand: under "second" an agent with a token is registered, says so, waits politely, and is attached once somebody
// else than the token's maker approves it.
func TestSecondAdministratorByCommand(t *testing.T) {
	s := newSite(t)
	succeeds(t, sallyport, append([]string{"tenant", "registration", "set", "contoso", "--approval", "second", "--server", "https://" + s.service.addresses().admin},
		settings(s.data)...)...)
	state := filepath.Join(t.TempDir(), "state")
	r := run(t, nil, sallyportAgent, s.register(state, s.token(t), "--name", "berlin-2")...)
	if r.code() != 0 {
		t.Fatal(r.words())
	}
	r.says("waits for an administrator's approval", "fingerprint:")
	agent := attend(t, state)
	agent.await("it is told to wait", func() bool { return strings.Contains(agent.words(), "90080") })
	flags := append([]string{"--server", "https://" + s.service.addresses().admin, "--tenant", "contoso"}, settings(s.data)...)
	run(t, nil, sallyport, append([]string{"agent", "approve", "berlin-2"}, flags...)...).refuses(1, "90085")
	// A token that the first one's holder makes is no second administrator.
	child := filepath.Join(t.TempDir(), "child")
	succeeds(t, sallyport, append([]string{"token", "create", "--secret-file", child, "--server", "https://" + s.service.addresses().admin}, settings(s.data)...)...)
	run(t, nil, sallyport, append([]string{"agent", "approve", "berlin-2", "--token-file", child}, flags...)...).refuses(1, "90085")
	s.administrator(t, "ben@people.example", "a long password of ben")
	ctx := chromium(t)
	steps(t, ctx, "sign in", chromedp.Navigate(s.publicS+"/t/contoso/register"), chromedp.WaitVisible(chromedp.ID("username")),
		chromedp.SendKeys(chromedp.ID("username"), "ben@people.example"+kb.Enter), chromedp.WaitVisible(chromedp.ID("password")),
		chromedp.SendKeys(chromedp.ID("password"), "a long password of ben"+kb.Enter), chromedp.WaitVisible(chromedp.ID("waiting")))
	shot(t, ctx, "waiting")
	steps(t, ctx, "approve", chromedp.Click(chromedp.CSS("#waiting a")), chromedp.WaitVisible(chromedp.ID("vouched")),
		chromedp.Click(chromedp.ID("compared")), chromedp.Click(chromedp.ID("approve")), chromedp.WaitVisible(chromedp.ID("result")))
	agent.attached()
}

// TestTokenFromTheEnvironment: no secret has to stand on a command line.
func TestTokenFromTheEnvironment(t *testing.T) {
	s := newSite(t)
	for name, value := range map[string]func(file string) string{
		"SALLYPORT_AGENT_TOKEN_FILE": func(file string) string { return file },
		"SALLYPORT_AGENT_TOKEN": func(file string) string {
			b, err := os.ReadFile(file)
			noError(t, err)
			return strings.TrimSpace(string(b))
		},
	} {
		c := exec.Command(sallyportAgent, s.byCode(filepath.Join(t.TempDir(), "state"), "--instance", strings.ToLower(strings.ReplaceAll(name, "_", "-")))...)
		c.Env = []string{"HOME=/nonexistent", name + "=" + value(s.token(t))}
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "registered agent") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestNotificationSurvivesAKill: a registration is told to a webhook and by mail, also when the receivers are away at first and the service
// is killed meanwhile.
func TestNotificationSurvivesAKill(t *testing.T) {
	data, _ := template.data(t)
	hook, mails := reserve(t), reserve(t)
	secret := filepath.Join(t.TempDir(), "secret")
	noError(t, os.WriteFile(secret, []byte("a secret of sixteen bytes and more\n"), 0o600))
	to := []string{"--set", "notify.webhook.url=http://" + hook + "/hook", "--set", "notify.webhook.secret_file=" + secret,
		"--set", "notify.smtp.address=" + mails, "--set", "notify.smtp.from=sallyport@corp.example", "--set", "notify.smtp.to=ops@corp.example"}
	s := startSite(t, data, to...)
	s.registered(t)
	s.service.await("a delivery has failed", func() bool { return strings.Count(s.service.words(), "code=90086") >= 2 })
	s.service.says("msg=notification ")
	noError(t, s.service.cmd.Process.Kill())
	<-s.service.done

	posted := make(chan string, 16)
	l, err := net.Listen("tcp", hook)
	noError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- r.Header.Get("Sallyport-Signature") + " " + string(body)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	written := mailbox(t, mails)

	again := startSite(t, data, to...)
	for what, from := range map[string]chan string{"webhook": posted, "mail": written} {
		select {
		case got := <-from:
			if !strings.Contains(got, "registered") || what == "webhook" && (!strings.HasPrefix(got, "t=") || !strings.Contains(got, `"tenant_name":"contoso"`)) {
				t.Errorf("%s: %s", what, got)
			}
		case <-time.After(patience + 2*time.Minute): // what was being delivered when the process died is left alone for two minutes
			t.Fatalf("%s: nothing came:\n%s", what, again.service.words())
		}
	}
}

// reserve returns a free address of this machine.
func reserve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer func() { noError(t, l.Close()) }()
	return l.Addr().String()
}

// mailbox is a small mail server; the channel gets each mail.
func mailbox(t *testing.T, address string) chan string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	noError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	out := make(chan string, 16)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				_, _ = io.WriteString(conn, "220 box\r\n")
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if !strings.HasPrefix(line, "DATA") {
						_, _ = io.WriteString(conn, "250 ok\r\n")
						continue
					}
					_, _ = io.WriteString(conn, "354 write\r\n")
					var mail strings.Builder
					for line, err = in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
						mail.WriteString(line)
					}
					_, _ = io.WriteString(conn, "250 taken\r\n")
					out <- mail.String()
				}
			}()
		}
	}()
	return out
}
