package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
)

// patience bounds waiting for what must happen; nothing is measured with it.
const patience = 30 * time.Second

// trial is a configuration on free ports of this machine.
func trial(t *testing.T) Config {
	t.Helper()
	cfg := Defaults()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.PublicURL = "https://localhost:0"
	cfg.Signin.Listen, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Monitor.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLS.LocalCA = true
	cfg.Drain = patience
	return cfg
}

// logBuffer is a log that a test can search.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// running is a service that runs until stop.
type running struct {
	*Service
	t     *testing.T
	log   *logBuffer
	stop  context.CancelFunc
	ended chan error
	http  *http.Client
}

// start runs a service; the test's end stops it and wants an orderly end.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	log := &logBuffer{}
	s, err := New(t.Context(), cfg, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Service: s, t: t, log: log, stop: stop, ended: make(chan error, 1)}
	roots := x509.NewCertPool()
	if file := s.LocalCAFile(); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			t.Fatalf("the local CA's file: %v", err)
		}
	}
	r.http = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(r.end)
	if s.Addresses().Monitor != "" {
		r.await("the service to be ready", func() bool { status, _ := r.ready(); return status == http.StatusOK })
	}
	return r
}

// end stops the service and wants an orderly end; a second call does nothing.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err, running := <-r.ended; running && err != nil {
		r.t.Errorf("the service ended with: %v\n%s", err, r.log)
	}
	select {
	case <-r.ended:
	default:
		close(r.ended)
	}
}

// await polls until a condition holds.
func (r *running) await(what string, holds func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited in vain for %s\n%s", what, r.log)
		}
	}
}

// get returns an answer's status, headers and body; status 0 when there was none.
func (r *running) get(url string) (int, http.Header, string) {
	r.t.Helper()
	resp, err := r.http.Get(url)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func (r *running) monitorURL(path string) string { return "http://" + r.Addresses().Monitor + path }

// ready asks the monitor.
func (r *running) ready() (status int, states map[string]string) {
	r.t.Helper()
	status, _, body := r.get(r.monitorURL("/readyz"))
	if status != 0 {
		if err := json.Unmarshal([]byte(body), &states); err != nil {
			r.t.Fatalf("/readyz: %v in %q", err, body)
		}
	}
	return status, states
}

// api is the admin API's client with the token in the data folder.
func (r *running) api() *admin.Client {
	r.t.Helper()
	token, err := os.ReadFile(filepath.Join(r.cfg.Data, "admin-token"))
	if err != nil {
		r.t.Fatal(err)
	}
	return &admin.Client{BaseURL: "https://" + r.Addresses().Admin, Token: strings.TrimSpace(string(token)), HTTP: r.http}
}

// must ends the test on an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// noError ends the test on an error.
func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError wants an error that holds all the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; wanted one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error %q does not hold %q", err, w)
		}
	}
}

var errTest = errors.New("the database is on fire")
