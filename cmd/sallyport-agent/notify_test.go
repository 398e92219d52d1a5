package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/link"
)

// manager plays the service manager's end of the socket and returns all that was sent so far.
func manager(t *testing.T) (socket string, next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // short: socket names have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return socket, func() string {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("nothing was told: %v", err)
		}
		return string(b[:n])
	}
}

// The agent tells its service manager that it works, that it lives, and that it ends; and shows health and numbers where it was told to.
func TestServiceManagerAndMonitor(t *testing.T) {
	state := register(t, time.Hour)
	socket, next := manager(t)
	c := command(t, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=60000000"}, "run", "--state", state, "--dc", "ldaps://127.0.0.1:1", "--monitor", "127.0.0.1:0")
	var log lockedBuffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	first := next()
	if !strings.Contains(first, "READY=1") || !strings.Contains(first, "WATCHDOG=1") ||
		!regexp.MustCompile(`STATUS=(stopped|connecting|waiting) to 127.0.0.1:1; 0 of 1`).MatchString(first) {
		t.Errorf("first: %q", first)
	}
	if second := next(); !strings.Contains(second, "WATCHDOG=1") || strings.Contains(second, "READY=1") {
		t.Errorf("second: %q", second)
	}
	m := regexp.MustCompile(`monitor listens" address=(\S+)`).FindStringSubmatch(log.String())
	if m == nil {
		t.Fatalf("log: %s", log.String())
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": `"directory":"no domain controller serves"`, "/metrics": "\nsallyport_agent_attached 0\n"} {
		resp, err := http.Get("http://" + m[1] + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s %s %v", path, resp.Status, text, err)
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for last := ""; !strings.Contains(last, "STOPPING=1"); {
		if last = next(); strings.Contains(last, "STOPPING=1") && !strings.Contains(last, "STATUS=ended: told to stop") {
			t.Errorf("at the end: %q", last)
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v: %s", err, log.String())
	}
	r := execute(t, nil, "run", "--state", state, "--dc", "ldaps://127.0.0.1:1", "--monitor", "0.0.0.0:8449")
	if r.code != exitUsage || !strings.Contains(r.errOut, "loopback") {
		t.Errorf("another address: %+v", r)
	}
}

// What others said cannot become a line of the protocol.
func TestBriefIsOneLine(t *testing.T) {
	s := agent.Status{Ended: "refused\nREADY=1\r\nx", Link: agent.Link{State: link.Attached}}
	if got := brief(s); strings.ContainsAny(got, "\r\n") {
		t.Errorf("%q", got)
	}
}

// systemd hands the token over as a file of a folder that it names.
func TestTokenFromTheServiceManager(t *testing.T) {
	address, caFile := newService(t, time.Hour)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, credential), []byte(token+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	// Everything else stands in the settings file, as sallyport-agent-register.service has it.
	config := filepath.Join(t.TempDir(), "agent.yaml")
	text := "service: " + address + "\nca-file: " + caFile + "\nstate: " + filepath.Join(t.TempDir(), "state") + "\ndc: [ldaps://dc1]\nmonitor: 127.0.0.1:8449\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"register", "--config", config}
	if r := execute(t, []string{"CREDENTIALS_DIRECTORY=" + dir}, args...); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := execute(t, []string{"CREDENTIALS_DIRECTORY=" + t.TempDir()}, args...); r.code != exitUsage || !strings.Contains(r.errOut, credential) {
		t.Errorf("without one: %+v", r)
	}
}

// lockedBuffer may be read while a program writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
