package canary_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/lab/canary"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/process"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	domain   = "corp.example.com"
	agents   = 3
	patience = time.Minute
)

// secret makes a password that occurs nowhere else and changes under every encoding, in each of its pieces of twelve characters.
func secret() string {
	r := rand.Text()
	return r[:5] + `%"\ +&=` + r[5:10] + `<é>'/☃~` + r[10:15] + `?#;:𝄞@` + r[15:18]
}

// recording keeps what was said. Safe for concurrent use.
type recording struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recording) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.b.Bytes())
}

// world is the whole system at debug level, with a broker of its own that anybody can listen to.
type world struct {
	t         *testing.T
	dir       string // everything that the product writes
	cores     string
	broker    recording
	pages     recording
	cfg       service.Config
	service   *service.Service
	stop      func()
	api       *admin.Client
	transport *http.Transport
	client    admin.App
	middle    *middle
	agents    [agents]*process.Process
	sample    *process.Process
	sampleURL string
	admin     string // the break-glass administrator's name
	programs  []string
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newWorld starts everything. everybody's passwords are the test's.
func newWorld(t *testing.T, everybody []people.Person) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), cores: t.TempDir()}
	bin := t.TempDir()
	w.programs = must[[]string](t)(process.Find(t.Context(), bin, nil, "sallyport-agent", "sallyport-sample-app"))
	w.startDirectory(everybody)
	w.startService()
	for i := range agents {
		w.register(i)
		w.startAgent(i)
	}
	w.awaitAgents(agents)
	w.startSample()
	return w
}

// startDirectory starts a Samba domain controller, or the evaluation directory where there is none, with the middle before it.
func (w *world) startDirectory(everybody []people.Person) {
	t := w.t
	t.Helper()
	authority := must[*localca.CA](t)(localca.OpenOrCreate(filepath.Join(t.TempDir(), "ca")))
	certificate := must[tls.Certificate](t)(authority.Server([]string{"127.0.0.1"}, time.Now()))
	conf := &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}
	address := ""
	if err := samba.Available(); err == nil {
		dc := must[*samba.DC](t)(samba.Start(t.Context(), samba.Options{Realm: strings.ToUpper(domain), LockoutThreshold: 500}))
		t.Cleanup(dc.Stop)
		if err := dc.Fill(t.Context(), everybody); err != nil {
			t.Fatal(err)
		}
		address, conf.RootCAs = net.JoinHostPort(dc.Addr, "636"), dc.CAPool
	} else if os.Getenv("SALLYPORT_CI") != "" {
		t.Fatal(err)
	} else {
		t.Logf("the evaluation directory stands in for a domain controller: %v", err)
		s := must[*evaluation.Server](t)(evaluation.New(evaluation.Config{People: everybody, TLS: conf, LockoutThreshold: 500}))
		l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
		go func() { _ = s.Serve(context.Background(), l) }() // ends with Close
		t.Cleanup(func() { _ = s.Close() })
		address = l.Addr().String()
	}
	w.middle = &middle{conf: conf, backend: func() (net.Conn, error) { return tls.Dial("tcp", address, conf) }}
	w.middle.listen(t)
	t.Cleanup(w.middle.close)
	if err := os.WriteFile(filepath.Join(w.cores, "dc-ca.pem"), must[[]byte](t)(os.ReadFile(authority.CertificateFile())), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startBroker starts a NATS server and records whatever is published on it.
func (w *world) startBroker() (address string) {
	t := w.t
	t.Helper()
	s := must[*server.Server](t)(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}))
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the broker does not start")
	}
	conn := must[*nats.Conn](t)(nats.Connect(s.ClientURL()))
	t.Cleanup(conn.Close)
	sub := must[*nats.Subscription](t)(conn.Subscribe(">", func(m *nats.Msg) {
		fmt.Fprintf(&w.broker, "%s %s %v\n%s\n", m.Subject, m.Reply, m.Header, m.Data)
	}))
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL()
}

