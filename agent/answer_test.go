package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

func TestRightAndWrong(t *testing.T) {
	for _, test := range []struct {
		name, password string
		attributes     bool
		reason         wire.Reason
		tally          Tally
	}{
		{"anna@corp.example", rightPassword, true, wire.Accepted, Tally{Right: 1}},
		{"anna@corp.example", rightPassword, false, wire.Accepted, Tally{Right: 1}},
		{"anna@corp.example", "wrong", true, wire.BadPassword, Tally{Wrong: 1}},
		{"nobody@corp.example", rightPassword, false, wire.BadPassword, Tally{Wrong: 1}},
	} {
		b := newBench(t, slog.LevelInfo, Limits{})
		s := b.seal(b.binding("r1"), test.name, test.password, test.attributes)
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
		if a.Verdict == nil || a.Verdict.Reason != test.reason || a.DC != "dc1.corp.example:636" {
			t.Fatalf("%s: answer %+v", test.name, a)
		}
		if got, want := a.Verdict.Attributes != nil, test.attributes && test.reason.Right(); got != want {
			t.Errorf("%s: attributes %v, want %v", test.name, got, want)
		}
		if a.Opened <= 0 || a.Fenced < a.Opened || a.Judged < a.Fenced {
			t.Errorf("times run backwards: %v %v %v", a.Opened, a.Fenced, a.Judged)
		}
		if b.corp.bindsSoFar() != 1 || b.answerer.Tally() != test.tally {
			t.Errorf("%d binds, tally %+v", b.corp.bindsSoFar(), b.answerer.Tally())
		}
	}
}

// A directory is told by when the service wants the fence.
func TestFenceBy(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	began := time.Now()
	var by time.Time
	b.corp.instead = func(_ context.Context, c directory.Check) (directory.Result, error) {
		by = c.FenceBy
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnreachable, Cause: errors.New("nobody")}
	}
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	b.answerer.Check(t.Context(), s.Check, s.goes)
	if by.Before(began.Add(fenceWithin)) || by.After(time.Now().Add(fenceWithin)) {
		t.Errorf("%v after it came", by.Sub(began))
	}
}

// An agent takes nothing that was sealed before it started: it cannot know whether that was worked on already.
func TestRestart(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
	before := b.binding("r2")
	before.Expires = before.Expires.Add(-10 * time.Second) // as sealed ten seconds ago, and still within its time
	old := b.seal(before, "anna@corp.example", rightPassword, false)
	reply := b.answerer.Check(t.Context(), old.Check, b.noFence)
	if reply.Refused != wire.EnvelopeStale || !strings.Contains(reply.Detail, "before this agent started") {
		t.Errorf("an envelope older than the agent: %v %q", reply.Refused, reply.Detail)
	}
	if b.corp.bindsSoFar() != 1 {
		t.Errorf("%d binds", b.corp.bindsSoFar())
	}
	started := time.UnixMilli(1_790_000_000_000)
	for _, c := range []struct {
		sealed time.Time
		want   bool
	}{
		{started.Add(-time.Millisecond), true},
		{started, false},
		{started.Add(time.Hour), false},
	} {
		if got := madeBefore(started.Add(300*time.Microsecond), c.sealed.Add(envelope.Life)); got != c.want {
			t.Errorf("sealed %v after the start: before it: %v", c.sealed.Sub(started), got)
		}
	}
}

