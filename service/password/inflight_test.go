package password

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// As many checks of one account are under way as its budget bears; others wait for those to end, and nothing is remembered in the end.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f inflight
		two := func() (int, error) { return 2, nil }
		one, err := f.enter(t.Context(), "ada", func() (int, error) { t.Error("alone, and the budget was asked"); return 0, nil })
		if err != nil {
			t.Fatal(err)
		}
		other, err := f.enter(t.Context(), "ada", two)
		if err != nil {
			t.Fatal(err)
		}
		if elsewhere, err := f.enter(t.Context(), "bob", two); err != nil {
			t.Error(err)
		} else {
			elsewhere()
		}

		// The third waits; whoever has no patience left ends, and the next has its turn when one of the two leaves.
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = f.enter(short, "ada", two)
		wantFault(t, "the third, without patience", err, wire.TooManyRequests)
		var third func()
		go func() {
			if third, err = f.enter(t.Context(), "ada", two); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if third != nil {
			t.Error("three at once")
		}
		one()
		one() // leaving twice is leaving once
		synctest.Wait()
		if third == nil || f.accounts["ada"].in != 2 {
			t.Fatalf("after one has left: %+v", f.accounts["ada"])
		}
		// Behind a waiting one that holds the door another waits for the door.
		var errs [2]error
		late, cancelLate := context.WithCancel(t.Context())
		for i := range errs {
			go func() { _, errs[i] = f.enter(late, "ada", two) }()
		}
		synctest.Wait()
		cancelLate()
		synctest.Wait()
		for _, err := range errs {
			wantFault(t, "those whose caller has gone", err, wire.TooManyRequests)
		}
		other()
		third()
		if len(f.accounts) != 0 {
			t.Errorf("remembered: %+v", f.accounts)
		}
	})
}

// An account is not forgotten while somebody waits, and is when the last one has gone, whatever the reason.
func TestInFlightForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f inflight
		alone := func() (int, error) { return 1, nil }
		first, err := f.enter(t.Context(), "ada", alone)
		if err != nil {
			t.Fatal(err)
		}
		var second func()
		go func() { second, _ = f.enter(t.Context(), "ada", alone) }()
		synctest.Wait()
		first()
		synctest.Wait()
		if a := f.accounts["ada"]; a == nil || a.in != 1 {
			t.Fatalf("the one that waited is counted nowhere: %+v", a)
		}
		broken := errors.New("no store")
		if _, err := f.enter(t.Context(), "ada", func() (int, error) { second(); return 0, broken }); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if len(f.accounts) != 0 {
			t.Errorf("remembered: %+v", f.accounts)
		}
	})
}

func TestInFlightLineIsBounded(t *testing.T) {
	var f inflight
	for range maxWaiting {
		if _, err := f.wait("ada"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.enter(t.Context(), "ada", nil)
	wantFault(t, "one more", err, wire.TooManyRequests)
	if n := f.accounts["ada"].waiting; n != maxWaiting {
		t.Errorf("%d wait", n)
	}
}

// A network has its burst and what comes to it with time; it is forgotten only after two generations of others.
func TestBudgetOfHashes(t *testing.T) {
	var b budget
	now := time.Unix(1_790_000_000, 0)
	spend := func(network string) (n int) {
		for b.allow(network, now) {
			n++
		}
		return n
	}
	if n := spend("a"); n != hashBurst {
		t.Errorf("%d at once", n)
	}
	if n := spend("b"); n != hashBurst {
		t.Errorf("%d of another network", n)
	}
	now = now.Add(time.Second)
	if n := spend("a"); n != hashesPerSecond {
		t.Errorf("%d after a second", n)
	}
	generation := func() {
		for i := len(b.young); i < maxNetworks; i++ {
			b.young[strconv.Itoa(i)] = nil
		}
	}
	generation()
	if n := spend("a"); n != 0 || len(b.young) != maxNetworks {
		t.Errorf("%d, though nobody was forgotten; %d networks", n, len(b.young))
	}
	if b.allow("c", now); len(b.young) != 1 {
		t.Errorf("%d networks in a new generation", len(b.young))
	}
	if n := spend("a"); n != 0 {
		t.Errorf("%d of a network of the generation before", n)
	}
	for range 2 {
		generation()
		b.allow("d", now)
		b.allow("e", now)
	}
	if n := spend("b"); n != hashBurst {
		t.Errorf("%d of a network that was forgotten", n)
	}
}
