package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/localca"
)

// patience bounds waiting for what must happen; nothing is measured with it.
const patience = 30 * time.Second

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// sallyport runs one command line in this process.
func sallyport(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	return result{code, out.String(), err.String()}
}

// world is a live service with one tenant, and the command line beside it.
type world struct {
	t      *testing.T
	config string
	cfg    service.Config
	init   result
}

// safe is a writer for several goroutines.
type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// freePorts returns ports that nobody listens on, all different: each is held until the last is found.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// newWorld does what the operator's page says: write the file, check it, init, serve.
func newWorld(t *testing.T) *world { return newWorldWith(t, "localhost", "{local_ca: true}") }

// newWorldWith is newWorld with a host in public_url and settings of its own for TLS.
func newWorldWith(t *testing.T, host, tls string) *world {
	t.Helper()
	t.Setenv("SALLYPORT_CONFIG", "")
	w := &world{t: t, cfg: service.Defaults()}
	ports := freePorts(t, 4)
	signin, monitor := ports[0], ports[1]
	w.config = write(t, fmt.Sprintf("data: %s\npublic_url: https://%s:%s\nsignin: {listen: '127.0.0.1:%s'}\ngateway: {listen: '127.0.0.1:%s'}\n"+
		"admin: {listen: '127.0.0.1:%s'}\nmonitor: {listen: '127.0.0.1:%s'}\ntls: %s\n",
		filepath.Join(t.TempDir(), "data"), host, signin, signin, ports[2], ports[3], monitor, tls))
	if r := sallyport(t, "", "config", "check", "--config", w.config); r.code != 0 || r.out != "The configuration is fine.\n" {
		t.Fatalf("%+v", r)
	}
	w.init = sallyport(t, "", "init", "--config", w.config, "--tenant", "contoso", "--display-name", "Contoso Ltd", "--admin", "admin@contoso.internal")
	if w.init.code != 0 {
		t.Fatalf("init: %+v", w.init)
	}
	ctx, stop := context.WithCancel(context.Background())
	log, ended := &safe{}, make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", w.config}, nil, log, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("serve ended with %d:\n%s", code, log)
		}
	})
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get("http://127.0.0.1:" + monitor + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the service does not become ready:\n%s", log)
		}
	}
	t.Setenv("SALLYPORT_CONFIG", w.config)
	t.Setenv("SALLYPORT_TENANT", "contoso")
	return w
}

// ok runs a command that must succeed, and whose output must hold the words.
func (w *world) ok(args []string, words ...string) string {
	w.t.Helper()
	r := sallyport(w.t, "", args...)
	if r.code != 0 || r.err != "" {
		w.t.Fatalf("%q: %d\n%s%s", args, r.code, r.out, r.err)
	}
	for _, word := range words {
		if !strings.Contains(r.out, word) {
			w.t.Errorf("%q does not print %q:\n%s", args, word, r.out)
		}
	}
	return r.out
}

// fails runs a command that must fail with a code and words on standard error.
func (w *world) fails(code int, args []string, words ...string) {
	w.t.Helper()
	r := sallyport(w.t, "", args...)
	if r.code != code {
		w.t.Errorf("%q: exit code %d, not %d\n%s%s", args, r.code, code, r.out, r.err)
	}
	for _, word := range words {
		if !strings.Contains(r.err, word) {
			w.t.Errorf("%q does not say %q:\n%s", args, word, r.err)
		}
	}
}

// object runs a command with -o json and decodes what it prints.
func object[T any](w *world, args ...string) (v T) {
	w.t.Helper()
	out := w.ok(append(args, "-o", "json"))
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		w.t.Fatalf("%q: %v in %s", args, err, out)
	}
	return v
}

// line splits a command line at its spaces.
func line(s string) []string { return strings.Fields(s) }

