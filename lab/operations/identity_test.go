//go:build linux

package operations_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/service/admin"
)

// shown is the one agent of a site as the fleet shows it.
func (s *site) shown(t *testing.T) admin.Agent {
	t.Helper()
	var all []admin.Agent
	// Behind the list, on standard error, a warning says that one agent is few.
	noError(t, json.NewDecoder(strings.NewReader(s.command(t, "agent", "list", "-o", "json"))).Decode(&all))
	if len(all) != 1 {
		t.Fatalf("%d agents: %+v", len(all), all)
	}
	return all[0]
}

// release makes a token for the one agent, in a file.
func (s *site) release(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "release.txt")
	s.command(t, "agent", "release", s.agent(t), "--file", file)
	return file
}

// again registers the agent of a state folder anew as the same.
func (s *site) again(t *testing.T, state, token string) {
	t.Helper()
	succeeds(t, sallyportAgent, "register", "--again", "--token-file", token, "--state", state)
}

// copied is a copy of a state folder, as a cloned machine has one.
func copied(t *testing.T, state string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "state")
	clone(t, state, to)
	return to
}

// TestCopiedAgentFreezesBoth: a second host with a copy of a running agent's state ends both with 90060; the fleet shows it, the log and a
// number tell it; a usual token lets neither back in; and the token of a release lets exactly one host go on, as the same agent.
func TestCopiedAgentFreezesBoth(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	genuine := attend(t, state)
	genuine.attached()
	before := s.shown(t)
	theirs := copied(t, state)
	thief := attend(t, theirs)
	genuine.refuses(3, "90060", "what to do:", "sallyport agent release")
	thief.refuses(3, "90060")
	got := s.shown(t)
	if got.State != "quarantined" || !strings.Contains(got.StateReason, "was alive") || got.Connected {
		t.Errorf("in the fleet: %+v", got)
	}
	s.service.says("level=ERROR", "two holders; both are frozen")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	if _, body := get(client, "http://"+s.service.addresses().monitor+"/metrics"); !strings.Contains(body, `sallyport_gateway_identity_alarms_total{kind="clone"} 1`) {
		t.Error("no alarm in the metrics")
	}
	attend(t, state).refuses(3, "90060")
	run(t, nil, sallyportAgent, "register", "--again", "--token-file", s.token(t), "--state", theirs).refuses(3, "90060", "agent release")

	token := s.release(t)
	s.again(t, state, token)
	back := attend(t, state)
	back.attached()
	if after := s.shown(t); after.ID != before.ID || after.Name != before.Name || after.State != "active" || after.KeyID == before.KeyID {
		t.Errorf("came back as %+v, was %+v", after, before)
	}
	run(t, nil, sallyportAgent, "register", "--again", "--token-file", token, "--state", theirs).refuses(3, "90045")
	attend(t, theirs).refuses(3, "90062", "what to do:")
	if got := s.shown(t); got.State != "active" {
		t.Errorf("the copy's old keys changed the state to %s", got.State)
	}
	if h := s.command(t, "agent", "history", s.agent(t)); !strings.Contains(h, "clone") || !strings.Contains(h, "release") || !strings.Contains(h, "reregister") {
		t.Errorf("history:\n%s", h)
	}
}

// TestRestoredAgentIsToldSo: a state folder that is older than what the service knows, with nobody else about, ends with 90061 and words, and
// harms nobody; register --again takes it up.
func TestRestoredAgentIsToldSo(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	p.stop()
	snapshot := copied(t, state)
	p = attend(t, state)
	p.attached()
	p.stop()
	before := s.shown(t)
	attend(t, snapshot).refuses(3, "90061", "reset to a snapshot", "what to do:", "register --again")
	if got := s.shown(t); got.State != "active" {
		t.Errorf("the fleet says %s", got.State)
	}
	p = attend(t, state) // the newer state is still good
	p.attached()
	p.stop()
	s.again(t, snapshot, s.token(t))
	attend(t, snapshot).attached()
	if after := s.shown(t); after.ID != before.ID || after.Name != before.Name {
		t.Errorf("came back as %+v, was %+v", after, before)
	}
}

// TestOlderCopyWhileAttached: an older copy that comes while the agent is attached freezes both.
func TestOlderCopyWhileAttached(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	p.stop()
	old := copied(t, state)
	p = attend(t, state)
	p.attached()
	attend(t, old).refuses(3, "90061")
	p.refuses(3, "90060")
	if got := s.shown(t); got.State != "quarantined" {
		t.Errorf("the fleet says %s", got.State)
	}
}

// TestKilledAgentIsNoCopy: an agent that is killed and started at once, over and over, is attached each time.
func TestKilledAgentIsNoCopy(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	for range 8 {
		p := attend(t, state)
		p.attached()
		noError(t, p.cmd.Process.Kill())
		<-p.done
	}
	attend(t, state).attached()
	if got := s.shown(t); got.State != "active" {
		t.Errorf("the fleet says %s: %s", got.State, got.StateReason)
	}
}

// TestSecondAgentOnOneFolder: a mistake in a unit is told and freezes nobody.
func TestSecondAgentOnOneFolder(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	attend(t, state).refuses(2, "an agent runs with", "what to do: stop it first")
	run(t, nil, sallyportAgent, s.register(state, s.token(t), "--replace")...).refuses(2, "an agent runs with")
	if got := s.shown(t); got.State != "active" || !got.Connected {
		t.Errorf("the fleet says %+v", got)
	}
}

