package password

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestHandOver(t *testing.T) {
	var (
		unreachable = passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryUnreachable, Detail: "no route to dc1"})
		timeout     = passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true})
		lost        = passwordtest.LostBeforeFence
		lostFenced  = passwordtest.LostAfterFence
		stale       = passwordtest.Refuse(wire.EnvelopeStale)
		healthy     = passwordtest.Behaviour(nil) // replaced by the directory's
	)
	for _, test := range []struct {
		name     string
		agents   []passwordtest.Behaviour
		failures int       // wrong passwords before
		code     wire.Code // of the fault; 0: right
		binds    int
		asks     int
	}{
		{"refused, then right", []passwordtest.Behaviour{stale, healthy}, 0, 0, 1, 2},
		{"lost before the fence, then right", []passwordtest.Behaviour{lost, healthy}, 0, 0, 1, 2},
		{"no domain controller there, then right", []passwordtest.Behaviour{unreachable, healthy}, 0, 0, 1, 2},
		{"two lost, then right", []passwordtest.Behaviour{lost, lost, healthy}, 0, 0, 1, 3},
		{"three lost", []passwordtest.Behaviour{lost, lost, lost, healthy}, 0, wire.TransientNetwork, 0, 3},
		{"three unreachable", []passwordtest.Behaviour{unreachable, unreachable, unreachable}, 0, wire.DirectoryUnreachable, 0, 3},
		{"the only one is unreachable: that is told, not that there is no other", []passwordtest.Behaviour{unreachable}, 0, wire.DirectoryUnreachable, 0, 2},
		{"the only one refuses", []passwordtest.Behaviour{passwordtest.Refuse(wire.AgentRateLimited)}, 0, wire.AgentRateLimited, 0, 2},

		{"lost after the fence, then right", []passwordtest.Behaviour{lostFenced, healthy}, 0, 0, 2, 2},
		{"the same, some wrong passwords before", []passwordtest.Behaviour{lostFenced, healthy}, 3, 0, 2, 2},
		{"the same, too many wrong passwords before", []passwordtest.Behaviour{lostFenced, healthy}, 4, wire.LostAfterFence, 1, 1},
		{"lost after the fence twice", []passwordtest.Behaviour{lostFenced, lostFenced, healthy}, 0, wire.LostAfterFence, 2, 2},
		{"lost after the fence, refused, right", []passwordtest.Behaviour{lostFenced, stale, healthy}, 0, 0, 2, 3},
		{"lost after the fence, refused twice", []passwordtest.Behaviour{lostFenced, stale, stale}, 0, wire.LostAfterFence, 1, 3},
		{"lost after the fence, and there is no other", []passwordtest.Behaviour{lostFenced}, 0, wire.LostAfterFence, 1, 2},

		{"trouble after the fence", []passwordtest.Behaviour{timeout, healthy}, 0, wire.DirectoryTimeout, 1, 1},
		{"trouble that pretends to be a verdict", []passwordtest.Behaviour{passwordtest.Trouble(wire.Trouble{Code: wire.InvalidPassword}), healthy}, 0, 0, 1, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for _, behave := range test.agents {
				if behave == nil {
					behave = w.ad.Agent
				}
				w.agent(t, w.a, w.dirA, behave)
			}
			for range test.failures {
				if err := w.guard.Settle(t.Context(), w.a, name, lockout.Wrong, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			got, err := w.check(t, w.a, name, right)
			wantFault(t, "outcome", err, test.code)
			if err == nil && !got.Right {
				t.Errorf("%+v", got)
			}
			if err != nil && (got.Code != test.code || got.Shown != test.code || got.Reason != "") {
				t.Errorf("beside the fault: %+v", got)
			}
			if n := len(w.queue.Binds()); n != test.binds {
				t.Errorf("%d binds, want %d", n, test.binds)
			}
			asks := w.queue.Asks()
			if len(asks) != test.asks {
				t.Fatalf("%d asks, want %d", len(asks), test.asks)
			}
			requests := map[string]bool{}
			for i, a := range asks {
				requests[a.Request] = true
				if len(a.Exclude) != i || a.Trace != "00-1-2-01" || time.Until(a.Deadline) > askWithin {
					t.Errorf("ask %d: %+v", i, a)
				}
			}
			if len(requests) != len(asks) {
				t.Error("two tries share a request id")
			}
			want := test.failures
			if err == nil {
				want = 0
			}
			if n := w.failures(t, w.a, name); n != want {
				t.Errorf("%d failures are counted, want %d", n, want)
			}
		})
	}
}

