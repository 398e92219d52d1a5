package clients

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	apacheProgram = "/usr/sbin/apache2"
	apacheModules = "/usr/lib/apache2/modules"
	// apacheAccount is whom Apache's workers run as when root starts it.
	apacheAccount = "www-data"
)

// apacheConfig protects /private/ by the module and echoes what it says of the person in headers, as an application behind it would
// see it. Nothing of the system's own configuration is read.
const apacheConfig = `
ServerRoot %[1]q
ServerName localhost
Listen 127.0.0.1:%[2]s
PidFile %[1]s/pid
DefaultRuntimeDir %[1]s
ErrorLog %[1]s/error.log
LogLevel warn auth_openidc:info
DocumentRoot %[1]s/pages
%[3]s
LoadModule mpm_event_module %[4]s/mod_mpm_event.so
LoadModule authn_core_module %[4]s/mod_authn_core.so
LoadModule authz_core_module %[4]s/mod_authz_core.so
LoadModule authz_user_module %[4]s/mod_authz_user.so
LoadModule headers_module %[4]s/mod_headers.so
LoadModule auth_openidc_module %[4]s/mod_auth_openidc.so
StartServers 1
ServerLimit 2
ThreadsPerChild 8
MaxRequestWorkers 16
MinSpareThreads 1
MaxSpareThreads 16

OIDCProviderMetadataURL %[5]s/.well-known/openid-configuration
OIDCCABundlePath %[1]s/ca.pem
OIDCSSLValidateServer On
OIDCOAuthSSLValidateServer On
OIDCClientID %[6]s
OIDCClientSecret %[7]s
OIDCProviderTokenEndpointAuth client_secret_basic
OIDCIDTokenSignedResponseAlg %[8]s
OIDCPKCEMethod S256
OIDCScope "openid profile email groups offline_access"
OIDCRedirectURI http://localhost:%[2]s/private/callback
OIDCDefaultLoggedOutURL http://localhost:%[2]s/out.html
OIDCCryptoPassphrase %[9]s
OIDCRemoteUserClaim upn
OIDCPassRefreshToken On
OIDCInfoHook iat access_token id_token userinfo refresh_token

<Location /private/>
  AuthType openid-connect
  Require valid-user
  Header always set X-User "expr=%%{REMOTE_USER}"
  Header always set X-Sub "expr=%%{reqenv:OIDC_CLAIM_sub}"
  Header always set X-Iss "expr=%%{reqenv:OIDC_CLAIM_iss}"
  Header always set X-Email "expr=%%{reqenv:OIDC_CLAIM_email}"
  Header always set X-Groups "expr=%%{reqenv:OIDC_CLAIM_groups}"
  Header always set X-Nonce "expr=%%{reqenv:OIDC_CLAIM_nonce}"
  Header always set X-Access-Token "expr=%%{reqenv:OIDC_access_token}"
  Header always set X-Refresh-Token "expr=%%{reqenv:OIDC_refresh_token}"
</Location>
`

func needApache(t *testing.T) {
	t.Helper()
	for file, pkg := range map[string]string{apacheProgram: "apache2", apacheModules + "/mod_auth_openidc.so": "libapache2-mod-auth-openidc"} {
		if _, err := os.Stat(file); err != nil {
			missing(t, "%s is missing (Debian package %s)", file, pkg)
		}
	}
}

// TestApache: mod_auth_openidc in Apache, as sites use it that cannot speak OpenID Connect themselves.
func TestApache(t *testing.T) {
	needApache(t)
	w := openWorld(t)
	for _, algorithm := range []string{"ES256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			w := *w
			w.t = t
			site := startApache(t, &w, algorithm)
			b := w.browser()
			seen := site.checkIn(b)
			site.checkRefusals()
			site.checkRefresh(b, seen)
			site.checkRotation(b)
			site.checkLogout()
		})
	}
}

