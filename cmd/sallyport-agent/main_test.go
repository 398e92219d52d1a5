package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
)

var binary string

// TestMain builds the program, since what users run is the program and not its functions.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sallyport-agent-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, program)
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=9.8.7 -X main.commit=abc123", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// result is how one command ended.
type result struct {
	code        int
	out, errOut string
}

// command prepares one run of the binary with an environment of its own.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, args...)
	c.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	return c
}

func execute(t *testing.T, env []string, args ...string) result {
	t.Helper()
	c := command(t, env, args...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

const token = "spt_canary-token-51c8"

// newService plays a service that registers agents with this token, behind TLS of a private CA, whose file it returns.
func newService(t *testing.T, life time.Duration) (address, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := wire.DecodeRegisterRequest(r.Body)
		if err != nil || request.Token != token {
			entry, _ := wire.Lookup(wire.EnrolTokenInvalid)
			w.Header().Set("Content-Type", wire.ProblemType)
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(wire.Problem{Title: entry.Name, Code: entry.Code, Remedy: entry.Remedy, Trace: "feedbeef"})
			return
		}
		block, _ := pem.Decode([]byte(request.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Error(err)
			return
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: time.Now().Add(life).Truncate(time.Second),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			URIs:        []*url.URL{wire.AgentIdentity{TrustDomain: "sallyport.example", Tenant: "t1", Agent: "a1"}.URI()}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, csr.PublicKey, key)
		if err != nil {
			t.Error(err)
			return
		}
		_ = json.NewEncoder(w).Encode(wire.RegisterAnswer{TenantID: "t1", TenantName: "contoso", DirectoryID: "d1", DirectoryName: "corp", AgentID: "a1",
			AgentName: request.Name, Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			Gateway: "127.0.0.1:1", TrustDomain: "sallyport.example", Expires: leaf.NotAfter})
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, caFile
}

// register makes an identity with the binary and returns its state folder.
func register(t *testing.T, life time.Duration) (state string) {
	t.Helper()
	address, caFile := newService(t, life)
	state = filepath.Join(t.TempDir(), "state")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := execute(t, nil, "register", "--service", address, "--token-file", file, "--ca-file", caFile, "--state", state, "--name", "dc-agent-1")
	if r.code != 0 {
		t.Fatalf("register: %+v", r)
	}
	for _, want := range []string{`registered agent "dc-agent-1" (a1)`, "contoso", "corp", "127.0.0.1:1", state} {
		if !strings.Contains(r.out, want) {
			t.Errorf("register does not say %q: %s", want, r.out)
		}
	}
	return state
}

func TestHelpVersionExplain(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--help"}, 0, []string{"register", "run", "status", "explain", "Exit codes", "SALLYPORT_AGENT_STATE", "Examples"}},
		{[]string{"register", "--help"}, 0, []string{"--token-file", "--ca-file", "--replace", "--proxy", "--name", "Examples", "SALLYPORT_AGENT_SERVICE"}},
		{[]string{"run", "--help"}, 0, []string{"--dc", "--dc-ca-file", "--slots", "--connections", "--log-format", "Examples", "SALLYPORT_AGENT_DC"}},
		{[]string{"status", "--help"}, 0, []string{"--output"}},
		{[]string{"--version"}, 0, []string{"sallyport-agent 9.8.7, commit abc123, go"}},
		{[]string{"explain", "1328"}, 0, []string{"data 530", "0xC000006F", "80012", "what to do"}},
		{[]string{"explain", "52e"}, 0, []string{"1326", "50126"}},
		{[]string{"explain", "data", "532"}, 0, []string{"1330", "50144"}},
		{[]string{"explain", "0xC0000234"}, 0, []string{"775", "50053"}},
		{[]string{"explain", "90031"}, 0, []string{"envelope-replayed", "attack"}},
	} {
		r := execute(t, nil, test.args...)
		if r.code != test.code || r.errOut != "" {
			t.Errorf("%v: %+v", test.args, r)
		}
		for _, want := range test.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%v does not say %q:\n%s", test.args, want, r.out)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	address, caFile := newService(t, time.Hour)
	empty := filepath.Join(t.TempDir(), "state")
	strange := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(strange, []byte("dc: [ldaps://dc1]\nfavourite-colour: blue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env  []string
		args []string
		code int
		want string
	}{
		"no command":                    {nil, nil, exitUsage, "expected one of"},
		"unknown command":               {nil, []string{"dance"}, exitUsage, "dance"},
		"unknown flag":                  {nil, []string{"status", "--loud"}, exitUsage, "loud"},
		"bad enum":                      {nil, []string{"status", "--output", "xml"}, exitUsage, "output"},
		"bad environment":               {[]string{"SALLYPORT_AGENT_LOG_LEVEL=loud"}, []string{"status"}, exitUsage, "log-level"},
		"nothing known":                 {nil, []string{"explain", "fhqwhgads"}, exitFailure, "nothing is known"},
		"again without a token":         {nil, []string{"register", "--again", "--state", empty}, exitUsage, "token"},
		"two tokens":                    {nil, []string{"register", "--service", address, "--token", "a", "--token-file", "b"}, exitUsage, "can't be used together"},
		"token file absent":             {nil, []string{"register", "--service", address, "--token-file", empty}, exitUsage, "token file"},
		"http":                          {nil, []string{"register", "--service", "http://x", "--token", token, "--state", empty}, exitUsage, "only https"},
		"token refused":                 {nil, []string{"register", "--service", address, "--ca-file", caFile, "--token", "spt_wrong", "--state", empty}, exitRefused, "90045"},
		"certificate unknown":           {nil, []string{"register", "--service", address, "--token", token, "--state", empty}, exitFailure, "--ca-file"},
		"run without identity":          {nil, []string{"run", "--dc", "ldaps://dc1", "--state", empty}, exitNotRegistered, "sallyport-agent register"},
		"run without dc":                {nil, []string{"run", "--state", empty}, exitUsage, "--dc"},
		"a site without a domain":       {nil, []string{"run", "--dc", "ldaps://dc1", "--site", "Berlin", "--state", empty}, exitUsage, "add --domain"},
		"a domain that is none":         {nil, []string{"test-signin", "--domain", "corp", "--password-file", strange, "ada@corp.example"}, exitUsage, "such as corp.example"},
		"a site that is none":           {nil, []string{"test-signin", "--domain", "corp.example", "--site", "a.b", "--password-file", strange, "ada@corp.example"}, exitUsage, "letters, digits and hyphens"},
		"doctor, StartTLS alone":        {nil, []string{"doctor", "--dc-starttls", "--state", empty}, exitUsage, "add --domain"},
		"run by domain, no identity":    {[]string{"SALLYPORT_AGENT_DOMAIN=corp.example"}, []string{"run", "--dc-starttls", "--state", empty}, exitNotRegistered, "sallyport-agent register"},
		"run with a CA file of nothing": {nil, []string{"run", "--dc", "ldaps://dc1", "--dc-ca-file", strange, "--state", empty}, exitUsage, "no certificate"},
		"status without identity":       {nil, []string{"status", "--state", empty}, exitNotRegistered, "sallyport-agent register"},
		"unknown setting":               {nil, []string{"run", "--config", strange}, exitUsage, `line 2: "favourite-colour" is not a setting: remove it`},
		"settings file absent":          {[]string{"SALLYPORT_AGENT_CONFIG=/nonexistent"}, []string{"status"}, exitUsage, "nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			r := execute(t, test.env, test.args...)
			if r.code != test.code || !strings.Contains(r.errOut, test.want) {
				t.Fatalf("got %+v, want %d and %q", r, test.code, test.want)
			}
			if strings.Contains(r.errOut+r.out, token) || strings.Contains(r.errOut+r.out, "spt_wrong") {
				t.Errorf("the token was printed: %+v", r)
			}
		})
	}
}

func TestRegisterTwice(t *testing.T) {
	state := register(t, time.Hour)
	address, caFile := newService(t, time.Hour)
	args := []string{"register", "--service", address, "--ca-file", caFile, "--state", state}
	r := execute(t, []string{"SALLYPORT_AGENT_TOKEN=" + token}, args...)
	if r.code != exitUsage || !strings.Contains(r.errOut, "--replace") {
		t.Fatalf("got %+v", r)
	}
	if r = execute(t, []string{"SALLYPORT_AGENT_TOKEN=" + token}, append(args, "--replace")...); r.code != 0 {
		t.Fatalf("got %+v", r)
	}
}

func TestTokenFromStandardInput(t *testing.T) {
	address, caFile := newService(t, time.Hour)
	c := command(t, nil, "register", "--service", address, "--ca-file", caFile, "--token-file", "-", "--state", filepath.Join(t.TempDir(), "state"))
	c.Stdin = strings.NewReader(token + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestUnprotectedStateIsRefused(t *testing.T) {
	state := register(t, time.Hour)
	if err := os.Chmod(filepath.Join(state, "tls.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := execute(t, nil, "run", "--dc", "ldaps://127.0.0.1:1", "--state", state)
	if r.code != exitNotRegistered || !strings.Contains(r.errOut, "mode 0644") || !strings.Contains(r.errOut, "chmod 0600 "+filepath.Join(state, "tls.key")) {
		t.Fatalf("got %+v", r)
	}
}

func TestExpiredCertificate(t *testing.T) {
	state := register(t, 2*time.Second)
	until := time.Now().Add(10 * time.Second)
	for {
		id, err := identity.Open(state)
		if err != nil {
			t.Fatal(err)
		}
		if id.CheckTime(time.Now()) != nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the certificate does not end")
		}
		runtime.Gosched()
	}
	r := execute(t, nil, "run", "--dc", "ldaps://127.0.0.1:1", "--state", state)
	if r.code != exitRefused || !strings.Contains(r.errOut, "expired") || !strings.Contains(r.errOut, "register --again") {
		t.Fatalf("got %+v", r)
	}
}

// The agent starts without gateway and domain controller, says so in its status, and ends well when told to.
func TestRunStatusStop(t *testing.T) {
	state := register(t, time.Hour)
	if r := execute(t, nil, "status", "--state", state); r.code != exitNotAttached || !strings.Contains(r.out, "never run") {
		t.Fatalf("before the first run: %+v", r)
	}
	config := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(config, []byte("state: /nonexistent\ndc:\n  - ldaps://127.0.0.1:1\n  - ldaps://127.0.0.2:1\nslots: 3\nlog-format: json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command(t, []string{"SALLYPORT_AGENT_STATE=" + state}, "run", "--config", config, "--slots=5") // file < environment < command line
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var status shownStatus
	until := time.Now().Add(20 * time.Second)
	for {
		r := execute(t, nil, "status", "--state", state, "--output", "json")
		if r.code == exitNotAttached && json.Unmarshal([]byte(r.out), &status) == nil && status.Running && status.Link.LastError != "" {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("no useful status: %+v\n%s", r, log.String())
		}
	}
	if status.Attached || status.Agent != "a1" || status.PID != c.Process.Pid || status.Link.Address != "127.0.0.1:1" || len(status.Servers) != 2 {
		t.Errorf("status: %+v", status)
	}
	text := execute(t, nil, "status", "--state", state)
	for _, want := range []string{"dc-agent-1", "contoso", "127.0.0.1:1", "certificate", "checks", "127.0.0.2:1"} {
		if !strings.Contains(text.out, want) {
			t.Errorf("status does not say %q:\n%s", want, text.out)
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if !strings.Contains(log.String(), `"msg":"agent stops"`) {
		t.Errorf("log: %s", log.String())
	}
	if r := execute(t, nil, "status", "--state", state); r.code != exitNotAttached || !strings.Contains(r.out, "told to stop") {
		t.Errorf("after the end: %+v", r)
	}
}

func TestExitCodeOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), exitFailure},
		{&usageError{errors.New("x")}, exitUsage},
		{fmt.Errorf("%w: slots", agent.ErrConfig), exitUsage},
		{&link.Refused{Code: wire.AgentRevoked}, exitRefused},
		{&identity.Error{Kind: identity.ErrExpired}, exitRefused},
		{&identity.Error{Kind: identity.ErrClock}, exitFailure},
		{&identity.Error{Kind: identity.ErrRefused}, exitRefused},
		{&identity.Error{Kind: identity.ErrUnreachable}, exitFailure},
		{&identity.Error{Kind: identity.ErrDamaged}, exitNotRegistered},
		{errNotAttached, exitNotAttached},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
	var out bytes.Buffer
	report(&out, &link.Refused{Code: wire.AgentRevoked, Text: "revoked"})
	if !strings.Contains(out.String(), "90042") || !strings.Contains(out.String(), "register --again") {
		t.Errorf("report: %s", out.String())
	}
}

func TestSettings(t *testing.T) {
	for name, text := range map[string]string{
		"nested":        "dc:\n  a: b\n",
		"null":          "dc:\n",
		"list of lists": "dc: [[a]]\n",
		"twice":         "slots: 1\nslots: 2\n",
		"two documents": "slots: 1\n---\nslots: 2\n",
		"a list":        "- slots\n",
		"too large":     "slots: " + strings.Repeat("1", maxSettings),
	} {
		if s, err := parseSettings([]byte(text)); err == nil {
			t.Errorf("%s was read: %v", name, s)
		}
	}
	if s, err := parseSettings(nil); err != nil || len(s.values) != 0 {
		t.Errorf("empty: %v %v", s, err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("dc: [ldaps://dc1]\nslots: 3\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSettings(b)
		if err != nil {
			return
		}
		for key, v := range s.values {
			switch v.(type) {
			case string, []any:
			default:
				t.Fatalf("%s is a %T", key, v)
			}
		}
	})
}

// The agent keeps no database, has no pages and is not the service. Released builds carry the tag: without it gRPC brings a
// debugging page along, and with that the templates.
func TestLinksOnlyWhatItNeeds(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, forbidden := range []string{"html/template", "text/template", "github.com/sallyport-auth/sallyport/service", "github.com/nats-io", "modernc.org", "github.com/jackc"} {
			// database/sql itself, and not its interfaces alone, which a library of identifiers declares itself to satisfy
			if dep == "database/sql" || strings.HasPrefix(dep, forbidden) {
				t.Errorf("the agent links %s", dep)
			}
		}
	}
}

func TestMistypedSettings(t *testing.T) {
	for text, want := range map[string]string{
		"# c\n\nslot: 3\n":                      `line 3: "slot" is not a setting: do you mean "slots"?`,
		"dc_ca_file: x\n":                       `line 1: "dc_ca_file" is not a setting: do you mean "dc-ca-file"?`,
		"slots: 3\ndcs:\n  - a\n":               `line 2: "dcs" is not a setting: do you mean "dc"?`,
		"token: spt_x\n":                        `line 1: "token" is not a setting: it can only be given on the command line`,
		"slots: 1\nslots: 2\n":                  `line 2: mapping key "slots" already defined`,
		"dc: ldaps://dc1\nunrelated-thing: 1\n": `line 2: "unrelated-thing" is not a setting: remove it, or see`,
	} {
		file := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := execute(t, nil, "status", "--config", file)
		if r.code != exitUsage || !strings.Contains(r.errOut, want) || !strings.Contains(r.errOut, file) {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

// What people see of the newest checks: outcome, number, domain controller, time and trace; and never a name, which is not there.
func TestStatusShowsChecks(t *testing.T) {
	now := time.Now()
	s := agent.Status{Written: now, Started: now, Link: agent.Link{State: link.Attached, Reconnects: 2, Failures: 7}, Certificate: now.Add(time.Hour),
		Validator: &agent.Asked{Choice: agent.Choice{Kind: agent.Kerberos, Why: "a keytab"}, Realm: "CORP.EXAMPLE", KDCs: []agent.KDC{{Address: "dc1:88", Latency: &agent.Latency{Answers: 7, MedianMS: 9.5, P95MS: 11}}, {Address: "dc2:88", LastError: "refused"}}},
		Servers: []agent.Server{{Address: "dc1:636", State: "serving", Latency: &agent.Latency{Answers: 40, MedianMS: 3.21, P95MS: 12.5}, Found: true, PingMS: 0.75,
			Why: "the fastest of 2 of equal rank"}},
		DNS: &agent.DNS{Domain: "corp.example", Site: "Berlin", SiteLearned: true, Named: []string{"dc1", "dc2"}, LeftOut: 3, Foreign: []string{"dc.evil.example"}, LastError: "server misbehaving"},
		Recent: []agent.Finished{
			{At: now, Trace: "4bf9", Outcome: agent.Right, Reason: "accepted", DC: "dc1:636", TookMS: 5.25},
			{At: now, Outcome: agent.NotAccepted, Reason: "password_expired", DC: "dc1:636", TookMS: 5.25},
			{At: now, Trace: "77aa", Outcome: agent.Trouble, Reason: "directory-unreachable", Code: 80007},
			{At: now, Trace: "old", Outcome: agent.Wrong},
		}}
	var out bytes.Buffer
	if err := printStatus(&out, s, now, 3); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 reconnects, 7 failed tries", "answers in 3.21 ms (median of the last 40), 12.5 ms", "right, dc1:636 in 5.25 ms, trace 4bf9",
		"names dc1, dc2 for corp.example and 3 more", "this host is in the site Berlin", "not used: dc.evil.example", "server misbehaving; what was found before stays in use",
		"chosen: the fastest of 2 of equal rank", "a question takes 0.75 ms",
		"kerberos: a keytab", "realm CORP.EXAMPLE, proven by NOTHING", "dc1:88 in order", "answers in 9.5 ms (median of the last 7), 11 ms", "dc2:88 refused",
		"not accepted, password_expired, dc1:636 in 5.25 ms, trace none", "trouble, directory-unreachable (80007), trace 77aa"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "old") {
		t.Errorf("more checks than asked for:\n%s", out.String())
	}
	// What a check lacked is told as long as it is newer than the last reading; a name server that has never named anybody keeps nobody in use.
	s.Guard = &agent.Guard{State: ldap.GuardReading, Reader: "reader@corp.example", ReadAt: now.Add(-time.Minute), LastError: "dc1:636: busy", LastErrorAt: now}
	s.DNS.Named = nil
	out.Reset()
	if err := printStatus(&out, s, now, 0); err != nil || !strings.Contains(out.String(), "dc1:636: busy") || strings.Contains(out.String(), "stays in use") {
		t.Errorf("%v\n%s", err, out.String())
	}
	s.Guard.ReadAt = now.Add(time.Second)
	out.Reset()
	if err := printStatus(&out, s, now, 0); err != nil || strings.Contains(out.String(), "dc1:636: busy") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	s.Validator = &agent.Asked{Choice: agent.Choice{Kind: agent.Windows, Why: "a member"}, Domain: "corp.example"}
	if err := printStatus(&out, s, now, 0); err != nil || !strings.Contains(out.String(), "windows: a member") || !strings.Contains(out.String(), "member of corp.example") || strings.Contains(out.String(), "realm") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