func (w *world) startService() {
	t := w.t
	t.Helper()
	var p process.Ports
	port := func(what string, n int) string { return must[string](t)(p.Take(what, n)) }
	cfg := service.Defaults()
	cfg.Data = filepath.Join(w.dir, "service")
	cfg.Signin.Listen, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Monitor.Listen = port("signin", 18443), port("gateway", 18543), port("admin", 18643), port("monitor", 18743)
	cfg.PublicURL = "https://" + strings.Replace(cfg.Signin.Listen, "127.0.0.1", "localhost", 1)
	cfg.TLS.LocalCA, cfg.Drain = true, 5*time.Second
	cfg.Queue.URL = w.startBroker()
	w.cfg = cfg
	logFile := must[*os.File](t)(os.Create(filepath.Join(w.dir, "service.log")))
	log := slog.New(slog.NewJSONHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug}))
	must[service.InitResult](t)(service.Init(t.Context(), cfg, service.InitRequest{Tenant: "contoso", AdminName: "admin@contoso.internal"}, log))
	w.service = must[*service.Service](t)(service.New(t.Context(), cfg, log))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.service.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = logFile.Close()
	})
	t.Cleanup(w.stop)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(w.service.LocalCAFile())))
	w.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	token := must[[]byte](t)(os.ReadFile(filepath.Join(cfg.Data, "admin-token")))
	w.api = &admin.Client{BaseURL: "https://" + cfg.Admin.Listen, Token: strings.TrimSpace(string(token)), HTTP: &http.Client{Transport: &recorder{w}, Timeout: patience}}
	post := func(noun string, in, out any) {
		t.Helper()
		if err := w.api.Do(t.Context(), http.MethodPost, admin.Path("tenants", "contoso", noun), in, out); err != nil {
			t.Fatal(err)
		}
	}
	w.sampleURL = "http://" + port("sample", 18843)
	corp, name := "corp", "Sample"
	redirects := []string{w.sampleURL + "/callback"}
	post("directories", admin.DirectoryInput{Name: corp, Evaluation: true}, nil)
	post("domains", admin.DomainInput{Name: domain, Directory: &corp}, nil)
	post("apps", admin.AppInput{Name: &name, RedirectURIs: &redirects}, &w.client)
}

func (w *world) state(i int) string { return filepath.Join(w.dir, fmt.Sprintf("agent-%d", i+1)) }

func (w *world) register(i int) {
	w.t.Helper()
	var token admin.AgentToken
	if err := w.api.Do(w.t.Context(), http.MethodPost, admin.Path("tenants", "contoso", "agent-tokens"), admin.AgentTokenInput{Directory: "corp"}, &token); err != nil {
		w.t.Fatal(err)
	}
	if err := process.RunToEnd(w.t.Context(), w.programs[0], "register", "--service", w.cfg.PublicURL, "--token", token.Secret,
		"--ca-file", w.service.LocalCAFile(), "--state", w.state(i), "--name", fmt.Sprintf("agent-%d", i+1), "--instance", fmt.Sprintf("agent-%d", i+1)); err != nil {
		w.t.Fatal(err)
	}
}

// startAgent runs an agent at debug level, whose core would be written below the folder of cores.
func (w *world) startAgent(i int) {
	w.t.Helper()
	dir := filepath.Join(w.cores, fmt.Sprintf("agent-%d", i+1))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.agents[i] = must[*process.Process](w.t)(process.Start(filepath.Base(dir), w.state(i)+".log", nil, "/bin/sh", "-c",
		`ulimit -c unlimited; cd "$0"; export GOTRACEBACK=crash; exec "$@"`, dir, w.programs[0], "run", "--state", w.state(i),
		"--dc", "ldaps://"+w.middle.address, "--dc-ca-file", filepath.Join(w.cores, "dc-ca.pem"), "--log-level", "debug", "--name-rate=-1", "--rate=-1"))
	w.t.Cleanup(func() { w.agents[i].Stop(patience) })
}

// awaitAgents waits until exactly n are attached, as the gateway's metrics say: the admin API shows an agent that is not at this
// process, as with this broker it may be, for a while after it has gone.
func (w *world) awaitAgents(n int) {
	w.t.Helper()
	want := fmt.Sprintf("\nsallyport_gateway_attached_agents %d\n", n)
	w.await(fmt.Sprintf("%d agents", n), func() bool { return strings.Contains(w.metrics(), want) })
}

// metrics is what the monitor says.
func (w *world) metrics() string {
	w.t.Helper()
	resp := must[*http.Response](w.t)(http.Get("http://" + w.cfg.Monitor.Listen + "/metrics"))
	defer resp.Body.Close()
	return string(must[[]byte](w.t)(io.ReadAll(resp.Body)))
}

// await polls a condition.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(20 * time.Millisecond) // between two looks at a condition
	}
}

