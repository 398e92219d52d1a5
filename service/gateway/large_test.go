package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// Whatever an agent can seal reaches the service: through stream, gateway and broker, in one process and in several. Otherwise
// the attempt has counted at the directory, and its verdict is lost, every time again.
func TestTheLargestAnswerArrives(t *testing.T) {
	largest := wire.Answer{Verdict: &wire.Verdict{Reason: wire.Accepted, Attributes: &wire.Attributes{Groups: []string{strings.Repeat("g", envelope.MaxAnswer-1024)}}}}
	for name, url := range map[string]string{"in process": "", "broker": broker(t)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			q := w.queue(url)
			m := w.register(w.gateway(q, nil), "a1")
			binding := envelope.Binding{Tenant: w.scope.String(), Directory: w.directory, Agent: m.answer.AgentID, Request: "r1", Expires: time.Now().Add(envelope.Life)}
			w.attach(m, 4, handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
				_, r, err := envelope.Open(m.key, binding, c.GetEnvelope(), time.Now())
				if err != nil {
					t.Error(err)
					return link.Reply{Refused: wire.EnvelopeUnreadable}
				}
				if _, err := fence(ctx, nonce); err != nil {
					t.Error(err)
				}
				sealed, err := r.SealAnswer(largest)
				if err != nil || len(sealed) <= envelope.MaxAnswer-1024 {
					t.Errorf("%d bytes, %v", len(sealed), err)
				}
				return link.Reply{Sealed: sealed}
			}))
			sealed, sender, err := envelope.Seal(m.key.Public(), binding, envelope.Check{Name: strings.Repeat("n", envelope.MaxName),
				Password: wire.NewSecret([]byte(strings.Repeat("p", envelope.MaxPassword))), WantAttributes: true})
			if err != nil {
				t.Fatal(err)
			}
			offer, err := q.Ask(t.Context(), w.scope, w.directory, queue.Ask{Request: "r1"})
			if err != nil {
				t.Fatal(err)
			}
			o, fenced, err := q.Deliver(t.Context(), w.scope, offer.Gateway, queue.Delivery{Request: "r1", Directory: w.directory, Agent: offer.Agent,
				Slot: offer.Slot, Trace: strings.Repeat("t", 512), Envelope: sealed}, func([]byte) []byte { return []byte("go") })
			if err != nil || !fenced || len(o.Sealed) == 0 {
				t.Fatalf("%d sealed bytes, refused %v, lost %v (%s), fenced %v, %v", len(o.Sealed), o.Refused, o.Lost, o.Detail, fenced, err)
			}
			a, err := sender.OpenAnswer(o.Sealed)
			if err != nil || a.Verdict == nil || len(a.Verdict.Attributes.Groups[0]) != envelope.MaxAnswer-1024 {
				t.Errorf("%v", err)
			}
		})
	}
}