// Each refusal has its own number, sends no fence, and leaves the directory alone.
func TestRefusals(t *testing.T) {
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	for _, test := range []struct {
		name string
		make func(b *bench) sealed
		want wire.Code
	}{
		{"expired", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Expires = time.Now().Add(-time.Second)
			return b.seal(binding, "anna@corp.example", rightPassword, false)
		}, wire.EnvelopeStale},
		{"valid for too long", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Expires = time.Now().Add(envelope.MaxLife + time.Minute)
			return b.seal(binding, "anna@corp.example", rightPassword, false)
		}, wire.EnvelopeStale},
		{"for another tenant", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Tenant = "other"
			return b.seal(binding, "anna@corp.example", rightPassword, false)
		}, wire.EnvelopeForeign},
		{"for another directory", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Directory = "other"
			return b.seal(binding, "anna@corp.example", rightPassword, false)
		}, wire.EnvelopeForeign},
		{"for another directory, and says so", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Directory = "other"
			s := b.seal(binding, "anna@corp.example", rightPassword, false)
			s.DirectoryId = "other"
			return s
		}, wire.EnvelopeForeign},
		{"for ours, and said to be for another directory", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.DirectoryId = "other"
			return s
		}, wire.EnvelopeForeign},
		{"for another agent", func(b *bench) sealed {
			binding := b.binding("r")
			binding.Agent = "other"
			return b.seal(binding, "anna@corp.example", rightPassword, false)
		}, wire.EnvelopeForeign},
		{"for another request", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.RequestId = "r2"
			return s
		}, wire.EnvelopeForeign},
		{"changed on the way", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.Envelope = flip(s.Envelope, len(s.Envelope)-1)
			return s
		}, wire.EnvelopeForeign},
		{"a later expiry written on it", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.Envelope = flip(s.Envelope, 29) // the last but one byte of the expiry: 256 ms
			return s
		}, wire.EnvelopeForeign},
		{"sealed to another key", func(b *bench) sealed {
			other := newAuthority(b.t).newIdentity(b.t, "g:1", time.Now().Add(time.Hour))
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			text, _, err := envelope.Seal(other.EnvelopeKey().Public(), b.binding("r"), envelope.Check{Name: "x", Password: wire.NewSecret([]byte("y"))})
			if err != nil {
				b.t.Fatal(err)
			}
			s.Envelope = text
			return s
		}, wire.EnvelopeUnreadable},
		{"not an envelope", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.Envelope = []byte("hello")
			return s
		}, wire.EnvelopeUnreadable},
		{"no envelope", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.Envelope = nil
			return s
		}, wire.EnvelopeUnreadable},
		{"no request id", func(b *bench) sealed {
			s := b.seal(b.binding("r"), "anna@corp.example", rightPassword, false)
			s.RequestId = ""
			return s
		}, wire.EnvelopeUnreadable},
		{"empty password", func(b *bench) sealed { return b.seal(b.binding("r"), "anna@corp.example", "", false) }, wire.PasswordUnusable},
		{"NUL in front", func(b *bench) sealed { return b.seal(b.binding("r"), "anna@corp.example", "\x00"+rightPassword, false) }, wire.PasswordUnusable},
		{"NUL behind", func(b *bench) sealed { return b.seal(b.binding("r"), "anna@corp.example", rightPassword+"\x00", false) }, wire.PasswordUnusable},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, slog.LevelDebug, Limits{})
			reply := b.answerer.Check(t.Context(), test.make(b).Check, b.noFence)
			if reply.Refused != test.want || len(reply.Sealed) > 0 || reply.Detail == "" {
				t.Fatalf("got %v %q, want %v", reply.Refused, reply.Detail, test.want)
			}
			if len(b.corp.revealed) != 0 || b.answerer.Tally() != (Tally{Refused: 1}) {
				t.Errorf("the directory was asked, or the tally is wrong: %+v", b.answerer.Tally())
			}
			if !strings.Contains(b.log.String(), fmt.Sprintf(`"code":%d`, test.want)) {
				t.Errorf("the log does not say why: %s", b.log)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
	if reply := b.answerer.Check(t.Context(), s.Check, b.noFence); reply.Refused != wire.EnvelopeReplayed {
		t.Fatalf("the same envelope again: %+v", reply)
	}
	again := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	if reply := b.answerer.Check(t.Context(), again.Check, b.noFence); reply.Refused != wire.EnvelopeReplayed {
		t.Fatalf("another envelope of the same request: %+v", reply)
	}
	if b.corp.bindsSoFar() != 1 {
		t.Fatalf("%d binds", b.corp.bindsSoFar())
	}
}

// What cannot be opened proves nothing and must not make a genuine request look like a replay.
func TestForgeriesDoNotFillTheMemory(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	forged := sealed{Check: b.seal(b.binding("r0"), "x", "y", false).Check}
	forged.RequestId = "r1"
	if reply := b.answerer.Check(t.Context(), forged.Check, b.noFence); reply.Refused != wire.EnvelopeForeign {
		t.Fatalf("got %+v", reply)
	}
	if a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes)); a.Verdict == nil {
		t.Fatalf("the genuine one was not served: %+v", a)
	}
}

// One of many concurrent deliveries of one envelope is worked on.
func TestConcurrentReplay(t *testing.T) {
	b := newBench(t, slog.LevelError, Limits{})
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	replies := make([]link.Reply, 16)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = b.answerer.Check(t.Context(), s.Check, s.goes) })
	}
	wg.Wait()
	sealedAnswers := 0
	for _, r := range replies {
		if len(r.Sealed) > 0 {
			sealedAnswers++
		} else if r.Refused != wire.EnvelopeReplayed {
			t.Errorf("refused with %v", r.Refused)
		}
	}
	if sealedAnswers != 1 || b.corp.bindsSoFar() != 1 {
		t.Fatalf("%d answers, %d binds", sealedAnswers, b.corp.bindsSoFar())
	}
}

