//go:build linux

package operations_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// site is a service that runs with a directory, and the way to make agents of it.
type site struct {
	service       *program
	data, publicS string
}

// newSite runs a service until the end of the test.
func newSite(t *testing.T) *site {
	t.Helper()
	data, _ := template.data(t)
	return startSite(t, data)
}

// startSite runs a service over a data folder, which has a directory then.
func startSite(t *testing.T, data string, more ...string) *site {
	t.Helper()
	s := &site{service: serve(t, data, more...), data: data}
	s.service.ready()
	_, port, _ := strings.Cut(s.service.addresses().signin, ":")
	s.publicS = "https://localhost:" + port
	if !strings.Contains(s.command(t, "directory", "list"), "corp") {
		s.command(t, "directory", "create", "corp")
	}
	return s
}

// command runs the service's command line against it.
func (s *site) command(t *testing.T, args ...string) string {
	t.Helper()
	args = append(args, "--server", "https://"+s.service.addresses().admin, "--tenant", "contoso")
	return succeeds(t, sallyport, append(args, settings(s.data)...)...)
}

// token makes a token that is good for one registration, in a file.
func (s *site) token(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "token.txt")
	s.command(t, "agent", "token", "create", "--directory", "corp", "--uses", "1", "--life", "1h", "--file", file)
	return file
}

// register are the arguments of a registration.
func (s *site) register(state, token string, more ...string) []string {
	return append([]string{"register", "--service", s.publicS, "--ca-file", filepath.Join(s.data, "local-ca", "ca-certificate.pem"),
		"--token-file", token, "--state", state}, more...)
}

// registered makes a state folder.
func (s *site) registered(t *testing.T, more ...string) (state string) {
	t.Helper()
	state = filepath.Join(t.TempDir(), "state")
	succeeds(t, sallyportAgent, s.register(state, s.token(t), more...)...)
	return state
}

// TestSecondAgentOnOneHost: it is refused with the reason and the way round, its token stays good, and by the way round it joins.
func TestSecondAgentOnOneHost(t *testing.T) {
	s := newSite(t)
	first := s.registered(t)
	token, state := s.token(t), filepath.Join(t.TempDir(), "state")
	run(t, nil, sallyportAgent, s.register(state, token)...).refuses(3, "90072", "is on", "--instance NAME")
	run(t, nil, sallyportAgent, s.register(state, token, "--instance", "Two!")...).refuses(2, "--instance", "lower-case")
	succeeds(t, sallyportAgent, s.register(state, token, "--instance", "two")...)
	for _, folder := range []string{first, state} {
		attend(t, folder).attached()
	}
	if out := s.command(t, "agent", "list"); strings.Count(out, "yes") != 2 || !strings.Contains(out, "-two") {
		t.Error(out)
	}
}

// attend runs an agent. No domain controller is there, which keeps it from nothing that is looked at here.
func attend(t *testing.T, state string) *program {
	t.Helper()
	return run(t, nil, sallyportAgent, "run", "--state", state, "--dc", "ldaps://127.0.0.1:1")
}

func (p *program) attached() {
	p.t.Helper()
	p.await("it is attached", func() bool { return strings.Contains(p.words(), "attached to gateway") })
}

