//go:build linux

package operations_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// proxyUser and proxyPassword may pass the proxy; the password needs escaping in a URL.
const proxyUser, proxyPassword = "svc-agent", "p@ss/canary"

// squid runs a real proxy that wants a password, allows nothing but CONNECT, and alone knows the addresses of names.
type squid struct {
	*program
	address, log string
}

func newSquid(t *testing.T, hosts ...string) squid {
	t.Helper()
	path := "/usr/sbin/squid"
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal("squid is missing (Debian package squid)")
		}
		t.Skip("squid is not installed (Debian package squid)")
	}
	dir, err := os.MkdirTemp("", "squid-")
	noError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	noError(t, os.Chmod(dir, 0o755))
	s := squid{address: freeAddress(t), log: filepath.Join(dir, "access.log")}
	sum := md5.Sum([]byte(proxyPassword)) // a form that squid's program for it knows
	noError(t, os.WriteFile(filepath.Join(dir, "passwd"), []byte(proxyUser+":"+hex.EncodeToString(sum[:])+"\n"), 0o644))
	var table strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&table, "127.0.0.1 %s\n", h)
	}
	noError(t, os.WriteFile(filepath.Join(dir, "hosts"), []byte(table.String()), 0o644))
	as := ""
	if os.Geteuid() == 0 { // it will not run as root
		as = "cache_effective_user proxy\n"
		u, err := user.Lookup("proxy")
		noError(t, err)
		uid, err := strconv.Atoi(u.Uid)
		noError(t, err)
		noError(t, os.Chown(dir, uid, -1))
	}
	config := filepath.Join(dir, "squid.conf")
	noError(t, os.WriteFile(config, []byte(as+`http_port `+s.address+`
visible_hostname proxy.test
hosts_file `+dir+`/hosts
dns_nameservers 127.0.0.1
auth_param basic program /usr/lib/squid/basic_ncsa_auth `+dir+`/passwd
auth_param basic realm proxy
acl known proxy_auth REQUIRED
acl CONNECT method CONNECT
http_access deny !CONNECT
http_access allow known
http_access deny all
cache deny all
access_log stdio:`+s.log+`
cache_log `+dir+`/cache.log
pid_filename `+dir+`/squid.pid
coredump_dir `+dir+`
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
`), 0o644))
	if out, err := exec.CommandContext(t.Context(), path, "-k", "parse", "-f", config).CombinedOutput(); err != nil {
		t.Fatalf("squid: %v\n%s", err, out)
	}
	s.program = run(t, nil, path, "-N", "-f", config)
	s.await("the proxy listens", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

func (s squid) url(password string) string {
	return "http://" + proxyUser + ":" + strings.NewReplacer("@", "%40", "/", "%2F").Replace(password) + "@" + s.address
}

// TestBehindAProxy: an agent whose host resolves no outside name and reaches nothing but a proxy that wants a password registers, attaches and
// is examined; by flag, by environment and by settings file.
func TestBehindAProxy(t *testing.T) {
	const signin, gateway = "signin.sallyport.test", "gw.sallyport.test"
	proxy := newSquid(t, signin, gateway)
	data := filepath.Join(t.TempDir(), "data")
	_, signinPort, err := net.SplitHostPort(freeAddress(t))
	noError(t, err)
	_, gatewayPort, err := net.SplitHostPort(freeAddress(t))
	noError(t, err)
	more := []string{"--set", "public_url=https://" + signin + ":" + signinPort, "--set", "signin.listen=127.0.0.1:" + signinPort,
		"--set", "gateway.listen=127.0.0.1:" + gatewayPort, "--set", "gateway.public_address=" + gateway + ":" + gatewayPort}
	succeeds(t, sallyport, append([]string{"init", "--tenant", "contoso"}, settings(data, more...)...)...)
	s := &site{service: serve(t, data, more...), data: data, publicS: "https://" + signin + ":" + signinPort}
	s.service.ready()
	s.command(t, "directory", "create", "corp")

	state := filepath.Join(t.TempDir(), "state")
	token := s.token(t)
	run(t, nil, sallyportAgent, s.register(state, token)...).refuses(1, "the name "+signin+" cannot be resolved", "give it with --proxy")
	wrong := run(t, nil, sallyportAgent, s.register(state, token, "--proxy", proxy.url("wrong-canary"))...)
	wrong.refuses(1, "the proxy did not let the connection through", "user and password go into its URL")
	succeeds(t, sallyportAgent, s.register(state, token, "--proxy", proxy.url(proxyPassword))...)

	attend := []string{"run", "--state", state, "--dc", "ldaps://127.0.0.1:1"}
	file := filepath.Join(t.TempDir(), "agent.yaml")
	noError(t, os.WriteFile(file, []byte("proxy: "+proxy.url(proxyPassword)+"\n"), 0o600))
	for how, c := range map[string][]string{
		"flag":        append([]string{sallyportAgent}, append(attend, "--proxy", proxy.url(proxyPassword))...),
		"file":        append([]string{sallyportAgent}, append(attend, "--config", file)...),
		"environment": append([]string{"/usr/bin/env", "HTTPS_PROXY=" + proxy.url(proxyPassword), sallyportAgent}, attend...),
		"our variable": append([]string{"/usr/bin/env", "SALLYPORT_AGENT_PROXY=" + proxy.url(proxyPassword), "HTTPS_PROXY=http://127.0.0.1:1", sallyportAgent},
			attend...),
	} {
		p := run(t, nil, c[0], c[1:]...)
		p.attached()
		p.stop()
		if strings.Contains(p.words(), "canary") {
			t.Errorf("%s: the proxy's password is in the log:\n%s", how, p.words())
		}
	}
	refused := run(t, nil, sallyportAgent, append(attend, "--proxy", proxy.url("wrong-canary"))...)
	refused.await("a word about the proxy", func() bool { return strings.Contains(refused.words(), "wants other credentials: 407") })
	refused.stop()
	doctor := run(t, nil, sallyportAgent, "doctor", "--state", state, "--config", file, "--dc", "ldaps://127.0.0.1:1")
	doctor.refuses(1, "proxy gateway: through http://"+proxy.address, "gateway "+gateway+":"+gatewayPort+": handshake in", "proxy service: through",
		"service "+s.publicS+": answers in", "the service's clock")
	for _, p := range []*program{wrong, refused, doctor} {
		if strings.Contains(p.words(), "canary") {
			t.Errorf("the proxy's password is shown:\n%s", p.words())
		}
	}
	// The proxy was asked for names, and by whom.
	log, err := os.ReadFile(proxy.log)
	noError(t, err)
	for _, host := range []string{signin + ":" + signinPort, gateway + ":" + gatewayPort} {
		if !strings.Contains(string(log), "CONNECT "+host+" "+proxyUser) {
			t.Errorf("no CONNECT %s by %s in\n%s", host, proxyUser, log)
		}
	}
}
