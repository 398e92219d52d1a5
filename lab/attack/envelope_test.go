package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
)

// The attacker carries honestly: what is built here works, and what the attacker sees is of no use.
func TestHonest(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	w.honest()
	w.counts(1)
	seen := w.mitm.last()
	for _, secret := range []string{right, "alice"} {
		if bytes.Contains(seen.delivery.Envelope, []byte(secret)) || bytes.Contains(seen.outcome.Sealed, []byte(secret)) {
			t.Errorf("the broker can read %q", secret)
		}
	}
	// With a key of its own, and with the header rewritten to name that key.
	mine := fatal(envelope.GenerateKey())(t)
	b := envelope.Binding{Tenant: w.a.String(), Directory: w.dir, Agent: a.row.ID, Request: seen.delivery.Request}
	if _, _, err := envelope.Open(mine, b, seen.delivery.Envelope, time.Now()); !errors.Is(err, envelope.ErrKeyID) {
		t.Errorf("opened by the broker: %v", err)
	}
	own, _, _ := w.mitm.sealedTo(mine.Public(), a, nil)
	renamed := append(bytes.Clone(own[:23]), seen.delivery.Envelope[23:]...)
	if _, _, err := envelope.Open(mine, b, renamed, time.Now()); !errors.Is(err, envelope.ErrUnreadable) {
		t.Errorf("opened by the broker under its own key's id: %v", err)
	}
}

// An envelope for one agent is handed to the other, whichever is chosen.
func TestForAnotherAgent(t *testing.T) {
	w := newWorld(t)
	a, b := w.attached(w.a, w.dir), w.attached(w.a, w.dir)
	other := map[string]*member{a.row.ID: b, b.row.ID: a}
	w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
		to := other[d.Agent]
		w.mitm.gateway.Release(w.gateway.ID(), d.Slot)
		d.Slot, d.Agent = w.mitm.slot(ctx, to, other[to.row.ID]), to.row.ID
		return w.mitm.pass(ctx, d, f)
	})
	w.holds(w.signin(), 0, wire.EnvelopeUnreadable, "sealed to a key that this agent does not have")
	for _, m := range []*member{a, b} {
		line := m.wants(wire.EnvelopeUnreadable, "sealed to a key that this agent does not have")
		if line["envelope_key"] != other[m.row.ID].key.Public().ID() {
			t.Errorf("the log names the key %v", line["envelope_key"])
		}
	}
	// The same with the header rewritten to name the key of the agent that gets it.
	w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
		to := other[d.Agent]
		own, _, _ := w.mitm.sealed(to, nil)
		w.mitm.gateway.Release(w.gateway.ID(), d.Slot)
		d.Slot, d.Agent = w.mitm.slot(ctx, to, other[to.row.ID]), to.row.ID
		d.Envelope = append(bytes.Clone(own[:23]), d.Envelope[23:]...)
		return w.mitm.pass(ctx, d, f)
	})
	w.holds(w.signin(), 0, wire.EnvelopeForeign, "bound to another")
	w.mitm.set(nil, nil)
	w.honest()
	w.counts(1)
}

// A bit of every part of an envelope is flipped on its way; TestEveryBitIsBound of package envelope flips all.
func TestFlippedOnTheWay(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	for _, c := range []struct {
		part  string
		at    int
		code  wire.Code
		words string
	}{
		{"the magic", 0, wire.EnvelopeUnreadable, "not an envelope of a form"},
		{"the version", 4, wire.EnvelopeUnreadable, "not an envelope of a form"},
		{"the suite", 6, wire.EnvelopeUnreadable, "a suite that this agent does not know"},
		{"the key id", 7, wire.EnvelopeUnreadable, "a key that this agent does not have"},
		{"the expiry, to the past", 24, wire.EnvelopeStale, "its expiry lies too far ahead"},
		{"the expiry, by a moment", 30, wire.EnvelopeForeign, "changed on the way"},
		{"the ML-KEM ciphertext", 31, wire.EnvelopeForeign, "changed on the way"},
		{"the X25519 key", 1130, wire.EnvelopeForeign, "changed on the way"},
		{"the flags", 1151, wire.EnvelopeForeign, "changed on the way"},
		{"the name", 1154, wire.EnvelopeForeign, "changed on the way"},
		{"the tag", -1, wire.EnvelopeForeign, "changed on the way"},
	} {
		before := len(a.log.lines(t, "password check"))
		w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
			d.Envelope = bytes.Clone(d.Envelope)
			at := c.at
			if at < 0 {
				at += len(d.Envelope)
			}
			d.Envelope[at] ^= 1
			return w.mitm.pass(ctx, d, f)
		})
		t.Run(c.part, func(t *testing.T) {
			w.holds(w.signin(), 0, c.code, c.words)
			until(t, "the agent's line", func() bool { return len(a.log.lines(t, "password check")) == before+1 })
			line := a.log.lines(t, "password check")[before]
			if d, _ := line["detail"].(string); line["outcome"] != "refused" || !strings.Contains(d, c.words) {
				t.Errorf("the agent says %v", line)
			}
		})
	}
}