// TestStateFolderRefused: a broken file in the state folder ends the agent with exit code 4, what is wrong and what to do; it
// changes nothing; and with the file back the agent is at work again.
func TestStateFolderRefused(t *testing.T) {
	s := newSite(t)
	good := s.registered(t)
	swapped := func(other string) breakage {
		return breakage{"swapped with " + other, func(t *testing.T, path string) {
			to := filepath.Join(filepath.Dir(path), other)
			noError(t, os.Rename(path, path+".swap"))
			noError(t, os.Rename(to, path))
			noError(t, os.Rename(path+".swap", to))
		}}
	}
	foreign := s.registered(t, "--instance", "foreign")
	ofAnother := func(file string) breakage {
		return breakage{"of another agent", func(t *testing.T, path string) {
			text, err := os.ReadFile(filepath.Join(foreign, file))
			noError(t, err)
			overwrite(t, path, text)
		}}
	}
	damaged := []string{"the state folder is damaged", "what to do: run sallyport agent release NAME"}
	wide := []string{"which lets others in", "what to do: chmod 0"}
	type row struct {
		file  string
		how   breakage
		words []string
	}
	rows := []row{
		{"tls.key", swapped("envelope.key"), damaged},
		{"agent.json", swapped("certificate.pem"), damaged},
		{".", breakage{"open to others", func(t *testing.T, path string) { noError(t, os.Chmod(path, 0o755)) }}, wide},
		{".", breakage{"lost", func(t *testing.T, path string) { noError(t, os.RemoveAll(path)) }}, []string{"not registered", "what to do: make a token"}},
		{"tls.key", breakage{"a folder", func(t *testing.T, path string) {
			noError(t, os.Remove(path))
			noError(t, os.Mkdir(path, 0o700))
		}}, []string{"is not an ordinary file", "what to do: remove it"}},
	}
	for _, file := range []string{"agent.json", "certificate.pem", "envelope.key", "tls.key"} {
		for _, how := range []breakage{halved, emptied, garbage, lost, ofAnother(file)} {
			rows = append(rows, row{file, how, damaged})
		}
		rows = append(rows, row{file, open, wide})
	}
	for _, c := range rows {
		t.Run(c.file+" "+c.how.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			clone(t, good, state)
			c.how.do(t, filepath.Join(state, c.file))
			if c.how.name != "lost" || c.file != "." {
				before := contents(t, state)
				attend(t, state).refuses(4, c.words...)
				unchanged(t, state, before)
			} else {
				attend(t, state).refuses(4, c.words...)
			}
			noError(t, os.RemoveAll(state))
			clone(t, good, state)
			p := attend(t, state)
			p.attached()
			p.stop()
			remember(t, good, state)
			if code := p.code(); code != 0 {
				t.Errorf("exit code %d at the end:\n%s", code, p.words())
			}
		})
	}
}

// remember takes over the number of the last connection, so that a copy of good is not an older state of the agent than the service knows.
func remember(t *testing.T, good, state string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(state, "counter"))
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(good, "counter"), text, 0o600))
}

// TestStateFolderHeals: what is no part of the identity keeps no agent from work.
func TestStateFolderHeals(t *testing.T) {
	s := newSite(t)
	good := s.registered(t)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, state string)
	}{
		{"broken status", func(t *testing.T, d string) {
			noError(t, os.WriteFile(filepath.Join(d, "status.json"), []byte("{"), 0o600))
		}},
		{"random status", func(t *testing.T, d string) {
			noError(t, os.WriteFile(filepath.Join(d, "status.json"), random(500), 0o600))
		}},
		{"half-written files beside the real ones", func(t *testing.T, d string) {
			noError(t, os.WriteFile(filepath.Join(d, ".new-1234"), []byte("-----BEGIN PRIV"), 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			clone(t, good, state)
			c.spoil(t, state)
			if _, err := os.Stat(filepath.Join(state, "status.json")); err == nil {
				run(t, nil, sallyportAgent, "status", "--state", state).refuses(1, "status.json", "start the agent, or remove the file")
			}
			p := attend(t, state)
			p.attached()
			p.await("the status is good again", func() bool {
				text, err := os.ReadFile(filepath.Join(state, "status.json"))
				return err == nil && bytes.Contains(text, []byte(`"written"`))
			})
			p.stop()
			remember(t, good, state)
			run(t, nil, sallyportAgent, "status", "--state", state).refuses(5, "told to stop")
		})
	}
}

// TestStatusOfTomorrow: after the clock was set back, a status of the future does not pass for an agent that runs.
func TestStatusOfTomorrow(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	file := filepath.Join(state, "status.json")
	p.await("a status", func() bool { _, err := os.Stat(file); return err == nil })
	noError(t, p.cmd.Process.Kill())
	<-p.done
	text, err := os.ReadFile(file)
	noError(t, err)
	today := time.Now().Format("2006-01-02T")
	later := strings.ReplaceAll(string(text), `"written": "`+today, `"written": "`+time.Now().AddDate(0, 0, 1).Format("2006-01-02T"))
	if later == string(text) {
		t.Fatalf("no time of writing in the status:\n%s", text)
	}
	overwrite(t, file, []byte(later))
	run(t, nil, sallyportAgent, "status", "--state", state).refuses(5, "gone without a word")
	p = attend(t, state)
	p.attached()
}

// issued makes a state folder whose certificate holds for a time of our choice.
func issued(t *testing.T, notBefore, notAfter time.Time) (state string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	opener, err := envelope.GenerateKey()
	noError(t, err)
	who := wire.AgentIdentity{TrustDomain: "localhost", Tenant: "t1", Agent: "a1"}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "agent"}, NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
		URIs: []*url.URL{who.URI()}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	noError(t, err)
	certificate, err := x509.ParseCertificate(der)
	noError(t, err)
	id, err := identity.New(identity.Facts{Service: "https://localhost:1", Gateway: "localhost:1", TenantID: "t1", TenantName: "contoso",
		DirectoryID: "d1", DirectoryName: "corp", AgentID: "a1", AgentName: "agent", TrustDomain: "localhost", Registered: notBefore}, key,
		[]*x509.Certificate{certificate}, opener)
	noError(t, err)
	state = filepath.Join(t.TempDir(), "state")
	noError(t, identity.Save(state, id, false))
	return state
}

