package password

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func (w *world) probe(t *testing.T, agent, name, secret string) (wire.Verdict, error) {
	t.Helper()
	raw := []byte(secret)
	v, took, err := w.Probe(context.Background(), w.a, Probe{Directory: w.dirA, Agent: agent, Name: name, Password: wire.NewSecret(raw), WantAttributes: true, Trace: "00-1-2-01"})
	for _, b := range raw {
		if b != 0 {
			t.Error("the secret was not wiped")
			break
		}
	}
	if (err == nil) != (took > 0 && v.Reason != "") {
		t.Errorf("%+v after %v, %v", v, took, err)
	}
	return v, err
}

// TestProbesChangeNothing: a probe reaches the agent that was meant and its directory, and nobody else hears of it.
func TestProbesChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, passwordtest.LostBeforeFence)
	meant := w.agent(t, w.a, w.dirA, w.ad.Agent)
	for range 2 * w.guard.Policy().Threshold {
		if v, err := w.probe(t, meant.ID, name, wrong); err != nil || v.Reason != wire.BadPassword {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	if v, err := w.probe(t, meant.ID, name, right); err != nil || !v.Reason.Right() {
		t.Fatalf("%+v, %v", v, err)
	}
	if n := w.failures(t, w.a, "ada@corp.example"); n != 0 {
		t.Errorf("lockout counts %d", n)
	}
	if _, err := w.users.ByUPN(t.Context(), w.a, name); !fault.Has(err, wire.NotFound) {
		t.Errorf("a user was made: %v", err)
	}
	for _, a := range w.queue.Asks() {
		if a.Only != meant.ID {
			t.Errorf("asked for %q", a.Only)
		}
	}
	if _, err := w.probe(t, "another", name, wrong); !fault.Has(err, wire.NoAgent) {
		t.Errorf("an agent that is not there: %v", err)
	}
	if _, _, err := w.Probe(t.Context(), tenant.Scope{}, Probe{}); err != tenant.ErrNoScope {
		t.Error(err)
	}
	for secret, code := range map[string]wire.Code{"": wire.PasswordUnusable} {
		_, err := w.probe(t, meant.ID, name, secret)
		wantFault(t, "unusable", err, code)
	}
	_, err := w.probe(t, meant.ID, "bare", wrong)
	wantFault(t, "a bare name", err, wire.BadRequest)
}

// TestProbesSayWhy: what went wrong with an agent has the number that a person's check would have.
func TestProbesSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		behave passwordtest.Behaviour
		code   wire.Code
	}{
		"lost":         {passwordtest.LostBeforeFence, wire.TransientNetwork},
		"lost later":   {passwordtest.LostAfterFence, wire.LostAfterFence},
		"no directory": {passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryUnreachable}), wire.DirectoryUnreachable},
		"too slow":     {passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true}), wire.DirectoryTimeout},
	} {
		w := newWorld(t)
		a := w.agent(t, w.a, w.dirA, c.behave)
		_, err := w.probe(t, a.ID, "decoy@corp.example", wrong)
		wantFault(t, name, err, c.code)
	}
}

// shape is all of a delivery and its envelope that an agent can see, but for name and password.
type shape struct {
	size           int
	request, trace bool
	life           time.Duration
	want           bool
	directory      string
}

// TestProbesLookLikePeople: an agent sees nothing about a probe that it does not see about a person.
func TestProbesLookLikePeople(t *testing.T) {
	w := newWorld(t)
	var seen []shape
	trace := regexp.MustCompile(`^00-`)
	agent := w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil {
			t.Error(err)
		}
		id, err := uuid.Parse(c.Delivery.Request)
		_, receiver, openErr := c.Reopen()
		if openErr != nil {
			t.Error(openErr)
		}
		seen = append(seen, shape{size: len(c.Delivery.Envelope), request: err == nil && id.Version() == 7, trace: trace.MatchString(c.Delivery.Trace),
			life: time.Until(receiver.Expires()).Round(10 * time.Second), want: check.WantAttributes, directory: c.Delivery.Directory})
		return w.ad.Agent(ctx, c)
	})
	w.must(t, w.a, "eve@corp.example", wrong)
	if _, err := w.probe(t, agent.ID, "eve@corp.example", wrong); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != seen[1] || seen[0].life != envelope.Life {
		t.Errorf("a person %+v, a probe %+v", seen[0], seen[1:])
	}
}
