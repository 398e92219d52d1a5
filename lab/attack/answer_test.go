package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"testing"

	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
)

// Answers that the chosen agent did not make for this very request let nobody in and count nowhere, though the directory has said
// yes by then. It was asked once each time.
func TestAnswers(t *testing.T) {
	w := newWorld(t)
	w.attached(w.a, w.dir)
	w.honest()
	earlier := w.mitm.last().outcome.Sealed
	binds := 1
	for _, c := range []struct {
		attack string
		change func(sealed []byte) queue.Outcome
		code   wire.Code
		words  string
	}{
		{"forged", func(b []byte) queue.Outcome {
			b = make([]byte, len(b))
			_, _ = rand.Read(b)
			return queue.Outcome{Sealed: b}
		}, wire.AnswerForged, "not authentic"},
		{"forged in clear", func([]byte) queue.Outcome { return queue.Outcome{Sealed: []byte(`{"verdict":{"reason":"accepted"}}`)} },
			wire.AnswerForged, "of a length that no agent makes"},
		{"truncated", func(b []byte) queue.Outcome { return queue.Outcome{Sealed: b[:len(b)-1]} }, wire.AnswerForged, "of a length that no agent makes"},
		{"truncated by a step", func(b []byte) queue.Outcome { return queue.Outcome{Sealed: b[:len(b)-512]} }, wire.AnswerForged, "not authentic"},
		{"replayed from an earlier request", func([]byte) queue.Outcome { return queue.Outcome{Sealed: earlier} }, wire.AnswerForged, "not authentic"},
		{"a bit of the nonce flipped", flipped(0), wire.AnswerForged, "not authentic"},
		{"a bit of the text flipped", flipped(20), wire.AnswerForged, "not authentic"},
		{"a bit of the tag flipped", flipped(-1), wire.AnswerForged, "not authentic"},
		{"withheld", func([]byte) queue.Outcome { return queue.Outcome{Lost: true, Detail: "dropped"} }, wire.LostAfterFence, "lost after the fence: dropped"},
		{"turned into a refusal", func([]byte) queue.Outcome {
			return queue.Outcome{Refused: wire.AgentsBusy, Detail: "try elsewhere"}
		}, wire.LostAfterFence, "refused after the fence with"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
				o := w.mitm.pass(ctx, d, f)
				if len(o.Sealed) == 0 {
					t.Errorf("the agent did not answer: %+v", o)
					return o
				}
				return c.change(o.Sealed)
			})
			binds++
			w.holds(w.signin(), binds, c.code, c.words)
		})
	}
	w.mitm.set(nil, nil)
	w.honest()
}

func flipped(at int) func([]byte) queue.Outcome {
	return func(b []byte) queue.Outcome {
		b = bytes.Clone(b)
		b[(at+len(b))%len(b)] ^= 1
		return queue.Outcome{Sealed: b}
	}
}

// Two sign-ins that run at once get one another's answers.
func TestSwappedAnswers(t *testing.T) {
	w := newWorld(t)
	w.attached(w.a, w.dir)
	var mu sync.Mutex
	var first []byte
	met := make(chan []byte)
	w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
		mine := w.mitm.pass(ctx, d, f).Sealed
		mu.Lock()
		meeting := first == nil
		if meeting {
			first = mine
		}
		mu.Unlock()
		if meeting {
			return queue.Outcome{Sealed: <-met}
		}
		met <- mine
		return queue.Outcome{Sealed: first}
	})
	w.failures = w.failuresNow()
	var outcomes [2]outcome
	var both sync.WaitGroup
	for i := range outcomes {
		both.Go(func() { outcomes[i] = w.check() })
	}
	both.Wait()
	for _, o := range outcomes {
		w.holds(o, 2, wire.AnswerForged, "not authentic")
	}
}

// Refusals and losses that the attacker makes up before the agent has asked for its go: nothing was bound, another agent is asked,
// and the person gets in by it.
func TestHandOverBeforeFence(t *testing.T) {
	w := newWorld(t)
	w.attached(w.a, w.dir)
	w.attached(w.a, w.dir)
	for _, lie := range []queue.Outcome{{Refused: wire.AgentsBusy, Detail: "a lie"}, {Lost: true, Detail: "a lie"}, {Refused: wire.InvalidPassword, Detail: "a lie"}} {
		told := false
		w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
			if !told {
				told = true
				w.mitm.gateway.Release(w.gateway.ID(), d.Slot)
				return lie
			}
			return w.mitm.pass(ctx, d, f)
		})
		w.honest()
		lines := w.log.lines(t, "check handed over to another agent")
		if len(lines) == 0 || lines[len(lines)-1]["detail"] != "a lie" {
			t.Errorf("the service's log: %v", lines)
		}
	}
	w.counts(3)
}

// The attacker asks for the go itself, as no gateway would: twice for one delivery, and after its end. It gets one token and
// then refusals, and the envelope with its token is worth nothing: the agent asks for the token of a nonce of its own.
func TestRepeatedFence(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	const gateway = "raw-gateway"
	r := w.mitm.raw(gateway)
	w.mitm.set(func(context.Context, queue.Ask) (queue.Offer, error) {
		return queue.Offer{Gateway: gateway, Agent: a.row.ID, Slot: "slot"}, nil
	}, nil)
	ended := make(chan outcome, 1)
	go func() { ended <- w.signin() }()
	m := <-r.got
	d := unframe(t, m.Data)
	r.say(m.Reply, 'A')
	token := r.fence(m.Reply)
	if len(token) != 32 {
		t.Fatalf("the first fence got %d bytes", len(token))
	}
	if again := r.fence(m.Reply); len(again) != 0 {
		t.Errorf("a second fence got %d bytes", len(again))
	}
	r.say(m.Reply, append([]byte{'O', 'l'}, "dropped"...)...)
	w.holds(<-ended, 0, wire.LostAfterFence, "lost after the fence: dropped")
	if late := r.fence(m.Reply); len(late) != 0 {
		t.Errorf("a fence after the end got %d bytes", len(late))
	}
	// What the attacker holds now is one envelope and the token of a nonce that no agent ever made: that is worth nothing.
	for range 2 {
		w.mitm.forge(a, d.Request, d.Envelope, overheard(token))
	}
	w.counts(0)
}

// A go is refused after the service has given up, and before the delivery was acknowledged.
func TestFenceOutOfOrder(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	const gateway = "raw-gateway"
	r := w.mitm.raw(gateway)
	w.mitm.set(func(context.Context, queue.Ask) (queue.Offer, error) {
		return queue.Offer{Gateway: gateway, Agent: a.row.ID, Slot: "slot"}, nil
	}, nil)
	ended := make(chan outcome, 1)
	go func() { ended <- w.signin() }()
	m := <-r.got
	if early := r.fence(m.Reply); len(early) != 0 {
		t.Errorf("a fence before the acknowledgement got %d bytes", len(early))
	}
	r.say(m.Reply, append([]byte{'O', 'l'}, "dropped at once"...)...)
	// One agent is left out then, and it was the only one.
	w.holds(<-ended, 0, wire.TransientNetwork, "lost before the fence: dropped at once")
	if late := r.fence(m.Reply); len(late) != 0 {
		t.Errorf("a fence after the end got %d bytes", len(late))
	}
	w.counts(0)
}
