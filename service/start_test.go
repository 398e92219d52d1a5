package service

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/localca"
)

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return port(l)
}

// TestStartRefuses: what keeps the service from starting names the setting and the remedy, and leaves nothing open.
func TestStartRefuses(t *testing.T) {
	taken := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, cfg *Config)
		words []string
	}{
		{"taken port", func(_ *testing.T, c *Config) { c.Gateway.Listen = taken.Addr().String() }, []string{"gateway.listen", "is taken", "choose another port"}},
		{"foreign address", func(_ *testing.T, c *Config) { c.Gateway.Listen = "192.0.2.1:8444" }, []string{"gateway.listen", "no address of this machine"}},
		{"unreachable database", func(t *testing.T, c *Config) {
			c.Database.URL = "postgres://sally:hunter2@127.0.0.1:" + freePort(t) + "/s"
		}, []string{"database.url", "cannot be reached: check that it runs"}},
		{"missing database folder", func(t *testing.T, c *Config) { c.Database.URL = "sqlite:" + filepath.Join(t.TempDir(), "no", "x.db") },
			[]string{"database.url", "does not exist: create it"}},
		{"wide data folder", func(t *testing.T, c *Config) {
			c.Data = t.TempDir()
			noError(t, os.Chmod(c.Data, 0o755))
		}, []string{"data:", "mode 0755", "Run: chmod 700"}},
		{"data folder is a file", func(t *testing.T, c *Config) {
			c.Data = filepath.Join(t.TempDir(), "file")
			noError(t, os.WriteFile(c.Data, nil, 0o600))
		}, []string{"data:", "name another"}},
		{"wide key file", func(t *testing.T, c *Config) {
			noError(t, os.MkdirAll(c.Data, 0o700))
			noError(t, os.WriteFile(filepath.Join(c.Data, "at-rest.key"), make([]byte, 32), 0o644))
			noError(t, os.Chmod(filepath.Join(c.Data, "at-rest.key"), 0o644))
		}, []string{"data:", "at-rest.key", "chmod 600"}},
		{"wide local certificate", func(t *testing.T, c *Config) {
			authority := must[*localca.CA](t)(localca.OpenOrCreate(filepath.Join(c.Data, localCAFolder)))
			must[tls.Certificate](t)(authority.Server([]string{"localhost"}, time.Now()))
			noError(t, errors.Join(os.Chmod(c.Data, 0o700), os.Chmod(filepath.Join(c.Data, localCAFolder, "server.pem"), 0o644)))
		}, []string{"tls.local_ca", "chmod 600"}},
		{"odd local host", func(_ *testing.T, c *Config) { c.TLS.LocalHosts = []string{"not a host"} }, []string{"tls.local_hosts", "not a host"}},
		{"odd trust domain", func(_ *testing.T, c *Config) { c.Agents.TrustDomain = "Corp Example" }, []string{"agents.trust_domain", "lower-case"}},
		{"no CA of the queue", func(_ *testing.T, c *Config) {
			c.Queue = QueueConfig{URL: "tls://127.0.0.1:4222", CAFile: "/does/not/exist"}
		},
			[]string{"queue.ca_file", "/does/not/exist"}},
		{"empty CA of the queue", func(t *testing.T, c *Config) {
			c.Queue = QueueConfig{URL: "tls://127.0.0.1:4222", CAFile: filepath.Join(t.TempDir(), "ca.pem")}
			noError(t, os.WriteFile(c.Queue.CAFile, []byte("hello"), 0o600))
		}, []string{"queue.ca_file", "holds no certificate"}},
		{"findings", func(_ *testing.T, c *Config) { c.Drain, c.Log.Level = -1, "loud" }, []string{"drain:", "log.level:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := trial(t)
			c.spoil(t, &cfg)
			s, err := New(t.Context(), cfg, nil)
			if err == nil {
				_ = s.Close()
			}
			wantError(t, err, c.words...)
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error tells the database's password")
			}
		})
	}
}