// An envelope that was answered is sent again, with the go token that the attacker saw pass. The agent knows it again on the same
// stream and on a later one; after a restart it refuses everything that was sealed before. So one typed password is one bind, also
// with a gateway that keeps all it sees.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	w.honest()
	w.counts(1)
	seen := w.mitm.last()
	if len(seen.token) != 32 {
		t.Fatal("no token was seen")
	}
	again := func(code wire.Code, words string) {
		t.Helper()
		o := w.mitm.forge(a, seen.delivery.Request, seen.delivery.Envelope, overheard(seen.token))
		if o.Refused != code || !strings.Contains(o.Detail, words) {
			t.Errorf("%+v; want %v and %q", o, code, words)
		}
		w.counts(1)
	}
	again(wire.EnvelopeReplayed, "worked on before")
	a.wants(wire.EnvelopeReplayed, "worked on before")

	attachments := len(a.log.lines(t, "attached to gateway"))
	w.gateway.stop()
	w.gateway = w.startGateway(w.gateway.queue, w.gateway.address)
	until(t, "the agent to be back", func() bool { return len(a.log.lines(t, "attached to gateway")) > attachments })
	again(wire.EnvelopeReplayed, "worked on before")

	a.stop()
	a.start(noLimits)
	again(wire.EnvelopeStale, "sealed before this agent started")
	a.wants(wire.EnvelopeStale, "sealed before this agent started")
}

// Envelopes of a gateway's own making for another time, tenant, directory, agent, request or key do not reach the directory, whoever
// says go.
func TestMisbound(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	oldKey := fatal(envelope.GenerateKey())(t)
	for _, c := range []struct {
		attack string
		key    envelope.PublicKey
		change func(*envelope.Binding)
		code   wire.Code
		words  string
	}{
		{"late", a.key.Public(), func(b *envelope.Binding) { b.Expires = time.Now().Add(-time.Millisecond) }, wire.EnvelopeStale, "expired: "},
		{"too far in the future", a.key.Public(), func(b *envelope.Binding) { b.Expires = time.Now().Add(envelope.MaxLife + time.Minute) },
			wire.EnvelopeStale, "lies too far ahead"},
		{"of another tenant", a.key.Public(), func(b *envelope.Binding) { b.Tenant = w.b.String() }, wire.EnvelopeForeign, "bound to another tenant, directory"},
		{"of another directory", a.key.Public(), func(b *envelope.Binding) { b.Directory = w.otherDir }, wire.EnvelopeForeign, "bound to another tenant, directory"},
		{"of another agent", a.key.Public(), func(b *envelope.Binding) { b.Agent = "another" }, wire.EnvelopeForeign, "bound to another tenant, directory"},
		{"of another request", a.key.Public(), func(b *envelope.Binding) { b.Request = "another" }, wire.EnvelopeForeign, "bound to another tenant, directory"},
		{"of another key epoch", oldKey.Public(), nil, wire.EnvelopeUnreadable, "a key that this agent does not have"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			sealed, s, _ := w.mitm.sealedTo(c.key, a, c.change)
			o := w.mitm.forge(a, "forged", sealed, s.GoToken)
			if o.Refused != c.code || !strings.Contains(o.Detail, c.words) {
				t.Errorf("%+v", o)
			}
			w.counts(0)
			line := a.wants(c.code, c.words)
			if c.change == nil && line["envelope_key"] != oldKey.Public().ID() {
				t.Errorf("the log names the key %v", line["envelope_key"])
			}
		})
	}
	// Genuine envelopes under another request's id, and for an agent or directory whose slot it is not.
	for _, c := range []struct {
		attack string
		change func(*queue.Delivery)
		code   wire.Code
		words  string
	}{
		{"another request id", func(d *queue.Delivery) { d.Request = "another" }, wire.EnvelopeForeign, "bound to another tenant, directory"},
		{"another directory id", func(d *queue.Delivery) { d.Directory = w.otherDir }, wire.AgentsBusy, "the slot is not reserved"},
		{"another agent id", func(d *queue.Delivery) { d.Agent = "another" }, wire.AgentsBusy, "the slot is not reserved"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
				c.change(&d)
				return w.mitm.pass(ctx, d, f)
			})
			w.holds(w.signin(), 0, c.code, c.words)
		})
	}
}

