package demo

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/process"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestDemandsCoverEveryReason: whatever a directory can answer about the people of the lab has a demand.
func TestDemandsCoverEveryReason(t *testing.T) {
	for _, s := range people.States() {
		for _, right := range []bool{true, false} {
			if _, ok := demands[s.Answer(right)]; !ok {
				t.Errorf("nothing is demanded for %s", s.Answer(right))
			}
		}
	}
	for reason, d := range demands {
		if !reason.ProvesPassword() && d.shown != wire.InvalidPassword {
			t.Errorf("%s would tell a stranger something: %d is shown", reason, d.shown)
		}
	}
}

// TestCheckFindsWhatIsWrong plants a person whose account is not what the table says, and an agent that is not there.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	var out bytes.Buffer
	w := startWorld(t, Options{})
	w.options.Out = &out
	w.directory.people = []people.Person{
		{SAM: "alice", UPN: "alice@" + evaluationDomain, Password: wire.NewSecret([]byte("not hers")), State: people.Normal},
		{SAM: "disabled", UPN: "disabled@" + evaluationDomain, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal},
	}
	passed, failed, err := w.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// alice right, disabled right, and the plays that use alice with all agents but one.
	if failed != 3 || passed < 6 {
		t.Errorf("%d passed, %d failed:\n%s", passed, failed, out.String())
	}
	for _, want := range []string{"alice (normal): the page says", "disabled (normal): the page says", "after one agent was killed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the check does not complain of %q:\n%s", want, out.String())
		}
	}
}

// TestDataIsKept: a second demonstration in the same folder has the same tenant, agents and users; ports that were taken at the
// first start were avoided and said.
func TestDataIsKept(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:8443")
	if err == nil {
		defer taken.Close()
	}
	dir := filepath.Join(t.TempDir(), "kept")
	var first bytes.Buffer
	run := func(out *bytes.Buffer) (issuer string, agents map[string]string) {
		w, err := Start(t.Context(), Options{Data: dir, Out: out})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		transport, err := w.transport()
		if err != nil {
			t.Fatal(err)
		}
		p := w.directory.people[0]
		saw, err := visitor.New(w.app(), transport).
			SignIn(t.Context(), p.UPN, string(p.Password.Reveal()))
		if err != nil || saw.SignedIn != p.UPN {
			t.Fatalf("%s: %+v, %v", p.UPN, saw, err)
		}
		if agents, err = w.agentNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.Issuer(), agents
	}
	issuer, agents := run(&first)
	if !regexp.MustCompile(`port 8443 is taken .* the sign-in page uses \d+`).MatchString(first.String()) {
		t.Errorf("nothing was said of the taken port:\n%s", first.String())
	}
	again, agentsAgain := run(&bytes.Buffer{})
	if issuer != again || len(agents) != agentCount+1 || len(agentsAgain) != len(agents) {
		t.Errorf("first %s with %v, then %s with %v", issuer, agents, again, agentsAgain)
	}
	if _, err := Start(t.Context(), Options{Data: dir, Directory: "samba"}); err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("another directory in the same folder: %v", err)
	}
}

// TestNothingIsLeft: after Close no child lives and a temporary folder is gone.
func TestNothingIsLeft(t *testing.T) {
	w, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir, children := w.data, append([]*process.Process{w.sample}, w.agents...)
	w.Close()
	for _, p := range children {
		if p.Alive() {
			t.Errorf("%s lives on", p.Name())
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s was left behind: %v", dir, err)
	}
}

// TestCancelledStart ends cleanly, whatever it had begun.
func TestCancelledStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w, err := Start(ctx, Options{}); err == nil {
		w.Close()
		t.Error("a demonstration started although it was told to stop")
	}
}