func TestLimitsRefuse(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{NamePerMinute: 1, NameBurst: 2, PerSecond: 1, Burst: 3})
	check := func(request, name string) link.Reply {
		s := b.seal(b.binding(request), name, "guess", false)
		return b.answerer.Check(t.Context(), s.Check, s.goes)
	}
	for i, want := range []wire.Code{0, 0, wire.AgentRateLimited, wire.AgentRateLimited} {
		if got := check(fmt.Sprint("a", i), "ANNA@corp.example"); got.Refused != want {
			t.Fatalf("guess %d: %+v", i, got)
		}
	}
	if got := check("b1", "bert@corp.example"); got.Refused != 0 {
		t.Fatalf("another name: %+v", got)
	}
	if got := check("c1", "carl@corp.example"); got.Refused != wire.AgentRateLimited || !strings.Contains(got.Detail, "all names") {
		t.Fatalf("over the whole: %+v", got)
	}
	if b.corp.bindsSoFar() != 3 {
		t.Fatalf("%d binds", b.corp.bindsSoFar())
	}
}

// Protected names are never asked about, however they are spelt, and the answer is sealed, after a fence as any check has one: the gateway does not learn
// who is protected.
func TestProtectedNames(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	b.answerer.protection = guard.Protection{Names: []string{"Svc-Bäckup"}}
	for i, n := range []string{"administrator@corp.example", "ADMINISTRATOR@corp.example", "ádministrator@corp.example", "ｋrbtgt@corp.example", "svc-backup@corp.example"} {
		s := b.seal(b.binding(fmt.Sprint("r", i)), n, rightPassword, true)
		fences := 0
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(ctx context.Context, nonce []byte) ([]byte, error) { fences++; return s.goes(ctx, nonce) }))
		if a.Trouble == nil || a.Trouble.Code != wire.AccountProtected || a.Trouble.Fenced || fences != 1 {
			t.Errorf("%s: %+v, %d fences", n, a.Trouble, fences)
		}
	}
	if b.corp.bindsSoFar() != 0 || b.answerer.Tally().Trouble != 5 {
		t.Errorf("%d binds, %+v", b.corp.bindsSoFar(), b.answerer.Tally())
	}
	s := b.seal(b.binding("anna"), "anna@corp.example", rightPassword, false)
	if a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes)); a.Verdict == nil {
		t.Errorf("whom nothing protects: %+v", a.Trouble)
	}
}

func TestFullMemoryRefuses(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	b.answerer.seen = newMemory(1)
	first := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	b.answer(first, b.answerer.Check(t.Context(), first.Check, first.goes))
	second := b.seal(b.binding("r2"), "anna@corp.example", rightPassword, false)
	if got := b.answerer.Check(t.Context(), second.Check, b.noFence); got.Refused != wire.AgentRateLimited || !strings.Contains(got.Detail, "memory") {
		t.Fatalf("got %+v", got)
	}
	if got := b.answerer.Check(t.Context(), first.Check, b.noFence); got.Refused != wire.EnvelopeReplayed {
		t.Fatalf("the live one was forgotten: %+v", got)
	}
}

// An agent that has lost its memory – here it is made to think that it started long ago, as after a step of the host's clock – gets an
// envelope once more, with the go that was overheard the first time. The fence is a new one, and that go is not for it.
func TestOverheardGo(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	var overheard, nonces [][]byte
	a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(ctx context.Context, nonce []byte) ([]byte, error) {
		token, err := s.goes(ctx, nonce)
		overheard, nonces = append(overheard, token), append(nonces, nonce)
		return token, err
	}))
	if a.Verdict == nil || b.corp.bindsSoFar() != 1 {
		t.Fatalf("%+v, %d binds", a, b.corp.bindsSoFar())
	}
	for range 3 {
		b.answerer = NewAnswerer(b.id, b.corp, Limits{}, nil)
		b.answerer.started = time.Now().Add(-time.Hour)
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(_ context.Context, nonce []byte) ([]byte, error) {
			for _, n := range nonces {
				if bytes.Equal(n, nonce) || len(nonce) < envelope.MinNonce {
					t.Errorf("the nonce %x comes again", nonce)
				}
			}
			nonces = append(nonces, nonce)
			return overheard[0], nil
		}))
		if a.Trouble == nil || a.Trouble.Fenced || a.Trouble.Code != wire.AgentRefused {
			t.Errorf("answer %+v", a)
		}
	}
	if n := b.corp.bindsSoFar(); n != 1 {
		t.Errorf("%d binds of one password", n)
	}
}