// TestAgentCertificateOutOfTime: a certificate that has ended needs a person (3); one that has not begun is a clock that may be
// set at any moment (1), so that the unit tries again.
func TestAgentCertificateOutOfTime(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	attend(t, issued(t, now.AddDate(0, 0, -31), now.AddDate(0, 0, -1))).refuses(3, "certificate has expired", "what to do:", "register --again")
	attend(t, issued(t, now.AddDate(0, 0, 1), now.AddDate(0, 0, 31))).refuses(1, "clock is wrong", "what to do: set it (NTP)")
}

// TestAgentRefusedForGood: a revoked agent ends with 3 and words, again at each start, and comes back with a new token.
func TestAgentRefusedForGood(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	s.command(t, "agent", "revoke", s.agent(t), "--reason", "test")
	p.refuses(3, "90042", "what to do:")
	attend(t, state).refuses(3, "90042", "what to do:")
	succeeds(t, sallyportAgent, s.register(state, s.token(t), "--replace", "--name", "again")...)
	attend(t, state).attached()
}

// agent is the name that agents register with by default: the host's.
func (s *site) agent(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	noError(t, err)
	return name
}

// TestRegistrationWithoutRoom: a disk that is full is met before the token is spent, so that it is still good when there is room.
func TestRegistrationWithoutRoom(t *testing.T) {
	rooted(t)
	s := newSite(t)
	token := s.token(t)
	state := filepath.Join(t.TempDir(), "state")
	noError(t, os.Mkdir(state, 0o700))
	undo := mounted(t, "tmpfs", state, "tmpfs", 0, "size=8k,mode=700")
	run(t, nil, sallyportAgent, s.register(state, token)...).refuses(1, "state folder cannot be written", "no space left", "what to do: make room")
	if left := contents(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	undo()
	noError(t, syscall.Mount("tmpfs", state, "tmpfs", syscall.MS_RDONLY, "size=1m,mode=700"))
	run(t, nil, sallyportAgent, s.register(state, token)...).refuses(1, "state folder cannot be written", "read-only", "what to do:", "mount it writable")
	noError(t, syscall.Unmount(state, 0))
	succeeds(t, sallyportAgent, s.register(state, token)...)
	attend(t, state).attached()
}

// TestAgentOnReadOnlyState: an agent needs to write nothing in order to work; it says once that its status cannot be written.
func TestAgentOnReadOnlyState(t *testing.T) {
	rooted(t)
	s := newSite(t)
	state := s.registered(t)
	before := contents(t, state)
	undo := readOnly(t, state)
	p := attend(t, state)
	p.attached()
	p.await("a word about the status", func() bool { return strings.Contains(p.words(), "the status file cannot be written") })
	unchanged(t, state, before)
	undo()
	p.await("the status is written again", func() bool { _, err := os.Stat(filepath.Join(state, "status.json")); return err == nil })
}

// readOnly makes what lies below a folder read-only, as a file system is after an error of its disk.
func readOnly(t *testing.T, dir string) (undo func()) {
	t.Helper()
	mounted(t, dir, dir, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND, ""); err != nil {
			t.Error(err)
		}
	})
}

