package password

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

// timing remembers, for each tenant and kind of domain, how long recent real wrong answers took, and draws from that how long an answer takes
// that was decided here. Drawing from real ones, rather than waiting for an average, gives both the same spread.
type timing struct {
	mu         sync.Mutex
	reservoirs map[timingKey]*reservoir
}

type timingKey struct {
	tenant string
	kind   tenant.Kind
}

// reservoir is a ring of the last reservoirSize durations.
type reservoir struct {
	taken [reservoirSize]time.Duration
	n     int // how many have ever been put
}

// put remembers a real wrong answer.
func (t *timing) put(k timingKey, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reservoirs == nil {
		t.reservoirs = map[timingKey]*reservoir{}
	}
	r := t.reservoirs[k]
	if r == nil {
		if len(t.reservoirs) >= reservoirsMax {
			for other := range t.reservoirs { // any one: it fills again by itself
				delete(t.reservoirs, other)
				break
			}
		}
		r = &reservoir{}
		t.reservoirs[k] = r
	}
	r.taken[r.n%reservoirSize] = d
	r.n++
}

// draw returns the duration of one recent real wrong answer, or a guess when there was none.
func (t *timing) draw(k timingKey) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.reservoirs[k]; r != nil {
		return r.taken[rand.IntN(min(r.n, reservoirSize))]
	}
	return guessFrom + rand.N(guessTo-guessFrom)
}

// usual returns the time within which nine of ten recent real wrong answers came, or a guess when there was none.
func (t *timing) usual(k timingKey) time.Duration {
	t.mu.Lock()
	r := t.reservoirs[k]
	if r == nil {
		t.mu.Unlock()
		return (guessFrom + guessTo) / 2
	}
	all := slices.Clone(r.taken[:min(r.n, reservoirSize)])
	t.mu.Unlock()
	slices.Sort(all)
	return all[(len(all)-1)*9/10]
}

// hold is the rule of when an answer that must look like any wrong password is given, counted from the start of the check, when it was
// known after took and usually is after usual. Directories do not take as long for one reason as for another: they count a wrong password
// and look up no password of nobody. What all reasons wait for is therefore well beyond what the slow ones need, and depends on
// nothing that belongs to the one name; the few that need longer come in steps.
func hold(took, usual time.Duration) time.Duration {
	floor := min(usual+usual/2, mostFloor)
	return max((max(took, floor)+holdStep-1)/holdStep, 1) * holdStep
}

// until waits until the given time, or until ctx ends, whose error it returns.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