// Without the right go nothing is bound, and the service hears that for certain.
func TestNoGoNoBind(t *testing.T) {
	for _, test := range []struct {
		name  string
		fence func(b *bench, s sealed, nonce []byte) ([]byte, error)
		want  wire.Code
	}{
		{"no go in time", func(*bench, sealed, []byte) ([]byte, error) { return nil, link.ErrNoGo }, wire.TransientNetwork},
		{"an empty go", func(*bench, sealed, []byte) ([]byte, error) { return nil, nil }, wire.AgentRefused},
		{"a guessed go", func(*bench, sealed, []byte) ([]byte, error) { return make([]byte, 32), nil }, wire.AgentRefused},
		{"half a go", func(_ *bench, s sealed, nonce []byte) ([]byte, error) { return s.sender.GoToken(nonce)[:16], nil }, wire.AgentRefused},
		{"a go and more", func(_ *bench, s sealed, nonce []byte) ([]byte, error) { return append(s.sender.GoToken(nonce), 0), nil }, wire.AgentRefused},
		{"the go of another fence", func(_ *bench, s sealed, nonce []byte) ([]byte, error) {
			other := bytes.Clone(nonce)
			other[0] ^= 1
			return s.sender.GoToken(other), nil
		}, wire.AgentRefused},
		{"the go of another envelope", func(b *bench, _ sealed, nonce []byte) ([]byte, error) {
			return b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false).sender.GoToken(nonce), nil
		}, wire.AgentRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, slog.LevelInfo, Limits{})
			s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
			a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(_ context.Context, nonce []byte) ([]byte, error) { return test.fence(b, s, nonce) }))
			if a.Trouble == nil || a.Trouble.Fenced || a.Trouble.Code != test.want || a.Fenced != 0 {
				t.Fatalf("answer %+v %+v", a, a.Trouble)
			}
			if b.corp.bindsSoFar() != 0 || b.answerer.Tally() != (Tally{Trouble: 1}) {
				t.Fatalf("%d binds, %+v", b.corp.bindsSoFar(), b.answerer.Tally())
			}
		})
	}
}

// A validator that misbehaves cannot make the agent lie.
func TestValidatorMisbehaves(t *testing.T) {
	accepted := directory.Result{Verdict: wire.Verdict{Reason: wire.Accepted}}
	for _, test := range []struct {
		name    string
		instead func(context.Context, directory.Check) (directory.Result, error)
		want    wire.Trouble
	}{
		{"a verdict without a fence", func(context.Context, directory.Check) (directory.Result, error) { return accepted, nil },
			wire.Trouble{Code: wire.Internal, Fenced: true}},
		{"a verdict after a fence that failed twice over", func(ctx context.Context, c directory.Check) (directory.Result, error) {
			if err := c.Fence(ctx); err != nil {
				return directory.Result{}, err
			}
			if err := c.Fence(ctx); !errors.Is(err, errFencedTwice) {
				return accepted, nil
			}
			return directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, Cause: errors.New("gone")}
		}, wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true}},
		{"an unknown reason", func(ctx context.Context, c directory.Check) (directory.Result, error) {
			return directory.Result{Verdict: wire.Verdict{Reason: "perhaps"}}, c.Fence(ctx)
		}, wire.Trouble{Code: wire.DirectoryUnusable, Fenced: true, Detail: "a verdict without a known reason"}},
		{"an error of another kind before the fence", func(context.Context, directory.Check) (directory.Result, error) {
			return directory.Result{}, errors.New("out of cheese")
		}, wire.Trouble{Code: wire.Internal, Detail: "out of cheese"}},
		{"an error of another kind after the fence", func(ctx context.Context, c directory.Check) (directory.Result, error) {
			return directory.Result{}, errors.Join(c.Fence(ctx), errors.New("out of cheese"))
		}, wire.Trouble{Code: wire.Internal, Fenced: true}},
		{"unreachable", func(context.Context, directory.Check) (directory.Result, error) {
			return directory.Result{}, &directory.Error{Code: wire.DirectoryUnreachable, Cause: errors.New("refused")}
		}, wire.Trouble{Code: wire.DirectoryUnreachable}},
		{"more attributes than can be sealed", func(ctx context.Context, c directory.Check) (directory.Result, error) {
			r := directory.Result{Verdict: wire.Verdict{Reason: wire.Accepted, Attributes: &wire.Attributes{Groups: []string{strings.Repeat("g", envelope.MaxAnswer)}}}}
			return r, c.Fence(ctx)
		}, wire.Trouble{Code: wire.DirectoryUnusable, Fenced: true, Detail: "too large to be sealed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, slog.LevelInfo, Limits{})
			b.corp.instead = test.instead
			s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, true)
			a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
			if a.Trouble == nil || a.Trouble.Code != test.want.Code || a.Trouble.Fenced != test.want.Fenced || !strings.Contains(a.Trouble.Detail, test.want.Detail) {
				t.Fatalf("answer %+v %+v, want %+v", a, a.Trouble, test.want)
			}
		})
	}
}

