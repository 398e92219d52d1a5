package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

const goodToken = "spt_canary-token-7f3a"

// fakeService plays the service's registration with a real CA behind real TLS. The zero change answers properly.
type fakeService struct {
	*httptest.Server
	ca     authority
	caFile string
	asked  []wire.RegisterRequest
	// issue spoils certificates, answer spoils the document, first may answer in the service's place.
	issue  func(*x509.Certificate)
	answer func(*wire.RegisterAnswer)
	first  func(http.ResponseWriter, *http.Request) bool
}

func newFakeService(t *testing.T) *fakeService {
	t.Helper()
	s := &fakeService{ca: newAuthority(t)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.first != nil && s.first(w, r) {
			return
		}
		if r.URL.Path != wire.RegisterPath || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		request, err := wire.DecodeRegisterRequest(r.Body)
		if err != nil {
			problem(w, http.StatusBadRequest, wire.EnrolRequestInvalid)
			return
		}
		s.asked = append(s.asked, request)
		if request.Token != goodToken {
			problem(w, http.StatusForbidden, wire.EnrolTokenInvalid)
			return
		}
		block, _ := pem.Decode([]byte(request.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || csr.CheckSignature() != nil {
			problem(w, http.StatusBadRequest, wire.EnrolRequestInvalid)
			return
		}
		cert := s.ca.issue(t, csr.PublicKey, s.issue)
		answer := wire.RegisterAnswer{
			TenantID: tenantID, TenantName: "contoso", DirectoryID: directoryID, DirectoryName: "corp", AgentID: agentID,
			AgentName: request.Name, Certificate: pemOf(cert, s.ca.cert), Gateway: "gateway.example.com:8443",
			TrustDomain: trustDomain, Expires: cert.NotAfter,
		}
		if s.answer != nil {
			s.answer(&answer)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // refused handshakes are what the tests want
	s.StartTLS()
	t.Cleanup(s.Close)
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.caFile, []byte(pemOf(s.Certificate())), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func problem(w http.ResponseWriter, status int, code wire.Code) {
	entry, _ := wire.Lookup(code)
	w.Header().Set("Content-Type", wire.ProblemType+"; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Title: entry.Name, Status: status, Detail: entry.Public, Code: code, Remedy: entry.Remedy, Trace: "4bf92f3577b34da6"})
}

func (s *fakeService) options(t *testing.T) Options {
	t.Helper()
	return Options{Service: s.URL, Token: goodToken, Dir: filepath.Join(t.TempDir(), "state"), Name: "dc-agent-1", CAFile: s.caFile, Version: "1.2.3"}
}

func TestRegister(t *testing.T) {
	s := newFakeService(t)
	o := s.options(t)
	id, err := Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 1 || s.asked[0].Name != "dc-agent-1" || s.asked[0].Version != "1.2.3" || s.asked[0].OS == "" {
		t.Fatalf("asked %v", s.asked)
	}
	if !bytes.Equal(s.asked[0].EnvelopeKey, id.EnvelopeKey().Public().Bytes()) {
		t.Error("another envelope key was sent than kept")
	}
	back, err := Open(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if back.Agent() != agentID || back.AgentName() != "dc-agent-1" || back.GatewayRoots() == nil {
		t.Errorf("kept %+v", back.Facts())
	}
	// The private halves stay here: nothing that was sent holds them, and nothing that was written holds the token.
	sent, err := json.Marshal(s.asked[0])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := id.EnvelopeKey().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := id.key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range [][]byte{raw, secret} {
		encoded, err := json.Marshal(private)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sent, bytes.Trim(encoded, `"`)) || bytes.Contains(sent, private) {
			t.Error("a private key was sent")
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(goodToken)) {
			t.Errorf("%s holds the token", name)
		}
	}
}

func TestRegisterKeepsTheGatewaysOwnCA(t *testing.T) {
	s := newFakeService(t)
	s.answer = func(a *wire.RegisterAnswer) { a.GatewayCA = pemOf(s.ca.cert) }
	id, err := Register(t.Context(), s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	if id.Facts().GatewayCA != pemOf(s.ca.cert) {
		t.Error("another CA was kept")
	}
}

func TestRegisterOverAnIdentity(t *testing.T) {
	s := newFakeService(t)
	o := s.options(t)
	first, err := Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Register(t.Context(), o)
	if !errors.Is(err, ErrExists) || len(s.asked) != 1 {
		t.Fatalf("got %v after %d requests: the token must not be spent", err, len(s.asked))
	}
	o.Replace = true
	second, err := Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if samePublic(first.key, second.key.Public()) || first.EnvelopeKey().Public().ID() == second.EnvelopeKey().Public().ID() {
		t.Error("the keys were used again")
	}
}

func TestRegisterRefusesBeforeTheTokenIsSpent(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	notPEM := filepath.Join(t.TempDir(), "not.pem")
	if err := os.WriteFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Options)
		kind   error
		want   string
	}{
		{"http", func(o *Options) { o.Service = "http://" + strings.TrimPrefix(o.Service, "https://") }, ErrOptions, "only https"},
		{"user in the URL", func(o *Options) { o.Service = strings.Replace(o.Service, "https://", "https://u:hidden@", 1) }, ErrOptions, "no user"},
		{"query", func(o *Options) { o.Service += "?x=1" }, ErrOptions, "query"},
		{"no service", func(o *Options) { o.Service = "" }, ErrOptions, "https"},
		{"no token", func(o *Options) { o.Token = " \n" }, ErrOptions, "token"},
		{"token too long", func(o *Options) { o.Token = strings.Repeat("x", wire.MaxRegisterToken+1) }, ErrOptions, "token is longer"},
		{"name of two lines", func(o *Options) { o.Name = "a\nb" }, ErrOptions, "name"},
		{"CA file absent", func(o *Options) { o.CAFile = filepath.Join(t.TempDir(), "absent") }, ErrOptions, "CA file"},
		{"CA file of something else", func(o *Options) { o.CAFile = notPEM }, ErrOptions, "no certificate"},
		{"proxy of another kind", func(o *Options) { o.Proxy = "socks9://x" }, ErrOptions, "proxy"},
		{"open folder", func(o *Options) { o.Dir = open }, ErrPermissions, "mode 0755"},
		{"folder below a file", func(o *Options) { o.Dir = filepath.Join(notPEM, "state") }, ErrPermissions, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeService(t)
			o := s.options(t)
			test.change(&o)
			_, err := Register(t.Context(), o)
			var e *Error
			if !errors.Is(err, test.kind) || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %v about %q", err, test.kind, test.want)
			}
			if e.Remedy == "" || strings.Contains(err.Error()+e.Remedy, "hidden") {
				t.Errorf("remedy %q, error %v", e.Remedy, err)
			}
			if len(s.asked) > 0 {
				t.Error("the service was asked")
			}
		})
	}
}

func TestRegisterWhatTheServiceSays(t *testing.T) {
	for _, test := range []struct {
		name  string
		first func(http.ResponseWriter, *http.Request) bool
		kind  error
		code  wire.Code
		want  string
		cure  string
	}{
		{"token refused", func(w http.ResponseWriter, _ *http.Request) bool {
			problem(w, http.StatusForbidden, wire.EnrolTokenInvalid)
			return true
		}, ErrRefused, wire.EnrolTokenInvalid, "enrol-token-invalid", "Make a new one"},
		{"service in trouble", func(w http.ResponseWriter, _ *http.Request) bool {
			problem(w, http.StatusServiceUnavailable, wire.Internal)
			return true
		}, ErrUnreachable, wire.Internal, "internal", "trace id"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
			return true
		}, ErrAnswer, 0, "https://elsewhere.example/", "--service"},
		{"wrong place", func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, ErrAnswer, 0, "404", "nobody registers agents"},
		{"a captive portal", func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, "<html>log in to the network</html>")
			return true
		}, ErrAnswer, 0, "malformed", "rewrites"},
		{"an endless answer", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.CopyN(w, zeros{}, wire.MaxRegisterAnswer*2)
			return true
		}, ErrAnswer, 0, "longer than", "--service"},
		{"escapes for the terminal", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", wire.ProblemType)
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(wire.Problem{Title: "a\x1b[2Jb", Code: 7})
			return true
		}, ErrRefused, 7, "a [2Jb", "trace id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeService(t)
			s.first = test.first
			o := s.options(t)
			_, err := Register(t.Context(), o)
			var e *Error
			if !errors.Is(err, test.kind) || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || e.Code != test.code {
				t.Fatalf("got %v, want %v about %q", err, test.kind, test.want)
			}
			if !strings.Contains(e.Remedy, test.cure) {
				t.Errorf("remedy %q", e.Remedy)
			}
			if strings.Contains(err.Error(), goodToken) {
				t.Error("the error tells the token")
			}
			if _, err := Open(o.Dir); !errors.Is(err, ErrNotRegistered) {
				t.Errorf("something was written: %v", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestRegisterVerifiesTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		issue  func(*x509.Certificate)
		answer func(t *testing.T, s *fakeService, a *wire.RegisterAnswer)
		want   string
	}{
		{name: "another agent's certificate", answer: func(t *testing.T, s *fakeService, a *wire.RegisterAnswer) {
			a.Certificate = pemOf(s.ca.issue(t, &newKey(t).PublicKey, nil), s.ca.cert)
		}, want: "another key"},
		{name: "ids that do not fit", answer: func(_ *testing.T, _ *fakeService, a *wire.RegisterAnswer) { a.TenantID = "other" }, want: "not for spiffe://"},
		{name: "expired", issue: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, want: "has expired"},
		{name: "not valid yet", issue: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }, want: "behind"},
		{name: "for servers", issue: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, want: "client authentication"},
		{name: "chain of strangers", answer: func(t *testing.T, s *fakeService, a *wire.RegisterAnswer) {
			a.Certificate = strings.SplitAfter(a.Certificate, "-----END CERTIFICATE-----\n")[0] + pemOf(newAuthority(t).cert)
		}, want: "not signed by the next"},
		{name: "expiry that does not fit", answer: func(_ *testing.T, _ *fakeService, a *wire.RegisterAnswer) { a.Expires = a.Expires.Add(time.Hour) }, want: "the certificate says"},
		{name: "no PEM", answer: func(_ *testing.T, _ *fakeService, a *wire.RegisterAnswer) { a.Certificate = "hello" }, want: "certificate: "},
		{name: "gateway nowhere", answer: func(_ *testing.T, _ *fakeService, a *wire.RegisterAnswer) { a.Gateway = "here" }, want: "gateway"},
		{name: "gateway CA of nothing", answer: func(_ *testing.T, _ *fakeService, a *wire.RegisterAnswer) { a.GatewayCA = "hello" }, want: "CA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeService(t)
			s.issue = test.issue
			if test.answer != nil {
				s.answer = func(a *wire.RegisterAnswer) { test.answer(t, s, a) }
			}
			o := s.options(t)
			_, err := Register(t.Context(), o)
			if !errors.Is(err, ErrAnswer) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want something about %q", err, test.want)
			}
			if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
				t.Errorf("%d files were written, %v", len(left), err)
			}
		})
	}
}