// TestOutageLocksNobody: whatever goes wrong on the way, and however often, counts towards no lockout.
func TestOutageLocksNobody(t *testing.T) {
	for what, behave := range map[string]passwordtest.Behaviour{
		"refused":                 passwordtest.Refuse(wire.EnvelopeStale),
		"lost before the fence":   passwordtest.LostBeforeFence,
		"lost after the fence":    passwordtest.LostAfterFence,
		"trouble after the fence": passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true}),
		"forged": func(context.Context, *passwordtest.Conversation) queue.Outcome {
			return queue.Outcome{Sealed: []byte("x")}
		},
	} {
		w := newWorld(t)
		w.agent(t, w.a, w.dirA, behave)
		for range 2 * w.guard.Policy().Threshold {
			if _, err := w.check(t, w.a, name, wrong); err == nil {
				t.Fatalf("%s: judged", what)
			}
		}
		if s, err := w.guard.State(t.Context(), w.a, name); err != nil || s != (lockout.State{}) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
}

func TestAnswersThatProveNothing(t *testing.T) {
	accepted := wire.Answer{Verdict: &wire.Verdict{Reason: wire.Accepted}}
	var earlier queue.Outcome // a genuine answer to another check
	for _, test := range []struct {
		name   string
		behave passwordtest.Behaviour
		code   wire.Code
	}{
		{"garbage", func(context.Context, *passwordtest.Conversation) queue.Outcome {
			return queue.Outcome{Sealed: []byte("right!")}
		}, wire.AnswerForged},
		{"in clear", func(context.Context, *passwordtest.Conversation) queue.Outcome {
			return queue.Outcome{Sealed: []byte(`{"verdict":{"reason":"accepted"}}`)}
		}, wire.AnswerForged},
		{"an accepting answer without having asked", func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
			if _, err := c.Open(); err != nil {
				return queue.Outcome{Lost: true, Detail: err.Error()}
			}
			earlier = c.Answer(accepted)
			return earlier
		}, wire.AnswerForged},
		{"the answer to another check", func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
			if _, err := c.Open(); err != nil || !c.Fence() {
				return queue.Outcome{Lost: true}
			}
			c.Bind()
			return earlier
		}, wire.AnswerForged},
		{"an answer in time to a fence, and a wrong one", func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
			if _, err := c.Open(); err != nil || !c.Fence() {
				return queue.Outcome{Lost: true}
			}
			c.Bind()
			o := c.Answer(accepted)
			o.Sealed[len(o.Sealed)-1] ^= 1
			return o
		}, wire.AnswerForged},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.agent(t, w.a, w.dirA, test.behave)
			w.agent(t, w.a, w.dirA, w.ad.Agent)
			got, err := w.check(t, w.a, name, right)
			wantFault(t, "outcome", err, test.code)
			if got.Right || len(w.queue.Asks()) != 1 {
				t.Errorf("%+v after %d asks", got, len(w.queue.Asks()))
			}
		})
	}
}

