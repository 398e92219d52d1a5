package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// ambiguous knows several accounts by whatever is typed.
type ambiguous struct{ *corp }

func (ambiguous) Find(context.Context, string, string) (*directory.Account, *directory.Error) {
	return nil, &directory.Error{Code: wire.NameAmbiguous, Cause: errors.New(strings.Repeat("several accounts ", 20))}
}

// seen is all that a gateway sees of a check.
type seen struct {
	fences, nonce, answer int
	fence, judged         time.Duration // from the check to the fence, and from the go to the answer
}

// TestGuardedChecksLookLikeOthers: a gateway sees nothing of a check that was not asked about on purpose that it does not see of one that ended with a wrong
// password: neither a missing fence, nor another length, nor another time.
func TestGuardedChecksLookLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock stands still but for waiting
		b := newBench(t, slog.LevelError, Limits{})
		connect, bind := 30*time.Millisecond, 7*time.Millisecond
		b.corp.bound = func() { time.Sleep(bind) }
		n := 0
		look := func(name, attribute string, want wire.Code, hold bool) (s seen) {
			t.Helper()
			n++
			binding := b.binding(strings.Repeat("r", n))
			text, sender, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding,
				envelope.Check{Name: name, Password: wire.NewSecret([]byte("guess")), NameAttribute: attribute})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var going time.Time
			reply := b.answerer.Check(t.Context(), &linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent},
				func(_ context.Context, nonce []byte) ([]byte, error) {
					s.fences++
					s.fence, s.nonce = time.Since(began), len(nonce)
					time.Sleep(11 * time.Millisecond) // to the service and back
					going = time.Now()
					if hold {
						return sender.HoldToken(nonce), nil
					}
					return sender.GoToken(nonce), nil
				})
			s.judged, s.answer = time.Since(going), len(reply.Sealed)
			a := b.answer(sealed{nil, sender}, reply)
			if want == 0 && a.Verdict == nil || want != 0 && (a.Trouble == nil || a.Trouble.Code != want || a.Trouble.Fenced || a.Fenced != 0) {
				t.Errorf("%s: %+v %+v", name, a.Verdict, a.Trouble)
			}
			return s
		}
		b.answerer.validator = slow{b.corp, connect}
		first := look("anna@corp.example", "", 0, false)
		if first.fences != 1 || first.fence != connect || first.judged != bind {
			t.Fatalf("a wrong password: %+v", first)
		}
		binds := b.corp.bindsSoFar()
		same := func(what string, s seen) {
			t.Helper()
			if s != first {
				t.Errorf("%s: %+v, a wrong password: %+v", what, s, first)
			}
		}
		b.answerer.protection = guard.Protection{Names: []string{"boss"}}
		made := madeUp(t, b)
		b.answerer.validator = b.corp
		if real := made("anna@corp.example"); real != 0 || made("boss@corp.example") != real {
			t.Errorf("to a go that the gateway made up a check ends after %v", real)
		}
		b.answerer.validator = slow{b.corp, connect}
		same("a protected name", look("boss@corp.example", "", wire.AccountProtected, false))
		same("held back by the service", look("carl@corp.example", "", wire.AccountLockedOut, true))
		b.answerer.validator = ambiguous{b.corp}
		same("a name that several have", look("dora@corp.example", "mail", wire.NameAmbiguous, false))
		b.answerer.validator = addressee{b.corp}
		b.answerer.protection = guard.Protection{Names: []string{"anna"}}
		same("another name of somebody protected", look("a1@corp.example", "mail", wire.AccountProtected, false))
		b.answerer.protection = guard.Protection{}
		b.corp.instead = func(context.Context, directory.Check) (directory.Result, error) {
			time.Sleep(connect)
			return directory.Result{}, &directory.Error{Code: wire.LockoutSpared, Cause: errors.New("1 more wrong password locks")}
		}
		b.answerer.validator = b.corp
		same("spared", look("emil@corp.example", "", wire.LockoutSpared, false))
		if n := b.corp.bindsSoFar(); n != binds {
			t.Errorf("%d binds of them", n-binds)
		}
	})
}

// madeUp answers the fence of a check with a go that nobody gave, and returns how long the check goes on then.
func madeUp(t *testing.T, b *bench) func(name string) time.Duration {
	n := 0
	return func(name string) time.Duration {
		n++
		binding := b.binding(strings.Repeat("m", n))
		text, _, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding, envelope.Check{Name: name, Password: wire.NewSecret([]byte("guess"))})
		if err != nil {
			t.Fatal(err)
		}
		var going time.Time
		b.answerer.Check(t.Context(), &linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent},
			func(context.Context, []byte) ([]byte, error) { going = time.Now(); return make([]byte, 32), nil })
		return time.Since(going)
	}
}

// slow connects for a while.
type slow struct {
	*corp
	connect time.Duration
}

func (s slow) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	time.Sleep(s.connect)
	return s.corp.Validate(ctx, c)
}

// TestPretendingEnds: the caller's end, and the loss of the stream, end it.
func TestPretendingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, slog.LevelError, Limits{})
		b.answerer.paces.put(pace{fence: time.Second, bind: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s := b.seal(b.binding("r1"), "krbtgt@corp.example", "guess", false)
		began := time.Now()
		if a := b.answer(s, b.answerer.Check(ctx, s.Check, s.goes)); a.Trouble == nil || time.Since(began) != 2*time.Second {
			t.Errorf("%+v after %v", a, time.Since(began))
		}
		s, began = b.seal(b.binding("r2"), "krbtgt@corp.example", "guess", false), time.Now()
		lost := func(context.Context, []byte) ([]byte, error) { return nil, errNoGo }
		if a := b.answer(s, b.answerer.Check(t.Context(), s.Check, lost)); a.Trouble == nil || time.Since(began) != time.Second {
			t.Errorf("%+v after %v", a, time.Since(began))
		}
	})
}

func TestPaces(t *testing.T) {
	var p paces
	for range 100 {
		if d := p.draw(); d.fence < 0 || d.fence >= guessedPace || d.bind < 0 || d.bind >= guessedPace {
			t.Fatalf("a guess of %+v", d)
		}
	}
	for i := range 3 * maxPaces {
		p.put(pace{time.Duration(i), time.Duration(-i)})
	}
	drawn := map[time.Duration]bool{}
	for range 100 * maxPaces {
		d := p.draw()
		if d.fence < 2*maxPaces || d.bind != -d.fence {
			t.Fatalf("drew %+v, which is forgotten", d)
		}
		drawn[d.fence] = true
	}
	if len(drawn) < maxPaces/2 {
		t.Errorf("%d of %d are ever drawn", len(drawn), maxPaces)
	}
}
