package password

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestStrangersNamesAreNotKept: what lies in no domain may be a password in the wrong field. It is counted, and no row shows it; nor may the
// caller's log.
func TestStrangersNamesAreNotKept(t *testing.T) {
	t.Parallel() // wrong answers are held back
	w := newWorld(t)
	for typed, known := range map[string]bool{"S3cret@zebra.example": false, `S3cret\zebra`: false, "S3cret-zebra": false, name: true, "nobody@corp.example": true,
		"nobody@cloud.example": true} {
		for range 2 {
			if a, _ := w.check(t, w.a, typed, wrong); a.NameKnown != known {
				t.Errorf("%s is known: %t", typed, a.NameKnown)
			}
		}
		if a, _ := w.check(t, w.a, typed, ""); a.NameKnown {
			t.Errorf("%s is known before anybody has looked", typed)
		}
	}
	var names, all int
	rows := w.store.Reader().QueryRowContext(t.Context(), `SELECT count(CASE WHEN lower(account) LIKE '%zebra%' THEN 1 END), count(*) FROM lockout`)
	if err := rows.Scan(&names, &all); err != nil || names != 0 || all < 3 {
		t.Errorf("%d of %d counted accounts show what was typed (%v)", names, all, err)
	}
}

// TestManyAtOnceTellNothing posts more for one name, at once, than an account has room for. Names of no domain and names that an agent's guard
// holds back meet what others of a directory meet: their threshold of answers, then smart lockout, and too many at once.
func TestManyAtOnceTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		short := "CORP"
		if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{NetBIOSName: &short}, time.Now()); err != nil {
			t.Fatal(err)
		}
		held := map[string]wire.Code{"spared@corp.example": wire.LockoutSpared, "protected@corp.example": wire.AccountProtected, "shared@corp.example": wire.NameAmbiguous}
		w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
			time.Sleep(guessFrom) // the bubble's clock
			check, _, err := c.Reopen()
			if err != nil {
				t.Error(err)
			}
			check.Password.Wipe()
			if code := held[check.Name]; code != 0 {
				return passwordtest.Trouble(wire.Trouble{Code: code})(ctx, c)
			}
			return w.ad.Agent(ctx, c)
		})
		for _, test := range []struct {
			name  string
			want  wire.Code
			asked bool
		}{
			{name, wire.InvalidPassword, true},
			{"nobody@corp.example", wire.InvalidPassword, true},
			{`CORP\somebody`, wire.InvalidPassword, true},
			{"ada@other.example", wire.DomainUnknown, false},
			{`OTHER\ada`, wire.DomainUnknown, false},
			{"spared@corp.example", wire.LockoutSpared, true},
			{"protected@corp.example", wire.AccountProtected, true},
			{"shared@corp.example", wire.NameAmbiguous, true},
		} {
			before := len(w.queue.Asks())
			var mu sync.Mutex
			codes := map[wire.Code]int{}
			var wg sync.WaitGroup
			for range 60 {
				wg.Go(func() {
					a, err := w.check(t, w.a, test.name, wrong)
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
			if codes[test.want] != threshold || codes[wire.AccountLockedOut] == 0 || codes[wire.TooManyRequests] == 0 {
				t.Errorf("%s: %v, the threshold is %d", test.name, codes, threshold)
			}
			asks := 0
			if test.asked {
				asks = threshold
			}
			if n := len(w.queue.Asks()) - before; n != asks {
				t.Errorf("%s: %d asks, want %d", test.name, n, asks)
			}
			if n := len(w.inflight.accounts); n != 0 {
				t.Errorf("%s: %d accounts are still remembered", test.name, n)
			}
		}
	})
}