// The go token is forged, withheld, or another request's. The agent binds with none of them.
func TestGoToken(t *testing.T) {
	w := newWorld(t)
	a := w.attached(w.a, w.dir)
	_, other, _ := w.mitm.sealed(a, nil)
	for _, c := range []struct {
		attack string
		token  func(genuine []byte) []byte
		code   wire.Code
		words  string
		line   string // of the agent
	}{
		{"forged", func([]byte) []byte { b := make([]byte, 32); _, _ = rand.Read(b); return b }, wire.AgentRefused, "trouble before the fence",
			"was not made by the sealer"},
		{"of another request", func([]byte) []byte { return other.GoToken(nonce) }, wire.AgentRefused, "trouble before the fence", "was not made by the sealer"},
		{"cut short", func(b []byte) []byte { return b[:16] }, wire.AgentRefused, "trouble before the fence", "was not made by the sealer"},
		{"a bit of it flipped", func(b []byte) []byte { b = bytes.Clone(b); b[7] ^= 4; return b }, wire.AgentRefused, "trouble before the fence",
			"was not made by the sealer"},
		// The service has said go and hears no more of it: it cannot know that the token never arrived.
		{"withheld", func([]byte) []byte { return nil }, wire.LostAfterFence, "lost after the fence", "the service did not say go"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			before := len(a.log.lines(t, "password check"))
			w.mitm.set(nil, func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
				return w.mitm.carry(ctx, w.a, d, func(nonce []byte) []byte {
					genuine, err := f(ctx, nonce)
					if err != nil {
						t.Error(err)
					}
					return c.token(genuine)
				})
			})
			w.holds(w.signin(), 0, c.code, c.words)
			until(t, "the agent's line", func() bool { return len(a.log.lines(t, "password check")) == before+1 })
			line := a.log.lines(t, "password check")[before]
			if d, _ := line["detail"].(string); line["may_have_counted"] != false || !strings.Contains(d, c.line) {
				t.Errorf("the agent says %v", line)
			}
		})
	}
}

// False offers do not get an envelope: the fleet, not the offer, says who may read a password.
func TestFalseOffer(t *testing.T) {
	w := newWorld(t)
	foreign, elsewhere, revoked := w.enrol(w.b, w.dirOfB, "127.0.0.1:1"), w.enrol(w.a, w.otherDir, "127.0.0.1:1"), w.enrol(w.a, w.dir, "127.0.0.1:1")
	if err := w.fleet.Revoke(t.Context(), w.a, revoked.row.ID, "a test", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ attack, agent, words string }{
		{"of another tenant", foreign.row.ID, "it is not in the fleet"},
		{"unknown", "01981111-0000-7000-8000-000000000003", "it is not in the fleet"},
		{"of another directory", elsewhere.row.ID, "it belongs to another directory"},
		{"revoked", revoked.row.ID, "it is revoked"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			w.mitm.set(func(_ context.Context, a queue.Ask) (queue.Offer, error) {
				return queue.Offer{Gateway: rogueName, Agent: c.agent, Slot: "slot"}, nil
			}, func(_ context.Context, d queue.Delivery, f fence) queue.Outcome {
				t.Error("an envelope was sealed to it")
				return queue.Outcome{Lost: true}
			})
			w.holds(w.signin(), 0, wire.NoAgent, "the offered agent is not eligible: "+c.words)
			if lines := w.log.lines(t, "check handed over to another agent"); len(lines) == 0 ||
				!strings.Contains(fmt.Sprint(lines[len(lines)-1]["detail"]), c.words) || lines[len(lines)-1]["agent"] != c.agent {
				t.Errorf("the service's log: %v", lines)
			}
		})
	}
}
