package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
)

// TestAgentsTellOfSignIns: after a right and a wrong password the agents' own statuses have both, with trace, domain controller and times, and
// without the name; and what is packed for support has the same trace and no name either.
func TestAgentsTellOfSignIns(t *testing.T) {
	w := startWorld(t, Options{})
	transport, err := w.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	person := w.directory.people[0]
	for _, password := range []string{people.WrongPassword, string(person.Password.Reveal())} {
		if _, err := visitor.New(w.app(), transport).SignIn(t.Context(), person.UPN, password); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), w.agentProgram, args...).CombinedOutput()
		if err != nil && args[0] != "status" { // whose first file may be of before it was attached
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// A status is written every few seconds.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		outcomes, text := map[agent.Outcome]agent.Finished{}, ""
		var latency *agent.Latency
		for i := range w.agents {
			raw := command("status", "--state", w.agentState(i), "--output", "json")
			var s agent.Status
			if err := json.Unmarshal([]byte(raw), &s); err != nil {
				t.Fatal(err)
			}
			for _, f := range s.Recent {
				outcomes[f.Outcome] = f
			}
			for _, d := range s.Servers {
				if d.Latency != nil {
					latency = d.Latency
				}
			}
			text += raw + command("status", "--state", w.agentState(i))
		}
		right, wrong := outcomes[agent.Right], outcomes[agent.Wrong]
		if right.Outcome == "" || wrong.Outcome == "" || latency == nil {
			select {
			case <-tick.C:
				continue
			case <-ctx.Done():
				t.Fatalf("the statuses do not tell of the checks:\n%s", text)
			}
		}
		for _, f := range []agent.Finished{right, wrong} {
			if len(f.Trace) != 32 || f.DC == "" || f.TookMS <= 0 || f.BindMS <= 0 || f.BindMS > f.TookMS || f.At.IsZero() {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(text, "trace "+f.Trace) {
				t.Errorf("the trace is not in the text:\n%s", text)
			}
		}
		if latency.MedianMS <= 0 || !strings.Contains(text, "(median of the last") {
			t.Errorf("%+v\n%s", latency, text)
		}
		if account, _, _ := strings.Cut(person.UPN, "@"); strings.Contains(text, account+"@") {
			t.Errorf("a name is in the statuses:\n%s", text)
		}
		break
	}
	var listed bytes.Buffer
	for i := range w.agents {
		archive := t.TempDir() + "/b.tar.gz"
		command("logs", "bundle", "--state", w.agentState(i), "--log-file", w.agentState(i)+".log", "--file", archive, "--dc", w.directory.addresses[0],
			"--dc-ca-file", w.directory.caFile)
		out, err := exec.CommandContext(t.Context(), "tar", "-xOzf", archive).Output()
		if err != nil {
			t.Fatal(err)
		}
		listed.Write(out)
	}
	if text := listed.String(); strings.Contains(text, person.UPN) || !strings.Contains(text, `msg="password check"`) || !strings.Contains(text, "gateway") {
		t.Errorf("the archives:\n%s", text)
	}
}