// TestComingBackAfterRemoval: a removed agent is told so, and comes back with its id, its name and its history; one that was revoked
// before it was removed does not.
func TestComingBackAfterRemoval(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	s.command(t, "agent", "rename", s.agent(t), "berlin-1")
	before := s.shown(t)
	s.command(t, "agent", "remove", "berlin-1")
	p.refuses(3, "90043", "register --again")
	s.again(t, state, s.token(t))
	p = attend(t, state)
	p.attached()
	after := s.shown(t)
	if after.ID != before.ID {
		t.Errorf("came back as %s, was %s", after.ID, before.ID)
	}
	if h := s.command(t, "agent", "history", after.Name); !strings.Contains(h, "remove") || !strings.Contains(h, "reregister") {
		t.Errorf("history:\n%s", h)
	}
	s.command(t, "agent", "revoke", after.Name, "--reason", "stolen")
	p.refuses(3, "90042", "agent release")
	run(t, nil, sallyportAgent, "register", "--again", "--token-file", s.token(t), "--state", state).refuses(3, "90042", "agent release")
	s.command(t, "agent", "remove", after.Name)
	run(t, nil, sallyportAgent, "register", "--again", "--token-file", s.token(t), "--state", state).refuses(3, "90063", "what to do:")
}

// TestReleaseWithoutState: a host that has lost its state folder takes its agent up with the token of a release.
func TestReleaseWithoutState(t *testing.T) {
	s := newSite(t)
	state := s.registered(t)
	before := s.shown(t)
	noError(t, os.RemoveAll(state))
	succeeds(t, sallyportAgent, s.register(state, s.release(t), "--again")...)
	attend(t, state).attached()
	if after := s.shown(t); after.ID != before.ID || after.Name != before.Name {
		t.Errorf("came back as %+v, was %+v", after, before)
	}
}

// TestDrainedAgent: a drained agent stays connected and drained, over restarts of agent and service, until it is resumed.
func TestDrainedAgent(t *testing.T) {
	data, _ := template.data(t)
	s := startSite(t, data)
	state := s.registered(t)
	p := attend(t, state)
	p.attached()
	s.command(t, "agent", "drain", s.agent(t))
	s.service.await("the gateway has heard of it", func() bool { return strings.Contains(s.service.words(), "agent drained or resumed") })
	if got := s.shown(t); got.State != "drained" || !got.Connected {
		t.Errorf("drained: %+v", got)
	}
	p.stop()
	p = attend(t, state)
	p.attached()
	if got := s.shown(t); got.State != "drained" || !got.Connected {
		t.Errorf("after the agent's restart: %+v", got)
	}
	s.service.says("drained=true")
	p.stop()
	s.service.stop()
	s = startSite(t, data)
	if got := s.shown(t); got.State != "drained" {
		t.Errorf("after the service's restart: %+v", got)
	}
	s.command(t, "agent", "resume", s.agent(t))
	if got := s.shown(t); got.State != "active" {
		t.Errorf("resumed: %+v", got)
	}
}

// TestExpiredAgentComesBack: a certificate that ended while the agent was off is told at its start with the way back, which keeps the agent.
func TestExpiredAgentComesBack(t *testing.T) {
	data, _ := template.data(t)
	s := startSite(t, data, "--set", "agents.certificate_life=30s")
	state := s.registered(t)
	before := s.shown(t)
	id, err := identity.Open(state)
	noError(t, err)
	<-time.After(time.Until(id.NotAfter()) + time.Second) // until the certificate has ended, which is what this is about
	attend(t, state).refuses(3, "certificate has expired", "register --again")
	s.again(t, state, s.token(t))
	p := attend(t, state)
	p.attached()
	if after := s.shown(t); after.ID != before.ID || after.Name != before.Name {
		t.Errorf("came back as %+v, was %+v", after, before)
	}
	p.await("it renews by itself", func() bool { return strings.Contains(p.words(), "certificate renewed") })
}

// TestCounterOnFullDisk: an agent whose disk is full connects, and is started again, as ever: its number has a place of its own.
func TestCounterOnFullDisk(t *testing.T) {
	rooted(t)
	s := newSite(t)
	state := filepath.Join(t.TempDir(), "state")
	noError(t, os.Mkdir(state, 0o700))
	mounted(t, "tmpfs", state, "tmpfs", 0, "size=256k,mode=700")
	succeeds(t, sallyportAgent, s.register(state, s.token(t))...)
	start := func() {
		t.Helper()
		p := attend(t, state)
		p.attached()
		p.stop()
	}
	start()
	fill, err := os.Create(filepath.Join(state, "fill"))
	noError(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	noError(t, fill.Close())
	start()
	start()
	if got := s.shown(t); got.State != "active" {
		t.Errorf("the fleet says %+v", got)
	}
}

// TestReadOnlyDiskIsSaid: an agent that cannot store its number works, says so, and stores it as soon as it can.
func TestReadOnlyDiskIsSaid(t *testing.T) {
	rooted(t)
	s := newSite(t)
	state := s.registered(t)
	undo := readOnly(t, state)
	p := attend(t, state)
	p.attached()
	p.says("the number of this connection could not be stored")
	undo()
	p.await("the number is stored", func() bool { _, err := os.Stat(filepath.Join(state, "counter")); return err == nil })
	p.stop()
	attend(t, state).attached()
}
