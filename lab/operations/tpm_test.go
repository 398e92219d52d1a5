//go:build linux

package operations_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/hardware/hardwaretest"
)

// TestAgentMovesIntoTheTPM: an agent with keys in files is not renewed once its tenant demands hardware, moves into the TPM with its name,
// says so everywhere, and its folder is of no use with another TPM or without one; files are refused from then on.
func TestAgentMovesIntoTheTPM(t *testing.T) {
	tpm, other := hardwaretest.Start(t), hardwaretest.Start(t)
	s := newSite(t)
	state := s.registered(t)
	keys := func(args ...string) string {
		t.Helper()
		args = append(append([]string{"tenant", "keys"}, args...), "--server", "https://"+s.service.addresses().admin)
		return succeeds(t, sallyport, append(args, settings(s.data)...)...)
	}
	if said := keys("show", "contoso"); !strings.Contains(said, "file") {
		t.Errorf("at first: %s", said)
	}
	keys("set", "contoso", "--require", "hardware")
	before := s.shown(t)
	if before.KeyStore != "file" || !before.KeyStoreRefused {
		t.Errorf("in the fleet: %+v", before)
	}
	p := attend(t, state)
	p.attached()
	s.command(t, "agent", "renew", before.Name)
	p.await("the refusal of its renewal", func() bool { return strings.Contains(p.words(), "90100") })
	p.stop()

	token := s.token(t)
	run(t, nil, sallyportAgent, s.register(filepath.Join(t.TempDir(), "new"), token)...).refuses(3, "90100", "--key-store tpm")
	run(t, nil, sallyportAgent, "register", "--again", "--token-file", token, "--state", state).refuses(3, "90100")
	run(t, nil, sallyportAgent, "register", "--again", "--key-store", "tpm", "--tpm-device", filepath.Join(t.TempDir(), "none"), "--token-file", token, "--state", state).
		refuses(1, "no security module", "what to do:")
	// The token has been used by none of these.
	succeeds(t, sallyportAgent, "register", "--again", "--key-store", "tpm", "--tpm-device", tpm.Device, "--token-file", token, "--state", state)
	p = attend(t, state)
	p.attached()
	if after := s.shown(t); after.ID != before.ID || after.KeyStore != "tpm" || after.KeyStoreRefused {
		t.Errorf("moved: %+v", after)
	}
	status := run(t, nil, sallyportAgent, "status", "--state", state)
	status.code() // it may have been written a moment before the agent was attached
	status.says("key store          tpm")
	p.stop()
	examined := run(t, nil, sallyportAgent, "doctor", "--state", state, "--dc", "ldaps://127.0.0.1:1")
	examined.refuses(1, "in this host's TPM") // for want of a domain controller

	theirs := copied(t, state)
	facts := filepath.Join(theirs, "agent.json")
	text, err := os.ReadFile(facts)
	noError(t, err)
	noError(t, os.WriteFile(facts, []byte(strings.ReplaceAll(string(text), tpm.Device, other.Device)), 0o600))
	attend(t, theirs).refuses(4, "the keys are of another security module", "what to do:")
	run(t, nil, sallyportAgent, "doctor", "--state", theirs, "--dc", "ldaps://127.0.0.1:1").refuses(1, "the keys are of another security module")
	attend(t, state).attached()
}