func TestInit(t *testing.T) {
	w := newWorld(t)
	for _, want := range []string{"Tenant         contoso (", "/t/contoso\n", "Administrator  admin@contoso.internal\n", "Password       ", "shown only now", "token in "} {
		if !strings.Contains(w.init.out, want) {
			t.Errorf("init does not print %q:\n%s", want, w.init.out)
		}
	}
	w.fails(1, line("init --tenant contoso"), "there is a tenant named \"contoso\" already", "What to do: Choose another name")
	w.fails(1, line("init --tenant Contoso"), "lower-case letters")
	w.fails(2, line("init"), "missing flags: --tenant", `Try "sallyport init --help"`)
	w.fails(1, line("init --tenant other --password-file /does/not/exist"), "/does/not/exist")
	const canary = "canary pässword 7"
	r := sallyport(t, canary+"\r\nsecond line", "init", "--tenant", "fabrikam", "--admin", "root@emergency.example", "--password-file", "-")
	if r.code != 0 || strings.Contains(r.out+r.err, canary) || strings.Contains(r.out, "Password ") {
		t.Errorf("%+v", r)
	}
	w.ok(line("tenant list"), "contoso", "fabrikam", "Contoso Ltd")
}

// TestVerbs plays the operator's page and every other verb, in tables and in JSON.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()

	w.ok(line("directory list"), "none")
	if all := w.ok(line("directory list -o json")); strings.TrimSpace(all) != "[]" {
		t.Errorf("an empty list in JSON: %q", all)
	}
	w.ok(line("directory create corp"), "name        corp", "evaluation  false")
	corp := object[admin.Directory](w, "directory", "show", "corp")
	w.ok([]string{"directory", "change", corp.ID, "--name", "corporate"}, "corporate")
	w.ok(line("directory change corporate --name corp"))
	w.ok(line("directory create lab --evaluation"), "true")
	w.ok(line("directory list"), "NAME", "corp", "lab", "yes")
	w.ok(line("directory remove lab"), "Directory removed.")
	if out := w.ok(line("directory create lab2 -o json")); !json.Valid([]byte(out)) {
		t.Errorf("%s", out)
	}
	if out := w.ok(line("directory remove lab2 -o json")); out != "" {
		t.Errorf("nothing is to be printed for a program: %q", out)
	}

	w.ok(line("domain create corp.example --directory corp"), "pass-through", "admit_users  true")
	w.ok(line("domain create cloud.example --kind cloud"), "cloud")
	w.ok(line("domain change corp.example --no-admit-users"), "admit_users  false")
	w.ok(line("domain show corp.example"), corp.ID)
	w.ok(line("domain list"), "ADMITS USERS", "corp ", "contoso.internal")
	w.fails(2, line("domain create x.example --kind federated"), `--kind must be one of "pass-through","cloud"`, `Try "sallyport domain create --help"`)
	w.ok(line("domain change corp.example --netbios-name corp"), "netbios_name  CORP")
	w.ok(line("domain create mail.example --directory corp --sign-in-attribute mail"))
	w.ok(line("domain list"), `ada@corp.example, CORP\ada`, "ada@mail.example (UPN or mail)")
	w.fails(1, line("domain change mail.example --netbios-name CORP"), "90010 conflict: the domain corp.example has the NetBIOS name CORP already")
	w.fails(1, line("domain create x.example --directory none"), `90009 not-found: no directory "none"`, "What to do:", "Trace:")

	alice := object[admin.User](w, "user", "create", "alice@corp.example", "--display-name", "Alice, of Sales", "--group", "Sales, Berlin", "--group", "All", "--role", "administrator")
	if alice.Source != "synced" || len(alice.Groups) != 2 || alice.Groups[1] != "Sales, Berlin" || alice.Role != "administrator" {
		t.Errorf("%+v", alice)
	}
	w.ok(line("user create carl@cloud.example --no-disabled"), "cloud-only")
	w.ok(line("user change alice@corp.example --role none --disabled --email a@corp.example"), "disabled      true", "Sales, Berlin")
	if got := object[admin.User](w, "user", "change", "alice@corp.example", "--group", "", "--no-disabled"); len(got.Groups) != 0 || got.Disabled || got.Email == "" {
		t.Errorf("%+v", got)
	}
	w.ok(line("user change carl@cloud.example --name charles@cloud.example"), "charles@cloud.example")
	w.ok([]string{"user", "show", alice.ID}, "alice@corp.example")
	w.ok(line(`user show corp\alice`), "alice@corp.example")
	w.fails(1, line(`user show none\alice`), `no user “none\alice”`)
	w.ok(line("user list"), "alice@corp.example", "charles@cloud.example", "admin@contoso.internal", "administrator")
	w.ok(line("user unlock charles@cloud.example"), "Lockout ended.")
	w.ok(line("user sign-out charles@cloud.example"), "Signed out everywhere.")
	w.ok(line("user remove alice@corp.example"), "User removed.")
	w.fails(2, line("user create x@corp.example --role king"), "--role must be one of")
	w.fails(1, line("user show alice@corp.example"), `90009`, `no user “alice@corp.example”`)

	const redirect = "https://wiki.contoso.example/callback?a=1,2&b=x;y"
	wiki := object[admin.App](w, "app", "create", "Wiki", "--redirect", redirect, "--redirect", "http://127.0.0.1:8080/cb", "--post-logout", "https://wiki.contoso.example/bye", "--groups")
	if len(wiki.RedirectURIs) != 2 || wiki.RedirectURIs[0] != redirect || len(wiki.PostLogoutURIs) != 1 || !wiki.GroupClaims || wiki.Secret == "" {
		t.Errorf("%+v", wiki)
	}
	if got := object[admin.App](w, "app", "change", wiki.ID, "--post-logout", "", "--algorithm", "RS256", "--name", "The Wiki"); len(got.PostLogoutURIs) != 0 ||
		len(got.RedirectURIs) != 2 || got.Algorithm != "RS256" || got.Name != "The Wiki" {
		t.Errorf("%+v", got)
	}
	secret := filepath.Join(dir, "wiki.secret")
	w.ok([]string{"app", "secret", wiki.ID, "--secret-file", secret}, "The Wiki")
	if raw, err := os.ReadFile(secret); err != nil || len(raw) < 40 || strings.TrimSpace(string(raw)) == wiki.Secret {
		t.Errorf("the secret's file: %q, %v", raw, err)
	}
	w.fails(1, []string{"app", "secret", wiki.ID, "--secret-file", secret}, "exists already")
	w.ok([]string{"app", "list"}, "The Wiki", "RS256", redirect)
	w.ok([]string{"app", "show", wiki.ID}, redirect)
	phone := object[admin.App](w, "app", "create", "Phone", "--public", "--redirect", "com.example.phone:/cb")
	if phone.Secret != "" || !phone.Public {
		t.Errorf("%+v", phone)
	}
	w.ok([]string{"app", "remove", phone.ID}, "Application removed.")
	w.fails(1, line("app create X --redirect http://x.example/cb"), "90002")

	token := filepath.Join(dir, "token.txt")
	out := w.ok([]string{"agent", "token", "create", "--directory", "corp", "--uses", "3", "--life", "24h", "--file", token}, "uses_left  3")
	raw, err := os.ReadFile(token)
	if err != nil || strings.Contains(out, strings.TrimSpace(string(raw))) || len(raw) < 40 {
		t.Errorf("the token's file: %q, %v\n%s", raw, err, out)
	}
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// What is refused leaves no file and no token.
	w.fails(1, []string{"agent", "token", "create", "--directory", "none", "--file", filepath.Join(dir, "none.txt")}, "no directory")
	if _, err := os.Stat(filepath.Join(dir, "none.txt")); err == nil {
		t.Error("an empty file was left behind")
	}
	w.fails(1, []string{"agent", "token", "create", "--directory", "corp", "--file", token}, "exists already")
	tokens := object[[]admin.AgentToken](w, "agent", "token", "list")
	if len(tokens) != 1 || tokens[0].Secret != "" {
		t.Errorf("%+v", tokens)
	}
	w.ok(line("agent token list"), "USES LEFT", "corp")
	w.ok([]string{"agent", "token", "remove", tokens[0].ID}, "Token removed.")
	w.ok(line("agent list"), "none")
	w.fails(1, line("agent show nobody"), `no agent "nobody"`)
	w.fails(1, line("agent revoke nobody --reason x"), `no agent`)
	w.fails(1, line("agent change nobody --name x"), `no agent`)
	w.fails(1, line("agent remove nobody"), `no agent`)
	w.fails(2, line("agent revoke nobody"), "missing flags: --reason")

	w.ok(line("signin list --since 15m"), "none")
	w.ok(line("signin list --trace 00 --user charles@cloud.example --name x --limit 1"), "none")
	w.fails(1, line("signin list --limit 1000"), "from 1 to 500")

	w.fails(1, line("signin show 00"), `no sign-in with trace id "00"`)

	w.ok(line("key rotate --algorithm ES256"), "The next key is published")
	w.fails(2, line("key replace --algorithm ES256"), "Repeat with --yes")
	w.ok(line("key replace --algorithm ES256 --yes"), "Keys replaced")
	w.fails(2, line("key rotate --algorithm none"), "ES256")
	w.fails(2, line("key rotate"), "missing flags: --algorithm")

	w.ok(line("tenant create fabrikam --display-name Fabrikam --color #204060"), "/t/fabrikam")
	w.ok(line("tenant change fabrikam --display-name F2"), "F2")
	w.ok(line("tenant show fabrikam"), "#204060")
	w.fails(2, line("tenant remove fabrikam"), "Repeat with --yes")
	w.ok(line("tenant remove fabrikam --yes"), "Tenant removed.")
	w.fails(1, line("user list --tenant fabrikam"), `no tenant "fabrikam"`)
}