// A fence that a validator has left behind is worth nothing once the answer is out.
func TestLateFence(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	var late func(context.Context) error
	b.corp.instead = func(_ context.Context, c directory.Check) (directory.Result, error) {
		late = c.Fence
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnreachable, Cause: errors.New("gave up")}
	}
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	b.answer(s, b.answerer.Check(t.Context(), s.Check, b.noFence))
	if err := late(t.Context()); !errors.Is(err, errFenceLate) {
		t.Fatalf("got %v", err)
	}
}

// Nor is one that was on its way when the answer went out.
func TestFenceOvertaken(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	asked, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	b.corp.instead = func(ctx context.Context, c directory.Check) (directory.Result, error) {
		go func() { ended <- c.Fence(ctx) }()
		<-asked
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnreachable, Cause: errors.New("gave up")}
	}
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(ctx context.Context, nonce []byte) ([]byte, error) {
		close(asked)
		<-release
		return s.goes(ctx, nonce)
	}))
	if a.Trouble == nil || a.Trouble.Fenced {
		t.Errorf("answer %+v", a)
	}
	close(release)
	if err := <-ended; !errors.Is(err, errFenceLate) {
		t.Errorf("got %v", err)
	}
}

// What a directory says is one short line in the answer, and the domain controller that was asked is named there whoever names it.
func TestWordsOfTheDirectory(t *testing.T) {
	const long = "refused\x00\n\x1b[31m"
	words := long + strings.Repeat("x", maxDetail)
	for name, c := range map[string]struct {
		result directory.Result
		err    error
		dc     string
	}{
		"a verdict":                            {directory.Result{DC: "dc1:636", Verdict: wire.Verdict{Reason: wire.BadPassword, Diagnostic: words}}, nil, "dc1:636"},
		"trouble":                              {directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, DC: "dc2:636", Cause: errors.New(words)}, "dc2:636"},
		"trouble that the result is the DC of": {directory.Result{DC: "dc1:636"}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, Cause: errors.New(words)}, "dc1:636"},
	} {
		b := newBench(t, slog.LevelInfo, Limits{})
		b.corp.instead = func(ctx context.Context, check directory.Check) (directory.Result, error) {
			if err := check.Fence(ctx); err != nil {
				t.Error(err)
			}
			return c.result, c.err
		}
		s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
		said := ""
		if a.Verdict != nil {
			said = a.Verdict.Diagnostic
		} else {
			said = a.Trouble.Detail
		}
		if !strings.Contains(said, "refused   [31mx") || !strings.HasSuffix(said, "x…") || len(said) > maxDetail+len("…") || a.DC != c.dc {
			t.Errorf("%s: %q of %q", name, said, a.DC)
		}
	}
}

func TestPanics(t *testing.T) {
	for _, test := range []struct {
		name    string
		fence   bool
		explode func(password []byte)
		says    string
	}{
		{"before the fence", false, func([]byte) { panic(errors.New("boom")) }, "*errors.errorString"},
		{"after the fence", true, func([]byte) { panic("boom") }, "string"},
		{"with the password in it", true, func(p []byte) { panic("bind failed for " + string(p)) }, "string"},
		{"of the runtime", true, func(p []byte) { _ = p[len(p)] }, "index out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, slog.LevelDebug, Limits{})
			b.corp.instead = func(ctx context.Context, c directory.Check) (directory.Result, error) {
				if test.fence {
					if err := c.Fence(ctx); err != nil {
						t.Error(err)
					}
				}
				test.explode(c.Password.Reveal())
				return directory.Result{}, nil
			}
			s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
			reply := b.answerer.Check(t.Context(), s.Check, s.goes)
			if !test.fence {
				if reply.Refused != wire.Internal {
					t.Fatalf("got %+v", reply)
				}
			} else if a := b.answer(s, reply); a.Trouble == nil || a.Trouble.Code != wire.Internal || !a.Trouble.Fenced {
				t.Fatalf("got %+v", a)
			}
			var entry struct {
				Level, Panic string
				At           []string
			}
			if err := json.Unmarshal(b.log.Bytes(), &entry); err != nil {
				t.Fatalf("%v: %s", err, b.log)
			}
			if entry.Level != "ERROR" || !strings.Contains(entry.Panic, test.says) || !strings.Contains(strings.Join(entry.At, " "), "answer_test.go") {
				t.Errorf("log: %s", b.log)
			}
			noCanary(t, "log", b.log.Bytes())
			for _, p := range b.corp.revealed {
				if !bytes.Equal(p, make([]byte, len(p))) {
					t.Error("the password was not wiped")
				}
			}
			// The agent lives on.
			b.corp.instead = nil
			next := b.seal(b.binding("r2"), "anna@corp.example", rightPassword, false)
			if a := b.answer(next, b.answerer.Check(t.Context(), next.Check, next.goes)); a.Verdict == nil || !a.Verdict.Reason.Right() {
				t.Fatalf("after the panic: %+v", a)
			}
		})
	}
}