func (w *world) startSample() {
	w.t.Helper()
	file := filepath.Join(w.dir, "sample.secret")
	if err := os.WriteFile(file, []byte(w.client.Secret), 0o600); err != nil {
		w.t.Fatal(err)
	}
	ready := make(chan struct{}, 1)
	w.sample = must[*process.Process](w.t)(process.Start("sample", filepath.Join(w.dir, "sample.log"), func(line string) {
		if strings.HasPrefix(line, "sample app ready") {
			ready <- struct{}{}
		}
	}, w.programs[1], "--issuer", w.cfg.PublicURL+"/t/contoso", "--client-id", w.client.ID, "--client-secret-file", file,
		"--listen", strings.TrimPrefix(w.sampleURL, "http://"), "--ca-file", w.service.LocalCAFile()))
	w.t.Cleanup(func() { w.sample.Stop(patience) })
	select {
	case <-ready:
	case <-w.sample.Done():
		w.t.Fatal(w.sample.Failure())
	}
}

// recorder records everything about requests and answers but the bodies of requests: those are what the browser itself sends.
type recorder struct{ w *world }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.w.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	fmt.Fprintf(&r.w.pages, "%s %s %v\n%s %v\n%s\n", req.Method, req.URL, req.Header, resp.Status, resp.Header, body)
	return resp, err
}

// browser is a person's: it follows redirects and refreshes, and keeps cookies.
type browser struct {
	w    *world
	http http.Client
	at   *url.URL
	page string
}

func (w *world) browser() *browser {
	jar := must[*cookiejar.Jar](w.t)(cookiejar.New(nil))
	return &browser{w: w, http: http.Client{Transport: &recorder{w}, Jar: jar, Timeout: patience}}
}

var (
	attemptPattern = regexp.MustCompile(`name="attempt"[^>]*value="(\d+)"`)
	codePattern    = regexp.MustCompile(`(?s)id="error-code"[^>]*>(.*?)</`)
	numberPattern  = regexp.MustCompile(`\d+`)
)

// send makes a request and follows where it leads.
func (b *browser) send(method, address, body string) int {
	b.w.t.Helper()
	for {
		req := must[*http.Request](b.w.t)(http.NewRequestWithContext(b.w.t.Context(), method, address, strings.NewReader(body)))
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		}
		resp := must[*http.Response](b.w.t)(b.http.Do(req))
		page := must[[]byte](b.w.t)(io.ReadAll(resp.Body))
		_ = resp.Body.Close()
		b.at, b.page = resp.Request.URL, string(page)
		_, next, ok := strings.Cut(resp.Header.Get("Refresh"), "url=")
		if !ok {
			return resp.StatusCode
		}
		method, address, body = http.MethodGet, must[*url.URL](b.w.t)(b.at.Parse(next)).String(), ""
	}
}

// begin opens the application and types the name.
func (b *browser) begin(name string) {
	b.w.t.Helper()
	b.send(http.MethodGet, b.w.sampleURL+"/signin", "")
	b.send(http.MethodPost, b.at.String(), url.Values{"username": {name}}.Encode())
}

// password types the password and returns the number on the page, 0 when the application came.
func (b *browser) password(password string) string {
	b.w.t.Helper()
	form := url.Values{"password": {password}}
	if m := attemptPattern.FindStringSubmatch(b.page); m != nil {
		form.Set("attempt", m[1])
	}
	b.send(http.MethodPost, b.at.String(), form.Encode())
	if strings.HasPrefix(b.at.String(), b.w.sampleURL) {
		return "0"
	}
	m := codePattern.FindStringSubmatch(b.page)
	if m == nil {
		return "none"
	}
	return numberPattern.FindString(m[1])
}

// signIn is a whole sign-in with a fresh browser.
func (w *world) signIn(name, password string) string {
	w.t.Helper()
	b := w.browser()
	b.begin(name)
	return b.password(password)
}

// look searches everything that can be searched while, or after, the system runs.
func (w *world) look(c *canary.Canary) []canary.Finding {
	w.t.Helper()
	found, files, err := c.Folder(w.dir)
	if err != nil || files < 10 {
		w.t.Fatalf("%d files, %v", files, err)
	}
	found = append(found, c.Search("the broker", w.broker.bytes())...)
	return append(found, c.Search("the pages", w.pages.bytes())...)
}

// person is one account with the test's own password.
func person(sam string, state people.State, password string) people.Person {
	return people.Person{SAM: sam, UPN: sam + "@" + domain, DisplayName: sam, Password: wire.NewSecret([]byte(password)), State: state}
}
