package hedge

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// patience and budget are those of package ldap.
const patience, budget = 400 * time.Millisecond, 4 * time.Second

// attempt is what a server does when it is asked for a connection: it fails or gives one after a time; with a time below zero it is silent
// until it is told to stop.
type attempt struct {
	after time.Duration
	fails bool
	deaf  bool // does not stop when told, as one that finishes what it began
}

func TestFirst(t *testing.T) {
	const ms, silent = time.Millisecond, -1
	for _, c := range []struct {
		name    string
		tries   []attempt
		winner  int // -1 for none
		at      time.Duration
		begun   int32
		kept    int32 // came too late, and is kept
		budget  time.Duration
		unended int // tries without an error
	}{
		{name: "nobody to ask", winner: -1},
		{name: "the first is quick: nobody else is asked", tries: []attempt{{after: 5 * ms}, {after: 0}}, winner: 0, at: 5 * ms, begun: 1},
		{name: "right before patience ends", tries: []attempt{{after: patience - 1}, {after: 0}}, winner: 0, at: patience - 1, begun: 1},
		{name: "the first fails at once: the next at once", tries: []attempt{{fails: true}, {after: 3 * ms}}, winner: 1, at: 3 * ms, begun: 2},
		{name: "the first is silent: the second beside it", tries: []attempt{{after: silent}, {after: 2 * ms}}, winner: 1, at: patience + 2*ms, begun: 2},
		{name: "the slow first comes before the slower second", tries: []attempt{{after: patience + 10*ms}, {after: 50 * ms}}, winner: 0, at: patience + 10*ms, begun: 2},
		{name: "the loser finishes, and is kept", tries: []attempt{{after: time.Second, deaf: true}, {after: 2 * ms}}, winner: 1, at: patience + 2*ms, begun: 2, kept: 1},
		{name: "two silent ones", tries: []attempt{{after: silent}, {after: silent}, {after: 1 * ms}}, winner: 2, at: 2*patience + ms, begun: 3},
		{name: "silent, then one that fails: the third at once", tries: []attempt{{after: silent}, {after: 100 * ms, fails: true}, {after: ms}}, winner: 2, at: patience + 101*ms, begun: 3},
		{name: "fails late: patience begins anew", tries: []attempt{{after: 100 * ms, fails: true}, {after: silent}, {after: ms}}, winner: 2, at: patience + 101*ms, begun: 3},
		{name: "fails beside a silent one: patience begins anew", tries: []attempt{{after: silent}, {after: 100 * ms, fails: true}, {after: silent}, {after: ms}}, winner: 3, at: 2*patience + 101*ms, begun: 4},
		{name: "the last one fails beside a silent one", tries: []attempt{{after: silent}, {after: 100 * ms, fails: true}}, winner: -1, at: 4 * time.Second, begun: 2, unended: 1},
		{name: "the budget is over before anybody is asked", tries: []attempt{{after: 0}, {after: 0}}, winner: -1, begun: 0, budget: -1, unended: 2},
		{name: "all fail", tries: []attempt{{after: ms, fails: true}, {after: ms, fails: true}}, winner: -1, at: 2 * ms, begun: 2},
		{name: "all silent: the budget", tries: []attempt{{after: silent}, {after: silent}}, winner: -1, at: 4 * time.Second, begun: 2, unended: 2},
		{name: "the budget ends before the second is asked", tries: []attempt{{after: silent}, {after: 0}}, winner: -1, at: 300 * ms, begun: 1, budget: 300 * ms, unended: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.budget == 0 {
					c.budget = budget
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.budget)
				defer cancel()
				var begun, kept atomic.Int32
				began := time.Now()
				won, failed := First(ctx, len(c.tries), patience, func(ctx context.Context, i int) (*int, error) {
					begun.Add(1)
					try := c.tries[i]
					if try.deaf {
						ctx = context.WithoutCancel(ctx)
					}
					var ready <-chan time.Time
					if try.after >= 0 {
						ready = time.After(try.after)
					}
					select {
					case <-ready:
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if try.fails {
						return nil, errors.New("refused")
					}
					return &i, nil
				}, func(*int) { kept.Add(1) })
				took := time.Since(began)
				winner := -1
				if won != nil {
					winner = *won
				}
				time.Sleep(5 * time.Second) // of fake time: until the losers have ended
				synctest.Wait()
				unended := 0
				for _, err := range failed {
					if err == nil {
						unended++
					}
				}
				if winner != c.winner || took != c.at || begun.Load() != c.begun || kept.Load() != c.kept || winner < 0 && unended != c.unended {
					t.Errorf("won %d after %v; %d begun, %d kept, %d without an error", winner, took, begun.Load(), kept.Load(), unended)
				}
			})
		})
	}
}
