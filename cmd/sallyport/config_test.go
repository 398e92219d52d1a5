package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service"
)

// write puts a configuration file into a folder of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const fine = `
data: /var/lib/sallyport
public_url: https://login.example.com
roles: [signin, gateway]
signin:
  listen: ":443"
  trusted_proxies: [10.0.0.0/8, 192.0.2.1]
tls:
  certificate_file: /etc/tls.pem
  key_file: /etc/tls.key
lockout: {threshold: 3, window: 1h}
drain: 45s
`

func TestLoadLayers(t *testing.T) {
	file := write(t, fine)
	s, err := load(file, []string{"SALLYPORT_SIGNIN_LISTEN=:8443", "SALLYPORT_LOG_LEVEL=debug", "SALLYPORT_AGENT_STATE=/x", "SALLYPORT_CI=1", "PATH=/bin"},
		map[string]string{"log.level": "warn", "roles": "signin, gateway,admin"})
	if err != nil {
		t.Fatal(err)
	}
	c := s.Config
	if c.Data != "/var/lib/sallyport" || c.Signin.Listen != ":8443" || c.Log.Level != "warn" || c.Drain != 45*time.Second || c.Lockout != (service.LockoutConfig{Threshold: 3, Duration: 30 * time.Minute, Window: time.Hour}) ||
		!c.Has(service.RoleAdmin) || len(c.Signin.TrustedProxies) != 2 || c.Gateway.Listen != service.Defaults().Gateway.Listen {
		t.Errorf("%+v", c)
	}
	for key, want := range map[string]string{"data": file + ":2", "signin.listen": "environment SALLYPORT_SIGNIN_LISTEN", "log.level": "--set", "gateway.listen": ""} {
		if got := s.origin[key]; got != want {
			t.Errorf("%s comes from %q, not %q", key, got, want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "signin:\n  lisen: ':443'\n", "sallyport.yaml:2: unknown key signin.lisen. Did you mean signin.listen?"},
		{"unknown section", "signing:\n  listen: x\n", "sallyport.yaml:1: unknown key signing"},
		{"twice", "data: a\ndata: b\n", "sallyport.yaml:2: data is set a second time"},
		{"section as value", "signin: ':443'\n", "signin holds settings of its own"},
		{"value as section", "data: {a: b}\n", "sallyport.yaml:1: data: a value is missing"},
		{"no value", "data:\n", "data: a value is missing"},
		{"not a duration", "drain: soon\n", `sallyport.yaml:1: drain: "soon" is not a duration`},
		{"not a truth value", "tls: {local_ca: perhaps}\n", "neither true nor false"},
		{"anchor", "signin: &a {listen: ':1'}\n", "anchors and aliases"},
		{"not YAML", "data: [\n", "sallyport.yaml: "},
		{"plain http", "public_url: http://login.example.com\n", "sallyport.yaml:1: public_url: \"http://login.example.com\" is not https: passwords would travel in the open. Use https"},
		{"path in the address", "public_url: https://login.example.com/x\n", "not scheme, host and perhaps port alone"},
		{"no certificate", "data: x\n", "there is no server certificate. Set tls.certificate_file"},
		{"both kinds of certificate", "tls: {local_ca: true, certificate_file: a, key_file: b}\n", "is set together with certificate files"},
		{"admin API open to others", "admin: {listen: ':8445'}\n", "can be reached from other machines. Listen on 127.0.0.1, or set admin.allow_remote: true"},
		{"metrics open to others", "monitor: {listen: '0.0.0.0:9'}\n", "set monitor.allow_remote: true"},
		{"host in capitals", "public_url: https://Login.example.com\n", "Write the host in lower case"},
		{"port 443", "public_url: https://login.example.com:443\n", "Leave :443 out"},
		{"port 0", "public_url: https://login.example.com:0\n", "would change at every start"},
		{"no host", "public_url: 'https://:8443'\n", "not scheme, host and perhaps port alone"},
		{"odd port", "public_url: https://h:99999\n", "not scheme, host and perhaps port alone"},
		{"any port beside a fixed one", "signin: {listen: '127.0.0.1:0'}\n", "takes any free port, and public_url names another"},
		{"port of letters", "signin: {listen: ':https'}\n", `":https" is not host:port`},
		{"one port for two", "admin: {listen: '127.0.0.1:8443'}\n", "is the address of signin.listen, too. Give each listener a port of its own"},
		{"agents sent nowhere", "roles: [signin]\n", "gateway.public_address: is empty, and no gateway runs in this process"},
		{"agents sent to no host", "gateway: {public_address: ':8444'}\n", "Give host:port as agents see it"},
		{"half a certificate", "tls: {key_file: k}\n", "tls.certificate_file: is empty"},
		{"the other half", "tls: {certificate_file: c}\n", "tls.key_file: is empty"},
		{"CA without queue", "queue: {ca_file: x}\n", "is set, but the queue is inside this process"},
		{"database unreadable", "database: {url: 'postgres://u:p%zz@h/d'}\n", "database.url: cannot be read"},
		{"database of any certificate", "database: {url: 'postgres://db.example/s?sslmode=nonsense'}\n", "certificate would not be verified"},
		{"roles apart without a queue", "roles: [signin]\n", "sign-in and gateway are in different processes"},
		{"queue in the open", "queue: {url: 'nats://10.0.0.1:4222'}\n", "in the open between machines. Use tls://"},
		{"SQLite for several processes", "roles: [gateway]\nqueue: {url: 'tls://n:4222'}\n", "SQLite serves one process"},
		{"database unverified", "database: {url: 'postgres://db.example/s'}\n", "certificate would not be verified"},
		{"odd database", "database: {url: 'mysql://x'}\n", "neither SQLite nor PostgreSQL"},
		{"odd role", "roles: [cook]\n", `"cook" is no role`},
		{"odd level", "log: {level: loud}\n", `"loud" is no level`},
		{"no number", "lockout: {threshold: few}\n", `lockout.threshold: "few" is not a whole number`},
		{"a threshold that is none", "lockout: {threshold: 1000}\n", "lockout.threshold: 1000 is out of range. Give a number below the directory's own"},
		{"no lockout, as a directory's 0 means", "lockout: {threshold: 0}\n", "lockout.threshold: 0 is out of range"},
		{"a lock of no time", "lockout: {duration: 0s}\n", "lockout.duration: 0s is out of range"},
		{"endless locks", "lockout: {duration: 48h}\n", "lockout.duration: 48h0m0s is out of range"},
		{"no agents", "agents: {limit: 0}\n", "out of range"},
		{"short certificates", "agents: {certificate_life: 1s}\n", "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(write(t, c.file), nil, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: … %s …", err, c.want)
			}
		})
	}
	if _, err := load("", []string{"SALLYPORT_SIGNIN_LISTEM=:1"}, nil); err == nil || !strings.Contains(err.Error(), "belongs to no setting") {
		t.Errorf("unknown variable: %v", err)
	}
	if _, err := load("", nil, map[string]string{"datta": "x"}); err == nil || !strings.Contains(err.Error(), "Did you mean data?") {
		t.Errorf("unknown --set: %v", err)
	}
	if _, err := load("/does/not/exist.yaml", nil, nil); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := load(write(t, strings.Repeat("#", maxConfig+1)), nil, nil); err == nil || !strings.Contains(err.Error(), "is this the right file") {
		t.Errorf("huge file: %v", err)
	}
}

// TestPrintReadsBack: what "config print" writes is a configuration file with the same settings.
func TestPrintReadsBack(t *testing.T) {
	first, err := load(write(t, fine), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	first.print(&out)
	second, err := load(write(t, out.String()), nil, nil)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	for i, f := range fields(&first.Config) {
		if got := fields(&second.Config)[i]; got.text() != f.text() {
			t.Errorf("%s: %q became %q", f.key, f.text(), got.text())
		}
		if f.doc == "" {
			t.Errorf("%s has no documentation", f.key)
		}
	}
}

func TestPrintMasksPasswords(t *testing.T) {
	s, err := load("", nil, map[string]string{"tls.local_ca": "true", "database.url": "postgres://sally:hunter2@localhost/s"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.print(&out)
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "postgres://sally:[secret]@localhost/s") {
		t.Errorf("the database's password shows:\n%s", out.String())
	}
}

func TestMaskPassword(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:p@h/d":                       "postgres://u:[secret]@h/d",
		"postgres://u:p@q@h/d?sslmode=verify-full": "postgres://u:[secret]@h/d?sslmode=verify-full",
		"postgres://h/d?user=u&password=p&x=y":     "postgres://h/d?user=u&password=[secret]&x=y",
		"postgres://h/d?sslpassword=p":             "postgres://h/d?sslpassword=[secret]",
		"tls://u:p@a:4222,tls://u:p@b:4222":        "tls://u:[secret]@b:4222",
		"https://login.example.com":                "https://login.example.com",
		"sqlite:/var/lib/sallyport/sallyport.db":   "sqlite:/var/lib/sallyport/sallyport.db",
		"postgres://u@h/d":                         "postgres://u@h/d",
		"127.0.0.1:8443":                           "127.0.0.1:8443",
	} {
		if got := maskPassword(address); got != want {
			t.Errorf("%s: %s, not %s", address, got, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(fine))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("signin: {listen: [}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := settings{Config: service.Defaults(), origin: map[string]string{}}
		known := map[string]field{}
		for _, x := range fields(&s.Config) {
			known[x.key] = x
		}
		if len(raw) >= maxConfig {
			return
		}
		s.readYAML("fuzz.yaml", raw, known)
		s.Config.Check()
		// Whatever was read can be printed and read again.
		var printed bytes.Buffer
		s.print(&printed)
		if errs := s.readYAML("printed.yaml", printed.Bytes(), known); errs != nil {
			t.Errorf("%v in\n%s", errs, &printed)
		}
	})
}