// TestExplainListen: what depends on the user and the machine, by the error that the system gives.
func TestExplainListen(t *testing.T) {
	for _, c := range []struct {
		cause error
		words []string
	}{
		{syscall.EACCES, []string{"signin.listen", "may not listen on :443", "CAP_NET_BIND_SERVICE"}},
		{syscall.EADDRINUSE, []string{"signin.listen", "is taken"}},
		{syscall.EADDRNOTAVAIL, []string{"no address of this machine"}},
		{syscall.EMFILE, []string{"signin.listen"}},
	} {
		err := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", c.cause)}
		wantError(t, explainListen("signin.listen", ":443", err), c.words...)
	}
	wantError(t, explainListen("signin.listen", "nohost:1", &net.OpError{Op: "listen", Err: &net.DNSError{Err: "no such host"}}), "no address of this machine")
}

// TestOwnPortTwice: a second service on the same ports says so, and the first goes on.
func TestOwnPortTwice(t *testing.T) {
	cfg := trial(t)
	r := start(t, cfg)
	second := trial(t)
	second.Monitor.Listen = r.Addresses().Monitor
	_, err := New(t.Context(), second, nil)
	wantError(t, err, "monitor.listen", "another sallyport")
	if status, _ := r.ready(); status != 200 {
		t.Errorf("the first service: %d", status)
	}
}

// TestWrongKeyFile: a database opens only with the key file that it was made with, and the error says so.
func TestWrongKeyFile(t *testing.T) {
	cfg := trial(t)
	noError(t, must[*Service](t)(New(t.Context(), cfg, nil)).Close())
	noError(t, os.Rename(keyFile(cfg), keyFile(cfg)+".away"))
	for range 2 { // the file that is made for a new installation must not stay: the second error would be another
		_, err := New(t.Context(), cfg, nil)
		wantError(t, err, "at-rest.key is missing, and the database was made with one", "Copy that file here")
	}
	noError(t, os.WriteFile(keyFile(cfg), []byte(strings.Repeat("k", 32)), 0o600))
	_, err := New(t.Context(), cfg, nil)
	wantError(t, err, "at-rest.key is not the key file that this database was made with", "Copy that file here")
	noError(t, os.Rename(keyFile(cfg)+".away", keyFile(cfg)))
	noError(t, must[*Service](t)(New(t.Context(), cfg, nil)).Close())
}

// TestLostDatabase: an installation without its database is no new one.
func TestLostDatabase(t *testing.T) {
	cfg := trial(t)
	must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil))
	file := filepath.Join(cfg.Data, "sallyport.db")
	noError(t, os.Rename(file, file+".away"))
	refused := func() {
		t.Helper()
		_, err := New(t.Context(), cfg, nil)
		wantError(t, err, "database.url:", "is missing or empty", "Restore the database from a backup")
		_, err = Init(t.Context(), cfg, InitRequest{Tenant: "fabrikam"}, nil)
		wantError(t, err, "is missing or empty")
	}
	refused()
	noError(t, os.WriteFile(file, nil, 0o600))
	refused()
	cfg.Database.URL = "sqlite:" + file + "?synchronous=normal"
	refused()
	noError(t, os.Rename(file+".away", file))
	noError(t, must[*Service](t)(New(t.Context(), cfg, nil)).Close())
}

// TestTrustDomainIsFixed: agents' identities hold it.
func TestTrustDomainIsFixed(t *testing.T) {
	cfg := trial(t)
	s := must[*Service](t)(New(t.Context(), cfg, nil))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatalf("closing twice: %v", err)
	}
	cfg.Agents.TrustDomain = "other.example"
	_, err := New(t.Context(), cfg, nil)
	wantError(t, err, "agents.trust_domain", `belong to the trust domain "localhost"`, "write the former")
}

func TestTrustDomain(t *testing.T) {
	for public, want := range map[string]string{"https://login.example.com": "login.example.com", "https://login.example.com:8443": "login.example.com",
		"https://[::1]:8443": "", "https://127.0.0.1:8443": "127.0.0.1"} {
		if got := trustDomain(Config{PublicURL: public}); got != want {
			t.Errorf("%s: %q", public, got)
		}
	}
	if got := trustDomain(Config{PublicURL: "https://x.example", Agents: AgentsConfig{TrustDomain: "corp"}}); got != "corp" {
		t.Errorf("set: %q", got)
	}
}