// TestOffersAreNotBelieved: who is no active agent of this directory in the fleet is sent nothing.
func TestOffersAreNotBelieved(t *testing.T) {
	w := newWorld(t)
	second, err := w.tenants.CreateDirectory(t.Context(), w.a, "branch", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	greedy := func(context.Context, *passwordtest.Conversation) queue.Outcome {
		t.Error("a password was sent to an agent that may not have it")
		return queue.Outcome{Lost: true}
	}
	revoked := w.agent(t, w.a, w.dirA, greedy)
	if err := w.fleet.Revoke(t.Context(), w.a, revoked.ID, "stolen", time.Now()); err != nil {
		t.Fatal(err)
	}
	other, key := w.enrol(t, w.a, second.ID) // another directory's
	w.queue.Attach(w.a, w.dirA, other.ID, key, greedy)
	foreign, key := w.enrol(t, w.b, w.dirB) // another tenant's
	w.queue.Attach(w.a, w.dirA, foreign.ID, key, greedy)
	_, err = w.check(t, w.a, name, right)
	wantFault(t, "three that may not", err, wire.NoAgent)
	if released := w.queue.Released(); len(released) != 3 {
		t.Errorf("released %v", released)
	}
}

func TestExpiredCertificateIsNotEligible(t *testing.T) {
	w := newWorld(t)
	a, _ := w.enrol(t, w.a, w.dirA)
	now := time.Now()
	if why := ineligible(a, w.dirA, now); why != "" {
		t.Error(why)
	}
	if why := ineligible(a, w.dirA, a.CertificateNotAfter.Add(time.Second)); !strings.Contains(why, "expired") {
		t.Errorf("%q", why)
	}
}

// TestGuessingAtOnce: guesses that are sent together do not reach the directory more often than the lockout allows.
func TestGuessingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var at, most atomic.Int64
		w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
			n := at.Add(1)
			most.Store(max(most.Load(), n))
			time.Sleep(time.Second) // the bubble's clock: all that may be here at once are
			at.Add(-1)
			return w.ad.Agent(ctx, c)
		})
		var mu sync.Mutex
		codes := map[wire.Code]int{}
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				a, err := w.check(t, w.a, name, wrong)
				if err != nil && a.Code != wire.TooManyRequests {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[a.Code]++
			})
		}
		wg.Wait()
		threshold := w.guard.Policy().Threshold
		if n := len(w.queue.Binds()); n != threshold || codes[wire.InvalidPassword] != threshold {
			t.Errorf("%d binds, want %d; %v", n, threshold, codes)
		}
		if most.Load() < 2 {
			t.Error("checks of one account never ran at once")
		}
		if codes[wire.AccountLockedOut] == 0 || codes[wire.TooManyRequests] == 0 {
			t.Errorf("%v", codes)
		}
		if n := len(w.inflight.accounts); n != 0 {
			t.Errorf("%d accounts are still remembered", n)
		}
	})
}

// TestInFlightNeverExceedsTheBudget lets many enter, fail and leave without any pause, on a budget that shrinks with each.
func TestInFlightNeverExceedsTheBudget(t *testing.T) {
	const threshold = 5
	for range 50 {
		var f inflight
		var failures, judged atomic.Int64
		var wg sync.WaitGroup
		for range maxWaiting {
			wg.Go(func() {
				leave, err := f.enter(context.Background(), "a", func() (int, error) { return int(threshold - failures.Load()), nil })
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				if failures.Load() < threshold { // what lockout allows
					judged.Add(1)
					runtime.Gosched()
					failures.Add(1)
				}
			})
		}
		wg.Wait()
		if judged.Load() != threshold || len(f.accounts) != 0 {
			t.Fatalf("%d were judged, %d are allowed; %d accounts remembered", judged.Load(), threshold, len(f.accounts))
		}
	}
}

func TestWaitingInLineEndsWithTheCaller(t *testing.T) {
	var f inflight
	leave, err := f.enter(t.Context(), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.enter(ctx, "a", func() (int, error) { return 1, nil })
	wantFault(t, "no room", err, wire.TooManyRequests)
	broken := errors.New("no store")
	if _, err = f.enter(t.Context(), "a", func() (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	other, err := f.enter(t.Context(), "b", nil)
	if err != nil {
		t.Fatal(err)
	}
	other()
	leave()
	leave()
	if len(f.accounts) != 0 {
		t.Errorf("%v", f.accounts)
	}
}

// TestHangingUpHidesNothing: a browser that goes away before the answer does not keep a wrong password from being counted.
func TestHangingUpHidesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.agent(t, w.a, w.dirA, func(inner context.Context, c *passwordtest.Conversation) queue.Outcome {
		cancel()
		if inner.Err() != nil {
			t.Error("the delivery was broken off with the caller")
		}
		return w.ad.Agent(inner, c)
	})
	got, err := w.checkWith(t, ctx, w.a, name, wrong)
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, "wrong", got, wire.InvalidPassword, wire.InvalidPassword)
	if n := w.failures(t, w.a, name); n != 1 {
		t.Errorf("%d failures", n)
	}
	// Before anything is delivered, hanging up ends it.
	_, err = w.checkWith(t, ctx, w.a, name, wrong)
	if err == nil || len(w.queue.Binds()) != 1 {
		t.Errorf("%v, %d binds", err, len(w.queue.Binds()))
	}
}

// TestOverallTime: agents that hang are not waited for beyond the overall time.
func TestOverallTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
				select {
				case <-time.After(7 * time.Second):
				case <-ctx.Done():
				}
				return queue.Outcome{Lost: true, Detail: "silence"}
			})
		}
		start := time.Now()
		_, err := w.check(t, w.a, name, right)
		wantFault(t, "silence", err, wire.TransientNetwork)
		if took := time.Since(start); took != 14*time.Second || len(w.queue.Asks()) != 2 {
			t.Errorf("%v, %d asks: with a second left nobody else is asked", took, len(w.queue.Asks()))
		}
	})
}