func TestRegisterTellsClocks(t *testing.T) {
	s := newFakeService(t)
	s.first = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		return false
	}
	var log bytes.Buffer
	o := s.options(t)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "clocks") || !strings.Contains(log.String(), "host_ahead=9m5") && !strings.Contains(log.String(), "host_ahead=10m") {
		t.Errorf("log: %s", log.String())
	}
	if strings.Contains(log.String(), goodToken) {
		t.Error("the log tells the token")
	}
}

func TestClockSkew(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 500e6, time.UTC)
	for _, test := range []struct {
		date string
		want time.Duration
	}{
		{"", 0},
		{"yesterday", 0},
		{"Fri, 20 Nov 2026 12:00:00 GMT", 0},
		{"Fri, 20 Nov 2026 12:00:01 GMT", 0},
		{"Fri, 20 Nov 2026 11:59:50 GMT", 9500 * time.Millisecond},
		{"Fri, 20 Nov 2026 12:00:11 GMT", -9500 * time.Millisecond},
	} {
		if got := clockSkew(test.date, at, at.Add(time.Second)); got != test.want {
			t.Errorf("%q: %v, want %v", test.date, got, test.want)
		}
	}
}

// closedAddress returns an address where nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRegisterExplainsConnections(t *testing.T) {
	s := newFakeService(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	closed := closedAddress(t)
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string
		cure   string
	}{
		{"an issuer that is not trusted", func(o *Options) { o.CAFile = "" }, `issued by "O=Acme Co"`, "exempt 127.0.0.1 from inspection"},
		{"another name", func(o *Options) { o.Service = strings.Replace(o.Service, "127.0.0.1", "localhost", 1) }, "another name than localhost", "--service"},
		{"nobody listens", func(o *Options) { o.Service = "https://" + closed }, closed + " refuses", "running"},
		{"no TLS", func(o *Options) { o.Service = strings.Replace(plain.URL, "http:", "https:", 1) }, "does not speak TLS", "HTTPS listener"},
		{"no such name", func(o *Options) { o.Service = "https://nowhere.invalid" }, "cannot be resolved", "DNS"},
		{"proxy wants a password", func(o *Options) { o.Proxy = proxy.URL }, "proxy", "CONNECT"},
		{"proxy is down", func(o *Options) { o.Proxy = "http://" + closed }, "the proxy refuses", "--proxy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := s.options(t)
			test.change(&o)
			_, err := Register(t.Context(), o)
			var e *Error
			if !errors.Is(err, ErrUnreachable) || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want something about %q", err, test.want)
			}
			if !strings.Contains(e.Remedy, test.cure) {
				t.Errorf("remedy %q", e.Remedy)
			}
			if len(s.asked) > 0 {
				t.Fatal("the service was asked over a connection that must not be trusted")
			}
		})
	}
}