// TestPasswordNeverShows: on the way from a file or standard input into the service.
func TestPasswordNeverShows(t *testing.T) {
	w := newWorld(t)
	const canary = `canary "pässword" \ 41`
	r := sallyport(t, canary+"\n", "user", "set-password", "admin@contoso.internal", "--password-file", "-")
	if r.code != 0 || r.out != "Password set.\n" || r.err != "" {
		t.Fatalf("%+v", r)
	}
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
		code  int
	}{
		{"", []string{"user", "set-password", "admin@contoso.internal", "--password-file", name, "-o", "json"}, 0},
		{canary, []string{"user", "set-password", "nobody@contoso.internal", "--password-file", "-"}, 1},
		{canary, []string{"user", "set-password", "admin@contoso.internal", "--password-file", "-", "--server", "https://127.0.0.1:1"}, 1},
		{"kurz41\n", []string{"user", "set-password", "admin@contoso.internal", "--password-file", "-"}, 1},
		{"\n", []string{"user", "set-password", "admin@contoso.internal", "--password-file", "-"}, 1},
		{"", []string{"user", "set-password", "admin@contoso.internal"}, 2},
	} {
		r := sallyport(t, c.stdin, c.args...)
		if r.code != c.code || strings.Contains(r.out+r.err, "canary") || strings.Contains(r.out+r.err, "kurz41") {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	w.ok(line("user show admin@contoso.internal"))
}

// TestOperatorsCertificate: the certificate is for the public host, of a CA that the system does not know, and the command line on
// the service's host reaches the loopback address all the same; from elsewhere the CA must be given.
func TestOperatorsCertificate(t *testing.T) {
	dir := t.TempDir()
	authority, err := localca.OpenOrCreate(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Server([]string{"login.example.com"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	certificateFile, keyFile := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	if err := errors.Join(err, os.WriteFile(certificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o644),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)); err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, "login.example.com", fmt.Sprintf("{certificate_file: %s, key_file: %s}", certificateFile, keyFile))
	w.ok(line("tenant list"), "contoso", "https://login.example.com:")
	s, err := load(w.config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SALLYPORT_CONFIG", "")
	away := []string{"tenant", "list", "--server", "https://" + s.Config.Admin.Listen, "--token-file", s.Config.TokenFile()}
	w.fails(1, away, "certificate")
	w.fails(1, append(away, "--ca-file", authority.CertificateFile()), "127.0.0.1") // the name is still checked
}

func TestAdminTokens(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "contoso.token")
	w.ok([]string{"token", "create", "--tenant", "contoso", "--life", "1h", "--note", "theirs", "--secret-file", file}, "theirs")
	w.ok([]string{"user", "list", "--token-file", file}, "admin@contoso.internal")
	w.fails(1, []string{"tenant", "list", "--token-file", file}, "90011", "Use a token")
	all := object[[]admin.AdminToken](w, "token", "list")
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	w.ok(line("token list"), "theirs", "all")
	for _, x := range all {
		if x.Note == "theirs" {
			w.ok([]string{"token", "remove", x.ID}, "Token ended.")
		}
	}
	w.fails(1, []string{"user", "list", "--token-file", file}, "90012", "Give a valid token")
	w.ok(line("token renew"), "New token in ")
	w.ok(line("tenant list"), "contoso")
}

// TestWithoutService: what a command line says that finds no service, no token, no trust.
func TestWithoutService(t *testing.T) {
	t.Setenv("SALLYPORT_CONFIG", "")
	w := &world{t: t}
	dir := t.TempDir()
	w.fails(1, []string{"tenant", "list", "--set", "data=" + dir}, "the admin API's token cannot be read. Give --token-file")
	token := filepath.Join(dir, "admin-token")
	if err := os.WriteFile(token, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(1, []string{"tenant", "list", "--set", "data=" + dir, "--server", "https://127.0.0.1:1"}, "the admin API at https://127.0.0.1:1 cannot be reached", "refused")
	w.fails(2, []string{"tenant", "list", "--set", "data=" + dir, "--server", "http://127.0.0.1:1"}, "is not an address such as https://")
	w.fails(1, []string{"tenant", "list", "--set", "data=" + dir, "--ca-file", token}, "holds no certificate")
	w.fails(2, []string{"user", "list", "--set", "data=" + dir}, "missing flags: --tenant")
	w.fails(2, []string{"tenant", "list", "--config", "/does/not/exist"}, "cannot be read")
	two := filepath.Join(dir, "two")
	if err := os.WriteFile(two, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(1, []string{"tenant", "list", "--token-file", two}, "does not hold one token")
	w.fails(1, []string{"serve", "--set", "tls.local_ca=true", "--set", "data=" + token}, "data:", "name another")
	w.fails(2, []string{"serve", "--set", "data=" + dir}, "the configuration has faults:", "there is no server certificate")
	free, err := net.Listen("tcp", "127.0.0.1:0") // not the ordinary ports: a demonstration may run on this machine
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	w.fails(1, []string{"serve", "--set", "public_url=https://localhost:" + port, "--set", "signin.listen=127.0.0.1:" + port, "--set", "gateway.listen=127.0.0.1:0",
		"--set", "admin.listen=127.0.0.1:0", "--set", "monitor.listen=127.0.0.1:0", "--set", "tls.certificate_file=/no.pem", "--set", "tls.key_file=/no.key", "--set", "data=" + filepath.Join(dir, "data")}, "tls.key_file")
}

// TestStoppedWhileStarting: a stop that comes before the service serves is an orderly end.
func TestStoppedWhileStarting(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out, log bytes.Buffer
	code := run(ctx, []string{"serve", "--set", "tls.local_ca=true", "--set", "data=" + filepath.Join(t.TempDir(), "data")}, nil, &out, &log)
	if code != 0 || !strings.Contains(log.String(), "told to stop before the start was done") {
		t.Errorf("%d %s", code, log.String())
	}
}

// TestEveryHelp walks all commands: each explains itself with a sentence, and a command to run has its usage.
func TestEveryHelp(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.Name("sallyport"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		count++
		r := sallyport(t, "", append(append([]string{}, path...), "--help")...)
		if r.code != 0 || r.err != "" || !strings.HasPrefix(r.out, "Usage: sallyport") || len(path) > 0 && !strings.Contains(strings.Join(strings.Fields(r.out), " "), strings.Join(strings.Fields(n.Help), " ")) {
			t.Errorf("%q --help: %d %s%s", path, r.code, r.out, r.err)
		}
		if len(path) > 0 && (n.Help == "" || !strings.HasSuffix(n.Help, ".")) {
			t.Errorf("%q: the help %q is no sentence", path, n.Help)
		}
		for _, f := range n.Flags {
			if f.Help == "" {
				t.Errorf("%q: the flag --%s has no help", path, f.Name)
			}
		}
		for _, child := range n.Children {
			walk(child, append(append([]string{}, path...), child.Name))
		}
	}
	walk(parser.Model.Node, nil)
	if count < 50 {
		t.Errorf("only %d commands were found", count)
	}
}

func TestCommandLine(t *testing.T) {
	t.Setenv("SALLYPORT_CONFIG", "")
	w := &world{t: t}
	w.ok(line("--version"), "sallyport ", "commit ", "go1.")
	w.fails(2, nil, "expected one of", `Try "sallyport --help"`)
	w.fails(2, line("tenant"), "expected one of", `Try "sallyport tenant --help"`)
	w.fails(2, line("tennant list"), "unexpected argument tennant")
	w.fails(2, line("tenant list --outputt json"), "unknown flag --outputt")
	w.fails(2, line("tenant list -o xml"), "--output must be one of")
	w.fails(2, line("demo --directory ldap"), "--directory is")
	// Settings with faults are printed too, to be corrected: what is wrong goes to the other stream.
	r := sallyport(t, "", "config", "print")
	for _, want := range []string{"# where browsers and applications reach the service", `listen: "127.0.0.1:8443"`, "SALLYPORT_QUEUE_CA_FILE"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("config print lacks %q", want)
		}
	}
	if r.code != 0 || !strings.Contains(r.err, "could not be served as they are") || !strings.Contains(r.err, "there is no server certificate") {
		t.Errorf("%d %s", r.code, r.err)
	}
	w.fails(2, line("config check"), "there is no server certificate", "default: tls")
	w.ok(line("config check --set tls.local_ca=true --set signin.trusted_proxies=10.0.0.0/8,10.1.1.1 --set database.url=postgres://u:p=q;r@localhost/s"), "fine")
	w.fails(2, line("config check --set nonsense"), "nonsense")
}

func TestExplain(t *testing.T) {
	w := &world{t: t}
	w.ok(line("explain 80001"), "80001 no-agent\n", "What to do: Start an agent", "Whoever met it is told: We could not check")
	w.ok(line("explain aadsts50126 90020"), "50126 invalid-password", "90020 lost-after-fence")
	w.fails(1, line("explain 52e"), "nothing is known here of 52e", "sallyport-agent explain")
	r := sallyport(t, "", "explain", "1", "50053")
	if r.code != 1 || !strings.Contains(r.out, "50053 account-locked") {
		t.Errorf("%+v", r)
	}
}

// TestCompletion asks a real bash what it would offer.
func TestCompletion(t *testing.T) {
	w := &world{t: t}
	script := w.ok(line("completion bash"), "complete -F _sallyport sallyport")
	w.ok(line("completion zsh"), "bashcompinit", "complete -F _sallyport sallyport")
	w.ok(line("completion fish"), `complete -c sallyport -n '__sallyport_at " agent token"' -a create`, `-l config -r -F`)
	w.fails(2, line("completion tcsh"), "must be one of")
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatal("SALLYPORT_CI=1 wants bash")
		}
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "some.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want string // everything offered, in order
	}{
		{"sallyport te", "tenant"},
		{"sallyport agent ", "list show history change rename approve deny drain resume renew release revoke remove token"},
		{"sallyport agent token c", "create"},
		{"sallyport --config some.yaml agent tok", "token"},
		{"sallyport -t user domain l", "list"},
		{"sallyport domain create --ad", "--admit-users"},
		{"sallyport domain create --no", "--no-admit-users"},
		{"sallyport domain create --kind ", ""},
		{"sallyport serve --config so", "some.yaml"},
		{"sallyport completion z", "zsh"},
		{"sallyport serve --s", "--set"},
		{"sallyport nonsense nonsense te", "tenant"},
	} {
		words := strings.Split(c.line, " ")
		program := script + "\nCOMP_WORDS=(" + quoteAll(words) + ")\nCOMP_CWORD=" + fmt.Sprint(len(words)-1) + "\n_sallyport\necho \"${COMPREPLY[*]}\"\n"
		cmd := exec.Command(bash, "--norc", "-c", program)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%q offers %q, not %q (%v)", c.line, got, c.want, err)
		}
	}
}

func quoteAll(words []string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "'%s' ", w)
	}
	return b.String()
}