// TestAgentAsAnotherUser: another user's state folder is refused with both users' numbers.
func TestAgentAsAnotherUser(t *testing.T) {
	rooted(t)
	state := issued(t, time.Now(), time.Now().Add(time.Hour))
	reachable(t, state)
	run(t, nobody, sallyportAgent, "run", "--state", state, "--dc", "ldaps://127.0.0.1:1").refuses(4, "belongs to uid 0", "runs as uid 65534", "what to do:")
}

// reachable lets every user pass through the folders above a path, but not into it.
func reachable(t *testing.T, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		noError(t, os.Chmod(dir, 0o755))
	}
}

// TestAgentSettings: what is wrong with the settings ends with 2 before anything is dialled.
func TestAgentSettings(t *testing.T) {
	state := issued(t, time.Now(), time.Now().Add(time.Hour))
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"--dc", "ldaps://127.0.0.1:1", "--dc-ca-file", "/does/not/exist.pem"}, []string{"CA file", "/does/not/exist.pem"}},
		{[]string{"--dc", "http://dc1"}, []string{"http://dc1"}},
		{[]string{"--dc", "ldaps://127.0.0.1:1", "--config", "/does/not/exist.yaml"}, []string{"/does/not/exist.yaml"}},
	} {
		run(t, nil, sallyportAgent, append([]string{"run", "--state", state}, c.args...)...).refuses(2, c.words...)
	}
}

// TestFleetInMetrics: what alerts on agents wait for is what happens to agents.
func TestFleetInMetrics(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	shown := func(series string) (value float64) {
		t.Helper()
		_, body := get(client, "http://"+s.service.addresses().monitor+"/metrics")
		for line := range strings.Lines(body) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
				value, err := strconv.ParseFloat(text, 64)
				noError(t, err)
				return value
			}
		}
		t.Fatalf("%s is not shown", series)
		return 0
	}
	const agents, expiry = "sallyport_gateway_attached_agents", "sallyport_gateway_agent_certificate_expiry_timestamp_seconds"
	if shown(agents) != 0 || shown(expiry) != 0 {
		t.Errorf("before: %v agents, until %v", shown(agents), shown(expiry))
	}
	p := attend(t, state)
	p.attached()
	id, err := identity.Open(state)
	noError(t, err)
	if shown(agents) != 1 || shown(expiry) != float64(id.NotAfter().Unix()) {
		t.Errorf("attached: %v agents, until %v, not %v", shown(agents), shown(expiry), id.NotAfter().Unix())
	}
	s.command(t, "agent", "revoke", s.agent(t), "--reason", "test")
	p.refuses(3, "90042")
	s.service.await("the agent is gone", func() bool { return shown(agents) == 0 && shown(expiry) == 0 })
	attend(t, state).refuses(3, "90042")
	if got := shown(`sallyport_gateway_refused_agents_total{code="90042"}`); got < 1 {
		t.Errorf("%v agents were refused", got)
	}
}

// TestExaminedByRoot: root looks at another user's agent as that user, and leaves nothing of its own behind; the archive for support is root's.
func TestExaminedByRoot(t *testing.T) {
	rooted(t)
	state := issued(t, time.Now(), time.Now().Add(time.Hour))
	reachable(t, state)
	for _, path := range append([]string{"."}, slices.Collect(maps.Keys(contents(t, state)))...) {
		noError(t, os.Chown(filepath.Join(state, path), int(nobody.Uid), int(nobody.Gid)))
	}
	before := contents(t, state)
	archive := filepath.Join(t.TempDir(), "b.tar.gz")
	run(t, nil, sallyportAgent, "doctor", "--state", state, "--dc", "ldaps://127.0.0.1:1").refuses(1, "state folder "+state+": agent agent (a1)", "connection refused")
	succeeds(t, sallyportAgent, "logs", "bundle", "--state", state, "--dc", "ldaps://127.0.0.1:1", "--file", archive)
	unchanged(t, state, before)
	text, err := exec.CommandContext(t.Context(), "tar", "-xOzf", archive).Output()
	noError(t, err)
	if !strings.Contains(string(text), "agent agent (a1) of tenant contoso") || !strings.Contains(string(text), "65534:65534") {
		t.Errorf("the archive: %s", text)
	}
	info, err := os.Stat(archive)
	noError(t, err)
	if info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the archive is %v of uid %d", info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
	}
}
