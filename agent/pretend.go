package agent

import (
	"context"
	"crypto/subtle"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// ofAnAccount reports whether a number says why the directory was not asked about one account. Which accounts those are is for the service alone: on its way
// such a check must look like any that ends with a wrong password.
func ofAnAccount(c wire.Code) bool {
	return c == wire.LockoutSpared || c == wire.AccountProtected || c == wire.NameAmbiguous || c == wire.AccountLockedOut
}

// pretend does for a check that is not asked about what the gateway sees of one that is: a fence, and an answer when a domain controller would have
// answered, and no wait where the go is none. The service, which counts it as a wrong password, reads in the answer that nothing was sent; should that be lost, it says that it does not know.
func (w *work) pretend(ctx context.Context) {
	like := w.a.paces.draw()
	w.gate.mu.Lock()
	asked := w.gate.asked
	w.gate.asked = true
	w.gate.mu.Unlock()
	if !asked {
		if !wait(ctx, like.fence-time.Since(w.arrived)) {
			return
		}
		nonce := w.receiver.Nonce(w.whose)
		token, err := w.ask(ctx, nonce)
		if err != nil || !equal(token, w.receiver.GoToken(nonce)) && !equal(token, w.receiver.HoldToken(nonce)) {
			return // as a check ends that is sent: nobody waits any more, or the gateway made the word up
		}
	}
	wait(ctx, like.bind)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// wait lets the time pass, and reports whether it has before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pace is how long a check took: from its arrival to the fence, and from the go to the directory's answer.
type pace struct{ fence, bind time.Duration }

// paces remember those of the newest checks that ended with a wrong password. Drawing from them gives the same spread. Safe for concurrent use.
type paces struct {
	mu    sync.Mutex
	taken [maxPaces]pace
	n     int // how many have ever been put
}

func (p *paces) put(one pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[p.n%maxPaces] = one
	p.n++
}

// draw returns one of them, or a guess at what a domain controller nearby takes where there is none yet.
func (p *paces) draw() pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return pace{rand.N(guessedPace), rand.N(guessedPace)}
	}
	return p.taken[rand.IntN(min(p.n, maxPaces))]
}
