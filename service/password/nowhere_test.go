package password

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sallyport-auth/sallyport/wire"
)

// TestUnknownDomainsStandInLine posts more for one name of no domain, at once, than an account has room for: what a name of a directory
// meets, too many at once and smart lockout, it meets as well.
func TestUnknownDomainsStandInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		codes := map[wire.Code]int{}
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				a, err := w.check(t, w.a, "ada@other.example", wrong)
				if err != nil && a.Code != wire.TooManyRequests {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[a.Code]++
			})
		}
		wg.Wait()
		if threshold := w.guard.Policy().Threshold; codes[wire.DomainUnknown] != threshold || codes[wire.AccountLockedOut] == 0 || codes[wire.TooManyRequests] == 0 {
			t.Errorf("%v, the threshold is %d", codes, threshold)
		}
		if n := len(w.queue.Asks()); n != 0 {
			t.Errorf("%d asks", n)
		}
		if n := len(w.inflight.accounts); n != 0 {
			t.Errorf("%d accounts are still remembered", n)
		}
	})
}
