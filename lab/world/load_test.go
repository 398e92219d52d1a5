package world

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	// perSecond is how many people begin to sign in each second.
	perSecond = 30
	// rollingPerSecond is the same while everything is restarted in turn.
	rollingPerSecond = 50
	// mistypes is how often one of them has the password wrong.
	mistypes = 5
	// slowBind is what a busy domain controller over a slow line takes.
	slowBind = 150 * time.Millisecond
	// patience is how often somebody begins again who was told nothing, or that it did not work just now.
	patience = 6
)

// guest is one person of a load: each signs in once and has an account of their own, so that what the directory counts for the
// account is what became of one password.
type guest struct {
	name  string
	wrong bool
	// posts is how often the password left the browser, ends how each visit ended that neither let the person in nor judged the
	// password.
	posts int
	ends  []string
	last  visitor.Outcome
}

// typed is what the guest types.
func (g *guest) typed() string {
	if g.wrong {
		return people.WrongPassword
	}
	return people.RightPassword
}

// judged reports whether the page said what is right for what was typed.
func (g *guest) judged() bool {
	if g.wrong {
		return g.last.Code == int(wire.InvalidPassword)
	}
	return g.last.SignedIn == g.name
}

// load lets people in at a steady rate, until it is told to stop or the crowd is used up.
type load struct {
	guests []*guest // those who came
	stop   context.CancelFunc
	done   chan struct{}
}

// begin starts a load of a crowd called prefix.
func begin(t *testing.T, w *World, prefix string, count, perSecond int) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var visits sync.WaitGroup
		defer visits.Wait()
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := range count {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			g := &guest{name: upn(prefix, i), wrong: i%mistypes == mistypes-1}
			l.guests = append(l.guests, g)
			visits.Go(func() { g.visit(t.Context(), w) })
		}
		<-ctx.Done()
	}()
	return l
}

// end lets nobody in any more, waits for those who are at it, and returns all who came.
func (l *load) end() []*guest {
	l.stop()
	<-l.done
	return l.guests
}

// visit signs in, and begins again after an end that told nothing about the password.
func (g *guest) visit(ctx context.Context, w *World) {
	for range patience {
		saw, err := w.SignIn(ctx, g.name, g.typed())
		g.last = saw
		if saw.Posted {
			g.posts++
		}
		if err == nil && g.judged() {
			return
		}
		if err != nil {
			g.ends = append(g.ends, err.Error())
		} else {
			g.ends = append(g.ends, wire.Code(saw.Code).String()+" "+saw.Sentence)
		}
	}
}

// TestRollingRestart restarts everything, one process after the other and each with SIGTERM, under load. Nobody notices: every
// sign-in ends at the first try as it must, every password is bound exactly once, every wrong one counted exactly once.
func TestRollingRestart(t *testing.T) {
	const count = 6000
	w := split(t, 4, crowd("r", count))
	w.Directory.Delay(slowBind) // so that every process has checks in flight when it is told to go
	l := begin(t, w, "r", count, rollingPerSecond)
	restart := func(n *Node) {
		t.Helper()
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		noError(t, n.Start(t.Context()))
	}
	for _, n := range w.Agents {
		restart(n)
		noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
	}
	for _, n := range w.Gateways {
		// As where a restart takes its time: all agents are at the other one by then, and must all leave that when its turn comes.
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
		noError(t, n.Start(t.Context()))
	}
	for i, n := range w.Signins {
		w.Welcome(w.Signins[1-i])
		restart(n)
		w.Welcome(w.Signins...)
	}
	guests := l.end()
	t.Logf("%d people signed in meanwhile", len(guests))
	if len(guests) == count {
		t.Error("the load ended before the restarts did")
	}
	for _, g := range guests {
		wrong := 0
		if g.wrong {
			wrong = 1
		}
		if len(g.ends) > 0 || !g.judged() {
			t.Errorf("%s: %q, at last %+v", g.name, g.ends, g.last)
		}
		wantBinds(t, w, g.name, 1, wrong)
		if g.wrong && failures(t, w, g.name) != 1 {
			t.Errorf("%s: the wrong password is counted %d times", g.name, failures(t, w, g.name))
		}
	}
}

// TestCrashesUnderLoad kills agents at every stop of the path, then gateways and sign-in processes in the middle of checks, while
// people sign in. Everybody gets their answer in the end; what was typed once is bound twice at most, and counted once by the
// service; and whoever was told anything else was told honestly that it is not known.
func TestCrashesUnderLoad(t *testing.T) {
	const count = 3000
	w := split(t, 4, crowd("c", count))
	w.Directory.Delay(slowBind)
	l := begin(t, w, "c", count, perSecond)
	for _, at := range []stop{atCheck, atFence, atGo, atBind, atAnswer, atCheck, atFence, atGo, atBind, atAnswer} {
		n := sprung(t, trap(t, w, at, kill.do))
		untrap(w)
		noError(t, n.Start(t.Context()))
		noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
	}
	for i, g := range w.Gateways {
		sprung(t, trap(t, w, atGo, func(*Node) { g.Kill() }))
		untrap(w)
		noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
		noError(t, g.Start(t.Context()))
		for _, n := range w.Agents { // those that had to leave come back, or the next crash would take all agents at once
			if gatewayOf(w, n) == g {
				noError(t, n.Stop())
				noError(t, n.Start(t.Context()))
			}
		}
		s := w.Signins[i]
		sprung(t, trap(t, w, atGo, func(*Node) { s.Kill() }))
		untrap(w)
		noError(t, s.Start(t.Context()))
	}
	guests := l.end()
	if len(guests) == count {
		t.Error("the load ended before the crashes did")
	}
	again, twice := 0, 0
	for _, g := range guests {
		for _, end := range g.ends {
			again++
			if code, _, page := strings.Cut(end, " "); page && len(code) == 5 && code != wire.LostAfterFence.String() {
				t.Errorf("%s was told %s", g.name, end)
			}
		}
		if !g.judged() {
			t.Errorf("%s was never told: %q", g.name, g.ends)
		}
		binds := w.Directory.Binds(g.name)
		if binds > g.posts {
			twice++
		}
		if binds < 1 || binds > 2*g.posts {
			t.Errorf("%s: %d binds for a password that was sent %d times", g.name, binds, g.posts)
		}
		counted := failures(t, w, g.name)
		switch bad := w.Directory.BadPwdCount(g.name); {
		case !g.wrong && (counted != 0 || bad != 0):
			t.Errorf("%s typed the right password, and %d wrong ones are counted here, %d there", g.name, counted, bad)
		case g.wrong && (counted < 1 || counted > g.posts || bad != binds):
			t.Errorf("%s: sent %d wrong passwords, %d are counted here, %d there", g.name, g.posts, counted, bad)
		}
	}
	t.Logf("%d people: %d began again, %d were bound once more than they typed", len(guests), again, twice)
}
