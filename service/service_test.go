package service

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/service/admin"
)

// TestWholeService starts everything on free ports, looks at each door, ends it with a request in progress, and starts it again.
func TestWholeService(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	cfg := trial(t)
	if _, err := Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil); err != nil {
		t.Fatal(err)
	}
	r := start(t, cfg)
	if status, _, body := r.get(r.monitorURL("/healthz")); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	// The gateway begins to listen beside the pages, perhaps a moment later.
	r.await("the gateway to listen", func() bool { _, states := r.ready(); return states["gateway"] == "ok" })
	if status, states := r.ready(); status != http.StatusOK || states["database"] != "ok" || states["gateway"] != "ok" || states["process"] != "ok" {
		t.Errorf("/readyz: %d %v", status, states)
	}
	_, _, metrics := r.get(r.monitorURL("/metrics"))
	for _, want := range []string{`sallyport_ready{part="database"} 1`, `sallyport_ready{part="gateway"} 1`, `sallyport_ready{part="process"} 1`, "sallyport_gateway_attached_agents 0", "sallyport_gateway_slots_in_use 0",
		"sallyport_server_certificate_expiry_timestamp_seconds", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	_, port, _ := net.SplitHostPort(r.Addresses().Signin)
	if want := "https://localhost:" + port; r.PublicURL() != want {
		t.Fatalf("public URL %q, not %q", r.PublicURL(), want)
	}
	issuer := r.PublicURL() + "/t/contoso"
	status, header, body := r.get(issuer + "/.well-known/openid-configuration")
	var discovery struct{ Issuer string }
	if err := json.Unmarshal([]byte(body), &discovery); err != nil || status != http.StatusOK || discovery.Issuer != issuer {
		t.Errorf("discovery: %d %q %v", status, body, err)
	}
	if header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("discovery lacks the headers of package web")
	}
	for _, path := range []string{"/", "/t/contoso", "/admin/v1/tenants", "/metrics", "/readyz"} {
		if status, header, _ := r.get(r.PublicURL() + path); status != http.StatusNotFound || header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s on the sign-in listener: %d", path, status)
		}
	}
	tenants, err := admin.All[admin.Tenant](t.Context(), r.api(), admin.Path("tenants"))
	if err != nil || len(tenants) != 1 || tenants[0].Issuer != issuer {
		t.Errorf("admin API: %+v, %v", tenants, err)
	}
	if r.LocalCAFile() != cfg.LocalCAFile() {
		t.Errorf("the local CA's file is %s, the configuration says %s", r.LocalCAFile(), cfg.LocalCAFile())
	}
	gateway := must[*tls.Conn](t)(tls.Dial("tcp", r.Addresses().Gateway, &tls.Config{RootCAs: r.http.Transport.(*http.Transport).TLSClientConfig.RootCAs,
		ServerName: "localhost", NextProtos: []string{"h2"}}))
	if v := gateway.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("the gateway speaks TLS %x", v)
	}
	_ = gateway.Close()

	r.drainWithWorkInProgress()
	r.http.CloseIdleConnections()
	goleak.VerifyNone(t, leaks)

	again := start(t, cfg)
	if status, _, _ := again.get(again.PublicURL() + "/t/contoso/.well-known/openid-configuration"); status != http.StatusOK {
		t.Errorf("discovery after a second start: %d", status)
	}
	again.end()
}