// TestApacheForeignCA: the module speaks to nobody whose certificate its CA has not issued, so the trust above is real.
func TestApacheForeignCA(t *testing.T) {
	needApache(t)
	w := openWorld(t)
	w.caFile = foreignCA(t)
	b := w.browser()
	if p := b.visit(startApache(t, w, "ES256").private(), ""); p.status < 500 || b.asked != 0 {
		t.Errorf("the page answers %d after %d questions", p.status, b.asked)
	}
}

// site is a running Apache.
type site struct {
	t         *testing.T
	w         *world
	algorithm string
	root      string // http://localhost:…
	errorLog  string
}

// startApache runs Apache in the foreground, on a port and in a folder of its own.
func startApache(t *testing.T, w *world, algorithm string) *site {
	t.Helper()
	// Not t.TempDir: its parent is closed to others, and the workers are others.
	dir, err := os.MkdirTemp("", "sallyport-apache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(func() { showEnd(t, filepath.Join(dir, "error.log")) })
	port := freePort(t)
	s := &site{t: t, w: w, algorithm: algorithm, root: "http://localhost:" + port, errorLog: filepath.Join(dir, "error.log")}
	a := w.register("Apache "+algorithm, algorithm, s.root+"/private/callback", s.root+"/out.html", false)
	run := ""
	if os.Geteuid() == 0 {
		if _, err := user.Lookup(apacheAccount); err != nil {
			missing(t, "Apache is started by root and there is no account %s: %v", apacheAccount, err)
		}
		run = "User " + apacheAccount + "\nGroup " + apacheAccount
	}
	ca, err := os.ReadFile(w.caFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(apacheConfig, dir, port, run, apacheModules, w.issuer, a.id, a.secret, algorithm, strings.Repeat("p", 32))
	if err := os.MkdirAll(filepath.Join(dir, "pages", "private"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"apache.conf": config, "ca.pem": string(ca), "pages/private/page.html": "<p>inside</p>\n",
		"pages/out.html": "<p>outside</p>\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "pages"), filepath.Join(dir, "pages", "private")} {
		if err := os.Chmod(name, 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	cmd := exec.Command(apacheProgram, "-DFOREGROUND", "-d", dir, "-f", filepath.Join(dir, "apache.conf"))
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	said := logFile(t, filepath.Join(dir, "said"))
	cmd.Stdout, cmd.Stderr = said, said
	// Apache ends, with its workers, also when the test is killed: the kernel tells it when the thread that started it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by its log
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	await(t, "Apache to listen", func() bool {
		select {
		case <-ended:
			t.Fatal("Apache ended by itself")
		default:
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return s
}

// log is Apache's error log so far.
func (s *site) log() string {
	s.t.Helper()
	raw, err := os.ReadFile(s.errorLog)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(raw)
}

// freePort returns a loopback port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *site) private() string  { return s.root + "/private/page.html" }
func (s *site) callback() string { return s.root + "/private/callback" }

// inside opens the protected page and wants to be shown it.
func (s *site) inside(b *browser, address string) place {
	s.t.Helper()
	p := b.visit(address, "")
	if p.status != http.StatusOK || !strings.Contains(p.body, "inside") || p.header.Get("X-User") != alice {
		s.t.Fatalf("%s ends at %s: %d, user %q\n%.1500s", address, p.url, p.status, p.header.Get("X-User"), p.body)
	}
	return p
}

// checkIn signs in by opening the protected page and looks at what Apache tells the application behind it.
func (s *site) checkIn(b *browser) place {
	s.t.Helper()
	p := s.inside(b, s.private())
	if b.typed != 1 {
		s.t.Errorf("the password was typed %d times", b.typed)
	}
	groups := strings.Split(p.header.Get("X-Groups"), ",")
	if p.header.Get("X-Iss") != s.w.issuer || p.header.Get("X-Sub") == "" || p.header.Get("X-Email") == "" || !slices.Contains(groups, "Staff") ||
		p.header.Get("X-Access-Token") == "" || p.header.Get("X-Refresh-Token") == "" {
		s.t.Errorf("the application is told %v", p.header)
	}
	return p
}

// checkRefusals alters requests and answers on their way through the browser: the module or we must notice.
func (s *site) checkRefusals() {
	s.t.Helper()
	for _, c := range []struct {
		name   string
		ask    func(url.Values) // changes the request
		answer func(url.Values) // changes the answer
		log    string           // what Apache's log says of it: the module's error page has the status 200
	}{
		{name: "another state", answer: func(q url.Values) { q.Set("state", "x") }, log: "invalid authorization response state"},
		{name: "another issuer", answer: func(q url.Values) { q.Set("iss", "https://evil.example") }, log: "does not match the issuer"},
		{name: "another code", answer: func(q url.Values) { q.Set("code", strings.Repeat("A", len(q.Get("code")))) }, log: "invalid_grant"},
		{name: "another nonce", ask: func(q url.Values) { q.Set("nonce", "x") }, log: "the nonce value"},
		{name: "another challenge", ask: func(q url.Values) { q.Set("code_challenge", strings.Repeat("A", 43)) }, log: "invalid_grant"},
	} {
		b, before := s.w.browser(), len(s.log())
		ask := b.visit(s.private(), s.w.issuer+"/oauth2/authorize?").url.String()
		answer := b.visit(altered(s.t, ask, c.ask), s.callback()+"?").url.String()
		b.visit(altered(s.t, answer, c.answer), "")
		if said := s.log()[before:]; !strings.Contains(said, c.log) {
			s.t.Errorf("%s: the log does not say %q but %s", c.name, c.log, said)
		}
		if p := b.visit(s.private(), s.w.issuer+"/"); p.status != 0 {
			s.t.Errorf("%s: the page is open: %d", c.name, p.status)
		}
	}
}

// checkRefresh has the module refresh its tokens.
func (s *site) checkRefresh(b *browser, before place) {
	s.t.Helper()
	for range 2 {
		q := url.Values{"refresh": {s.private()}, "access_token": {before.header.Get("X-Access-Token")}}
		after := s.inside(b, s.callback()+"?"+q.Encode())
		if after.url.Query().Has("error_code") {
			s.t.Fatalf("the refresh failed: %s", after.url)
		}
		for _, name := range []string{"X-Access-Token", "X-Refresh-Token"} {
			if after.header.Get(name) == "" || after.header.Get(name) == before.header.Get(name) {
				s.t.Errorf("%s did not change", name)
			}
		}
		if after.header.Get("X-Sub") != before.header.Get("X-Sub") {
			s.t.Error("the person changed")
		}
		before = after
	}
}

// checkRotation turns the signing key over in both ways. Apache keeps the key set of the first sign-in all the while, and each
// sign-in needs a key: that of the browser's session and one of a new browser.
func (s *site) checkRotation(b *browser) {
	s.t.Helper()
	s.w.rotate(s.algorithm)
	s.inside(b, s.private())
	s.inside(s.w.browser(), s.private())
	s.w.replace(s.algorithm)
	s.inside(b, s.private())
	s.inside(s.w.browser(), s.private())
}

// checkLogout signs out of Apache and of Sallyport in one go.
func (s *site) checkLogout() {
	s.t.Helper()
	b := s.w.browser() // its ID token is signed by the key of now, so that nothing has to be asked
	s.inside(b, s.private())
	asked := b.asked
	q := url.Values{"logout": {s.root + "/out.html"}}
	p := b.visit(s.callback()+"?"+q.Encode(), "")
	if p.status != http.StatusOK || !strings.Contains(p.body, "outside") || b.asked != asked {
		s.t.Fatalf("after %d questions the sign-out ends at %s: %d\n%.1000s", b.asked-asked, p.url, p.status, p.body)
	}
	s.inside(b, s.private())
	if b.typed != 2 {
		s.t.Errorf("after the sign-out the password was typed %d times in all, not twice", b.typed)
	}
}