// The proxy is asked for a tunnel and never sees the token.
func TestRegisterThroughProxy(t *testing.T) {
	s := newFakeService(t)
	var seen bytes.Buffer
	ended := make(chan struct{})
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		asked <- r.Method + " " + r.Host
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		fmt.Fprint(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(down, up); _ = down.Close() }()
		_, _ = io.Copy(up, io.TeeReader(down, &seen))
	}))
	o := s.options(t)
	o.Proxy = proxy.URL
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got, want := <-asked, "CONNECT "+strings.TrimPrefix(s.URL, "https://"); got != want {
		t.Errorf("proxy was asked %q, want %q", got, want)
	}
	<-ended // the client closes its connection when it is done
	proxy.Close()
	if seen.Len() == 0 || bytes.Contains(seen.Bytes(), []byte(goodToken)) {
		t.Error("the proxy saw the token")
	}
}

func TestRegisterStopsWithItsContext(t *testing.T) {
	s := newFakeService(t)
	hold := make(chan struct{})
	defer close(hold)
	ctx, cancel := context.WithCancel(t.Context())
	s.first = func(http.ResponseWriter, *http.Request) bool {
		cancel()
		<-hold
		return true
	}
	_, err := Register(ctx, s.options(t))
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestDiagnoseExpiredServer(t *testing.T) {
	ca := newAuthority(t)
	key := newKey(t)
	cert := ca.issue(t, &key.PublicKey, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.NotAfter = time.Now().Add(-time.Second)
	})
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: (*ecdsa.PrivateKey)(key)}}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, []byte(pemOf(ca.cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Register(t.Context(), Options{Service: s.URL, Token: "x", Dir: filepath.Join(t.TempDir(), "state"), CAFile: caFile})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "clock says") {
		t.Fatalf("got %v", err)
	}
}