// noCanary looks for the password in every usual encoding.
func noCanary(t *testing.T, where string, text []byte) {
	t.Helper()
	raw := []byte(rightPassword)
	var utf16le []byte
	for _, u := range utf16.Encode([]rune(rightPassword)) {
		utf16le = append(utf16le, byte(u), byte(u>>8))
	}
	encoded := map[string]string{"plain": rightPassword, "url": url.QueryEscape(rightPassword), "UTF-16": string(utf16le)}
	for name, b := range map[string][]byte{"plain": raw, "UTF-16": utf16le} {
		encoded["hex "+name] = hex.EncodeToString(b)
		for offset := range 3 {
			// whatever the alignment, an inner part of the encoding stays the same
			e := base64.StdEncoding.EncodeToString(append(make([]byte, offset), b...))
			encoded[fmt.Sprint("base64 ", name, offset)] = e[4 : len(e)-4]
		}
	}
	encoded["Go bytes"] = strings.Trim(fmt.Sprint(raw), "[]")
	for encoding, needle := range encoded {
		if bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(needle))) {
			t.Errorf("%s holds the password (%s)", where, encoding)
		}
	}
}

// The password appears nowhere, whatever happens to a check, and its bytes are gone when the check has ended.
func TestCanary(t *testing.T) {
	boom := errors.New("boom")
	for name, instead := range map[string]func(context.Context, directory.Check) (directory.Result, error){
		"right": nil,
		"error that prints the check": func(_ context.Context, c directory.Check) (directory.Result, error) {
			return directory.Result{}, fmt.Errorf("check %+v %#v %x: %w", c.Password, c.Password, c.Password, boom)
		},
		"trouble that prints the check": func(ctx context.Context, c directory.Check) (directory.Result, error) {
			return directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, Cause: errors.Join(c.Fence(ctx), fmt.Errorf("%v", c))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, slog.LevelDebug, Limits{})
			b.corp.instead = instead
			s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, true)
			reply := b.answerer.Check(t.Context(), s.Check, s.goes)
			answer, err := json.Marshal(b.answer(s, reply))
			if err != nil {
				t.Fatal(err)
			}
			noCanary(t, "log", b.log.Bytes())
			noCanary(t, "sealed answer", reply.Sealed)
			noCanary(t, "answer", answer)
			noCanary(t, "refusal", []byte(reply.Detail))
			if len(b.corp.revealed) != 1 || len(b.corp.revealed[0]) != len(rightPassword) {
				t.Fatalf("revealed %d times", len(b.corp.revealed))
			}
			if !bytes.Equal(b.corp.revealed[0], make([]byte, len(rightPassword))) {
				t.Error("the password was not wiped")
			}
		})
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	b.corp.instead = func(ctx context.Context, _ directory.Check) (directory.Result, error) {
		cancel()
		<-ctx.Done()
		return directory.Result{}, &directory.Error{Code: wire.TransientNetwork, Cause: ctx.Err()}
	}
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	if a := b.answer(s, b.answerer.Check(ctx, s.Check, b.noFence)); a.Trouble == nil || a.Trouble.Fenced {
		t.Fatalf("got %+v", a)
	}
}