// TestRealQueue takes the whole way of a check but for gateway and agent programs: the embedded broker, a gateway's and an
// agent's part played here, and envelope.Open with the enrolled agent's key.
func TestRealQueue(t *testing.T) {
	w := newWorld(t)
	q, err := queue.Open(queue.Config{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	w.Checker = New(Config{Tenants: w.tenants, Users: w.users, Fleet: w.fleet, Lockout: w.guard, Queue: q})

	_, err = w.check(t, w.a, name, right)
	wantFault(t, "before any gateway", err, wire.NoAgent)

	type member struct {
		id  string
		key envelope.PrivateKey
	}
	var members []member
	for range 2 {
		a, key := w.enrol(t, w.a, w.dirA)
		members = append(members, member{a.ID, key})
	}
	var loseFirst, binds atomic.Int64
	stopAsks, err := q.AnswerAsks(w.a, w.dirA, "gateway-1", func(_ context.Context, a queue.Ask) (queue.Offer, error) {
		for _, m := range members {
			if !slices.Contains(a.Exclude, m.id) {
				return queue.Offer{Gateway: "gateway-1", Agent: m.id, Slot: "slot-1"}, nil
			}
		}
		return queue.Offer{}, errors.New("none left")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stopAsks)
	stopDeliveries, err := q.AnswerDeliveries("gateway-1", func(ctx context.Context, scope tenant.Scope, d queue.Delivery, fence func(context.Context, []byte) ([]byte, error)) queue.Outcome {
		if loseFirst.Add(-1) >= 0 {
			return queue.Outcome{Lost: true, Detail: "the stream ended"}
		}
		i := slices.IndexFunc(members, func(m member) bool { return m.id == d.Agent })
		check, receiver, err := envelope.Open(members[i].key, envelope.Binding{Tenant: scope.String(), Directory: d.Directory, Agent: d.Agent, Request: d.Request},
			d.Envelope, time.Now())
		if err != nil {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable, Detail: err.Error()}
		}
		nonce := []byte(cryptorand.Text())
		token, err := fence(ctx, nonce)
		if err != nil || string(token) != string(receiver.GoToken(nonce)) {
			return queue.Outcome{Refused: wire.AgentRefused, Detail: fmt.Sprint(err)}
		}
		binds.Add(1)
		answer := wire.Answer{Verdict: &wire.Verdict{Reason: wire.BadPassword}, DC: "dc1"}
		if check.Name == name && string(check.Password.Reveal()) == right {
			told := ada()
			answer.Verdict = &wire.Verdict{Reason: wire.Accepted, Attributes: &told}
		}
		sealed, err := receiver.SealAnswer(answer)
		if err != nil {
			return queue.Outcome{Lost: true, Detail: err.Error()}
		}
		return queue.Outcome{Sealed: sealed}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stopDeliveries)

	got := w.must(t, w.a, name, right)
	if !got.Right || got.User.DisplayName != "Ada Lovelace" || got.Gateway != "gateway-1" || got.Agent != members[0].id {
		t.Errorf("%+v", got)
	}
	wantShown(t, "wrong", w.must(t, w.a, name, wrong), wire.InvalidPassword, wire.InvalidPassword)
	loseFirst.Store(1)
	if got := w.must(t, w.a, name, right); !got.Right || got.Agent != members[1].id {
		t.Errorf("after a loss: %+v", got)
	}
	if binds.Load() != 3 {
		t.Errorf("%d binds for three judged passwords", binds.Load())
	}

	// Many people at once, each right exactly once.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := w.check(t, w.a, name, right); err != nil || !got.Right {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if binds.Load() != 23 {
		t.Errorf("%d binds", binds.Load())
	}
}