// drainWithWorkInProgress ends the service while a request is half sent: the monitor says so, nobody new gets in, and the request is
// finished.
func (r *running) drainWithWorkInProgress() {
	t := r.t
	t.Helper()
	roots := r.http.Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn := must[*tls.Conn](t)(tls.Dial("tcp", r.Addresses().Signin, &tls.Config{RootCAs: roots, ServerName: "localhost"}))
	defer conn.Close()
	const body = `{"token":"x"}`
	fmt.Fprintf(conn, "POST /agent/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	// The handler has begun to read when it lets the body come.
	expected := "HTTP/1.1 100 Continue\r\n\r\n"
	begun := make([]byte, len(expected))
	if _, err := io.ReadFull(conn, begun); err != nil || string(begun) != expected {
		t.Fatalf("%q, %v", begun, err)
	}
	signin := r.Addresses().Signin
	r.stop()
	r.await("/readyz to say that the process drains", func() bool {
		status, states := r.ready()
		return status == http.StatusServiceUnavailable && strings.Contains(states["process"], "draining")
	})
	r.await("new connections to be refused", func() bool {
		c, err := net.Dial("tcp", signin)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case err := <-r.ended:
		t.Fatalf("the service ended with a request in progress: %v", err)
	default:
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	answer := must[[]byte](t)(io.ReadAll(conn))
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "problem+json") {
		t.Errorf("the request in progress was answered with %q", answer)
	}
	r.end()
}

// TestDrainTimeEnds: what does not finish in the drain time is cut off, and said.
func TestDrainTimeEnds(t *testing.T) {
	cfg := trial(t)
	cfg.Drain = 0
	log := &logBuffer{}
	s := must[*Service](t)(New(t.Context(), cfg, log.logger()))
	entered, release := make(chan struct{}), make(chan struct{})
	s.servers[0].http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn := must[*tls.Conn](t)(tls.Dial("tcp", s.Addresses().Signin, &tls.Config{RootCAs: s.local.Pool(), ServerName: "localhost"}))
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-entered
	stop()
	wantError(t, <-ended, "signin listener: the drain time was not enough")
	close(release)
}

// TestServerFailureEndsRun: a part that ends by itself ends the process, with its reason.
func TestServerFailureEndsRun(t *testing.T) {
	s := must[*Service](t)(New(t.Context(), trial(t), nil))
	s.loops = append(s.loops, func(context.Context) error { return errTest })
	wantError(t, s.Run(t.Context()), errTest.Error())
}

func TestReadiness(t *testing.T) {
	s := must[*Service](t)(New(t.Context(), trial(t), nil))
	defer s.Close()
	ask := func() (int, map[string]string) {
		t.Helper()
		w := httptest.NewRecorder()
		s.monitor.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		var states map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &states); err != nil {
			t.Fatal(err)
		}
		return w.Code, states
	}
	if status, states := ask(); status != http.StatusServiceUnavailable || !strings.Contains(states["process"], "starting") {
		t.Errorf("before serving: %d %v", status, states)
	}
	s.ready.start()
	// The gateway does not serve in this test. Beside sign-ins that is told and no reason to turn browsers away.
	if status, states := ask(); status != http.StatusOK || states["gateway"] == "ok" || states["database"] != "ok" {
		t.Errorf("without gateway: %d %v", status, states)
	}
	for i := range s.ready.probes {
		if s.ready.probes[i].name == "gateway" {
			s.ready.probes[i].needed = true // as in a process that is a gateway alone
		}
	}
	if status, _ := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("gateway alone, not serving: %d", status)
	}
	s.ready.probes = nil
	s.ready.add("database", true, func(context.Context) error { return errTest })
	if status, states := ask(); status != http.StatusServiceUnavailable || states["database"] != errTest.Error() {
		t.Errorf("without database: %d %v", status, states)
	}
	if w := httptest.NewRecorder(); true {
		s.monitor.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if w.Code != http.StatusOK {
			t.Errorf("the process lives, whatever its parts do: %d", w.Code)
		}
	}
}

// TestDatabaseLost: the running service notices.
func TestDatabaseLost(t *testing.T) {
	r := start(t, trial(t))
	if err := r.store.db.Close(); err != nil {
		t.Fatal(err)
	}
	if status, states := r.ready(); status != http.StatusServiceUnavailable || states["database"] == "ok" {
		t.Errorf("%d %v", status, states)
	}
	if _, _, metrics := r.get(r.monitorURL("/metrics")); !strings.Contains(metrics, `sallyport_ready{part="database"} 0`) {
		t.Error("the metric does not say it")
	}
}