// An envelope is opened with the key that it names while a renewal is under way, from the moment that the service may know the new one.
func TestEnvelopesDuringARenewal(t *testing.T) {
	a := newAuthority(t)
	b := newBench(t, slog.LevelInfo, Limits{})
	keeper := identity.KeepInMemory(a.newIdentity(t, "gateway.example.com:443", time.Now().Add(time.Hour)))
	b.answerer = newAnswerer(keeper, b.corp, Limits{}, nil)
	fresh, err := keeper.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(fresh.CSR)
	if err != nil {
		t.Fatal(err)
	}
	next := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(8), URIs: []*url.URL{wire.AgentIdentity{TrustDomain: "sallyport.example", Tenant: tenantID, Agent: agentID}.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, request.PublicKey.(*ecdsa.PublicKey))
	former := keeper.Current().EnvelopeKey().Public()
	asked := 0
	ask := func(key envelope.PublicKey) link.Reply {
		t.Helper()
		asked++
		binding := b.binding(fmt.Sprint("r", asked))
		text, sender, err := envelope.Seal(key, binding, envelope.Check{Name: "anna@corp.example", Password: wire.NewSecret([]byte(rightPassword))})
		if err != nil {
			t.Fatal(err)
		}
		s := sealed{&linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent}, sender}
		return b.answerer.Check(t.Context(), s.Check, s.goes)
	}
	if r := ask(fresh.EnvelopeKey()); r.Refused != wire.EnvelopeUnreadable {
		t.Errorf("a key of no certificate: %+v", r)
	}
	if err := keeper.Accept(fresh, [][]byte{next.Raw, a.cert.Raw}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"before the switch", "after it"} {
		for name, key := range map[string]envelope.PublicKey{"former": former, "fresh": fresh.EnvelopeKey()} {
			if r := ask(key); r.Refused != 0 || len(r.Sealed) == 0 {
				t.Errorf("%s, the %s key: %+v", when, name, r)
			}
		}
		if _, err := keeper.Confirmed(next.SerialNumber.Text(16), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if keeper.Current().EnvelopeKey().Public().ID() == former.ID() {
		t.Error("the service's welcome changed nothing")
	}
}

// Why an envelope did not open is told by number and in words.
func TestRefusalOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		code wire.Code
		says string
	}{
		{envelope.ErrExpired, wire.EnvelopeStale, "expired"},
		{envelope.ErrAhead, wire.EnvelopeStale, "too far ahead"},
		{envelope.ErrUnreadable, wire.EnvelopeForeign, "bound to another"},
		{envelope.ErrKeyID, wire.EnvelopeUnreadable, "a key that this agent does not have"},
		{fmt.Errorf("%w: unplugged\n", envelope.ErrDevice), wire.EnvelopeUnreadable, "the device that holds the key failed: unplugged "},
		{envelope.ErrSuite, wire.EnvelopeUnreadable, "a suite that this agent does not know"},
		{envelope.ErrFormat, wire.EnvelopeUnreadable, "not an envelope of a form"},
		{envelope.ErrBinding, wire.EnvelopeUnreadable, "not an envelope of a form"},
	} {
		if r := refusalOf(c.err); r.code != c.code || !strings.Contains(r.detail, c.says) {
			t.Errorf("%v: %d %q", c.err, r.code, r.detail)
		}
	}
}

// finder looks names up as it is told.
type finder struct {
	*corp
	account *directory.Account
	err     *directory.Error
	asked   []string
}

func (f *finder) Find(_ context.Context, attribute, name string) (*directory.Account, *directory.Error) {
	f.asked = append(f.asked, attribute+"="+name)
	return f.account, f.err
}

// A name that may be the value of an attribute is looked up before the directory is asked about the account that has it.
func TestLookedUp(t *testing.T) {
	anna := &directory.Account{DN: "CN=Anna,DC=corp,DC=example", SAM: "anna", Domain: "corp.example"}
	for name, c := range map[string]struct {
		attribute string
		found     *directory.Account
		err       *directory.Error
		cannot    bool
		code      wire.Code // of the trouble
		account   *directory.Account
	}{
		"not to be looked up":   {found: anna},
		"found":                 {attribute: "mail", found: anna, account: anna},
		"nobody":                {attribute: "mail"},
		"several":               {attribute: "mail", err: &directory.Error{Code: wire.NameAmbiguous, Cause: errors.New("two")}, code: wire.NameAmbiguous},
		"a protected account":   {attribute: "mail", found: &directory.Account{SAM: "Administrator", Domain: "corp.example"}, code: wire.AccountProtected},
		"nobody can look it up": {attribute: "mail", cannot: true, code: wire.NameNotLookedUp},
	} {
		b := newBench(t, slog.LevelInfo, Limits{})
		var validated []directory.Check
		b.corp.instead = func(ctx context.Context, check directory.Check) (directory.Result, error) {
			validated = append(validated, check)
			return directory.Result{Verdict: wire.Verdict{Reason: wire.BadPassword}}, check.Fence(ctx)
		}
		f := &finder{corp: b.corp, account: c.found, err: c.err}
		if b.answerer.validator = f; c.cannot {
			b.answerer.validator = b.corp
		}
		binding := b.binding("r1")
		text, sender, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding,
			envelope.Check{Name: "a1@corp.example", Password: wire.NewSecret([]byte("guess")), NameAttribute: c.attribute})
		if err != nil {
			t.Fatal(err)
		}
		s := sealed{&linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent}, sender}
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
		if wanted := c.attribute != "" && !c.cannot; wanted != (len(f.asked) == 1) || wanted && f.asked[0] != "mail=a1@corp.example" {
			t.Errorf("%s: looked up %q", name, f.asked)
		}
		if c.code != 0 {
			if a.Trouble == nil || a.Trouble.Code != c.code || a.Trouble.Fenced || len(validated) != 0 {
				t.Errorf("%s: %+v, the directory was asked %d times", name, a.Trouble, len(validated))
			}
			continue
		}
		if a.Verdict == nil || len(validated) != 1 || validated[0].Account != c.account || validated[0].Name != "a1@corp.example" {
			t.Errorf("%s: %+v %+v, asked about %+v", name, a.Verdict, a.Trouble, validated)
		}
	}
}

