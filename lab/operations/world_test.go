//go:build linux

// Package operations_test plays what goes wrong around the programs and not in them: disks that are full or read-only, files
// that are broken, lost or open to others, ports that are taken, clocks and certificates out of their time. Each case is played on the real programs, and
// has to end in words with a remedy and in the exit code that the units in deploy/systemd expect; it must lose nothing; and once the
// cause is gone the same start has to work.
//
// Go programs read the clock without the C library, so no library can set their clock back. Instead what they read lies in the
// future: certificates that begin tomorrow, and rows of a day that has not come.
package operations_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/process"
)

// patience bounds waiting for what must happen; nothing is measured with it.
const patience = 60 * time.Second

// The programs.
var sallyport, sallyportAgent string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sallyport-operations-")
	if err == nil {
		// Also the user nobody runs them.
		err = os.Chmod(dir, 0o755)
	}
	var found []string
	if err == nil {
		found, err = process.Find(context.Background(), dir, nil, "sallyport", "sallyport-agent")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sallyport, sallyportAgent = found[0], found[1]
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program is one running program and what it says.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *program) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// run starts a program; the end of the test ends it. As says as whom; nil is this user.
func run(t *testing.T, as *syscall.Credential, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
	p.cmd.Dir = "/"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(p.stop)
	return p
}

// stop ends a program orderly, by force if it does not.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("it did not end when asked:\n%s", p.words())
	}
}

// code waits for the end.
func (p *program) code() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("it did not end by itself:\n%s", p.words())
	}
	return p.cmd.ProcessState.ExitCode()
}

// refuses wants the program to end by itself with a code, and to have said all of the words.
func (p *program) refuses(code int, words ...string) {
	p.t.Helper()
	if got := p.code(); got != code {
		p.t.Errorf("exit code %d, not %d", got, code)
	}
	p.says(words...)
	for _, never := range []string{"panic", "goroutine ", "runtime error"} {
		if strings.Contains(p.words(), never) {
			p.t.Errorf("it panicked:\n%s", p.words())
		}
	}
}

func (p *program) says(words ...string) {
	p.t.Helper()
	for _, w := range words {
		if !strings.Contains(p.words(), w) {
			p.t.Errorf("it did not say %q:\n%s", w, p.words())
		}
	}
}

// await polls until a condition holds, and fails when the program ends before.
func (p *program) await(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-p.done:
			if !holds() {
				p.t.Fatalf("it ended (%d) before %s:\n%s", p.cmd.ProcessState.ExitCode(), what, p.words())
			}
		case <-deadline:
			p.t.Fatalf("waited in vain for %s:\n%s", what, p.words())
		}
	}
}

// settings are the flags of a service on free ports of this machine over a data folder; more come last and win.
func settings(data string, more ...string) []string {
	args := []string{"--set", "data=" + data, "--set", "public_url=https://localhost:0", "--set", "tls.local_ca=true"}
	for _, l := range []string{"signin", "gateway", "admin", "monitor"} {
		args = append(args, "--set", l+".listen=127.0.0.1:0")
	}
	return append(args, more...)
}

func serve(t *testing.T, data string, more ...string) *program {
	t.Helper()
	return run(t, nil, sallyport, append([]string{"serve"}, settings(data, more...)...)...)
}

// as is a command line of the service that has to succeed; it returns what was printed.
func succeeds(t *testing.T, path string, args ...string) string {
	t.Helper()
	p := run(t, nil, path, args...)
	if code := p.code(); code != 0 {
		t.Fatalf("%s: exit code %d:\n%s", strings.Join(args, " "), code, p.words())
	}
	return p.words()
}

var listening = regexp.MustCompile(`msg=listening signin=(\S+) gateway=(\S+) admin=(\S+) monitor=(\S+)`)

// addresses are where a service listens; zero values before it has said so.
type addresses struct{ signin, gateway, admin, monitor string }

func (p *program) addresses() addresses {
	m := listening.FindStringSubmatch(p.words())
	if m == nil {
		return addresses{}
	}
	return addresses{m[1], m[2], m[3], m[4]}
}

// get returns status and body; 0 when there was no answer.
func get(client *http.Client, url string) (int, string) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// trusting is a client that trusts the evaluation CA of a data folder.
func trusting(t *testing.T, data string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(data, "local-ca", "ca-certificate.pem")); err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("the evaluation CA's certificate: %v", err)
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
}

// ready waits until a service can work.
func (p *program) ready() {
	p.t.Helper()
	p.await("it is ready", func() bool {
		at := p.addresses().monitor
		if at == "" {
			return false
		}
		status, _ := get(&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+at+"/readyz")
		return status == http.StatusOK
	})
}

// keys are the signing keys that a service shows for the tenant of [template]: proof that database and key file are those that
// they were.
func (p *program) keys(data string) string {
	p.t.Helper()
	p.ready()
	_, port, _ := strings.Cut(p.addresses().signin, ":")
	status, body := get(trusting(p.t, data), "https://localhost:"+port+"/t/contoso/oauth2/keys")
	if status != http.StatusOK {
		p.t.Fatalf("the tenant's keys: %d %s", status, body)
	}
	return body
}

// worn is a data folder that has served: with a tenant, its keys, and everything else that lies in one. It is made once; the
// folder returned is a copy.
type worn struct {
	once sync.Once
	dir  string
	keys string
}

var template worn

func (w *worn) data(t *testing.T) (data, keys string) {
	t.Helper()
	w.once.Do(func() {
		dir, err := os.MkdirTemp(filepath.Dir(sallyport), "data-")
		if err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(dir, "data")
		succeeds(t, sallyport, append([]string{"init", "--tenant", "contoso"}, settings(data)...)...)
		p := serve(t, data)
		w.keys = p.keys(data)
		p.stop()
		w.dir = data
	})
	if w.dir == "" {
		t.Fatal("there is no data folder to begin with")
	}
	data = filepath.Join(t.TempDir(), "data")
	clone(t, w.dir, data)
	return data, w.keys
}

// clone copies a folder with modes.
func clone(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			if err := os.MkdirAll(at, 0o700); err != nil {
				return err
			}
			return os.Chmod(at, info.Mode().Perm())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(at, text, 0o600); err != nil {
			return err
		}
		return os.Chmod(at, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// contents are the files below a folder, by relative name, but for the two that SQLite keeps beside a database that is open.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-shm") {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unchanged wants every file as it was before, none gone and none new.
func unchanged(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	after := contents(t, dir)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if text, is := after[name]; !is {
			t.Errorf("%s is gone", name)
		} else if text != before[name] {
			t.Errorf("%s was changed", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, was := before[name]; !was {
			t.Errorf("%s was left behind", name)
		}
	}
}

// noError ends the test on an error.
func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rooted skips what only root can bring about.
func rooted(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("SALLYPORT_CI") != "" {
		t.Fatal("this needs root")
	}
	t.Skip("only root can mount file systems and be another user")
}

// mounted mounts something on a folder until the end of the test; undo ends it before.
func mounted(t *testing.T, source, dir, kind string, flags uintptr, options string) (undo func()) {
	t.Helper()
	if err := syscall.Mount(source, dir, kind, flags, options); err != nil {
		if os.Getenv("SALLYPORT_CI") == "" && errors.Is(err, syscall.EPERM) {
			t.Skipf("this root may not mount: %v", err)
		}
		t.Fatal(err)
	}
	undo = sync.OnceFunc(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(undo)
	return undo
}

// nobody is a user to whom nothing belongs.
var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