// addressee knows one account by whatever is typed.
type addressee struct{ *corp }

// annasAnchor is its objectGUID.
const annasAnchor = "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e"

func (addressee) Find(context.Context, string, string) (*directory.Account, *directory.Error) {
	return &directory.Account{DN: "CN=Anna,DC=corp,DC=example", Anchor: annasAnchor, SAM: "anna", Domain: "corp.example"}, nil
}

// The fence tells the service whose password it is, where that was looked up, and looks the same where it was not; a service that holds the account back
// is obeyed, and nothing is bound.
func TestFenceTellsWhose(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	b.answerer.validator = addressee{b.corp}
	for _, c := range []struct {
		name, attribute, whose string
		hold                   bool
	}{
		{"a1@corp.example", "proxyAddresses", annasAnchor, false},
		{"a2@corp.example", "proxyAddresses", annasAnchor, true},
		{"a3@corp.example", "", "00000000-0000-0000-0000-000000000000", false},
		{"a4@corp.example", "", "00000000-0000-0000-0000-000000000000", true},
	} {
		binding, binds := b.binding("r-"+c.name), b.corp.bindsSoFar()
		text, sender, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding,
			envelope.Check{Name: c.name, Password: wire.NewSecret([]byte("guess")), NameAttribute: c.attribute})
		if err != nil {
			t.Fatal(err)
		}
		s := sealed{&linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent}, sender}
		a := b.answer(s, b.answerer.Check(t.Context(), s.Check, func(ctx context.Context, nonce []byte) ([]byte, error) {
			if whose := uuid.UUID(sender.Whose(nonce)).String(); whose != c.whose || len(nonce) != envelope.FenceNonce {
				t.Errorf("%s: a nonce of %d bytes, of %s", c.name, len(nonce), whose)
			}
			if c.hold {
				return sender.HoldToken(nonce), nil
			}
			return s.goes(ctx, nonce)
		}))
		held := a.Trouble != nil && !a.Trouble.Fenced && a.Trouble.Code == wire.AccountLockedOut && a.Fenced == 0
		if held != c.hold || !c.hold && a.Verdict == nil || b.corp.bindsSoFar()-binds != map[bool]int{false: 1}[c.hold] {
			t.Errorf("%s: %+v %+v, %d binds", c.name, a, a.Trouble, b.corp.bindsSoFar()-binds)
		}
	}
}

// Somebody who has many names that are looked up has one limit.
func TestLimitOfAllNames(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{NamePerMinute: 1, NameBurst: 3})
	b.answerer.validator = addressee{b.corp}
	asked := func(name string) wire.Answer {
		binding := b.binding("r-" + name)
		text, sender, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding,
			envelope.Check{Name: name, Password: wire.NewSecret([]byte("guess")), NameAttribute: "proxyAddresses"})
		if err != nil {
			t.Fatal(err)
		}
		s := sealed{&linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent}, sender}
		return b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
	}
	for i, name := range []string{"a1@corp.example", "a2@corp.example", "Anna@corp.example", "a3@corp.example"} {
		a := asked(name)
		if i < 3 && a.Verdict == nil || i == 3 && (a.Trouble == nil || a.Trouble.Fenced || a.Trouble.Code != wire.AgentRateLimited) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if n := b.corp.bindsSoFar(); n != 3 {
		t.Errorf("%d binds", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	bench := newBench(b, slog.LevelError, Limits{NamePerMinute: -1, PerSecond: -1})
	s := bench.seal(bench.binding("r1"), "anna@corp.example", rightPassword, false)
	for b.Loop() {
		bench.answerer.seen = newMemory(1) // else all but the first would be replays
		if reply := bench.answerer.Check(b.Context(), s.Check, s.goes); reply.Refused != 0 {
			b.Fatal(reply.Detail)
		}
	}
}
