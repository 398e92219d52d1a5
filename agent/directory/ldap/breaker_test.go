package ldap

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNext(t *testing.T) {
	now := time.UnixMilli(1_790_000_000_000)
	serving := breaker{state: Serving, since: now.Add(-time.Hour)}
	down := func(failures int, since, probeIn time.Duration) breaker {
		return breaker{state: Down, since: now.Add(-since), failures: failures, probeAt: now.Add(probeIn)}
	}
	silent := func(n int) breaker { b := serving; b.silent = n; return b }
	for _, c := range []struct {
		name string
		b    breaker
		e    event
		want breaker
	}{
		{"untried answers", breaker{}, answered, breaker{state: Serving, since: now}},
		{"untried is reached", breaker{}, reached, breaker{state: Serving, since: now}},
		{"serving is reached", serving, reached, serving},
		{"being reached does not forgive", silent(2), reached, silent(2)},
		{"down, the probe reached it", down(9, time.Hour, 0), reached, breaker{state: Serving, since: now}},
		{"untried cannot be reached", breaker{}, unreachable, down(1, 0, time.Second)},
		{"untried does not answer a bind", breaker{}, unanswered, breaker{silent: 1}},
		{"serving answers", serving, answered, serving},
		{"serving cannot be reached", serving, unreachable, down(1, 0, time.Second)},
		{"a kept connection of one that serves is mute", serving, mute, down(1, 0, time.Second)},
		{"first bind without answer", serving, unanswered, silent(1)},
		{"second bind without answer", silent(1), unanswered, silent(2)},
		{"third bind without answer", silent(2), unanswered, down(1, 0, time.Second)},
		{"an answer forgives", silent(2), answered, serving},
		{"down, an old bind is answered", down(1, 0, time.Second), answered, breaker{state: Serving, since: now}},
		{"down, another dial failed", down(1, 0, time.Second), unreachable, down(1, 0, time.Second)},
		{"down, an old bind is not answered", down(1, time.Second, 0), unanswered, down(1, time.Second, 0)},
		{"down, the probe failed", down(1, time.Second, 0), unreachable, down(2, time.Second, 2*time.Second)},
		{"down, the next probe failed", down(2, time.Second, -time.Second), unreachable, down(3, time.Second, 4*time.Second)},
		{"down for long", down(9, time.Hour, 0), unreachable, down(10, time.Hour, 15*time.Second)},
		{"down for very long", down(1<<40, time.Hour, 0), unreachable, down(1<<40+1, time.Hour, 15*time.Second)},
		{"down, the probe answered", down(9, time.Hour, 0), answered, breaker{state: Serving, since: now}},
	} {
		if got := next(c.b, c.e, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// Whatever happens: a server that answered serves, a server that is down has a probe before it within the longest wait, and
// only three silent binds in a row or a failed connection take it down.
func TestNextAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1_790_000_000_000)
		var b breaker
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "later")))
			e := event(rapid.IntRange(0, int(unanswered)).Draw(t, "event"))
			before := b
			b = next(b, e, now)
			switch {
			case (e == answered || e == reached) && b.state != Serving:
				t.Fatalf("answered and %s", b.state)
			case b.state == Down && b.probeAt.After(now.Add(probeLast)):
				t.Fatalf("the next probe is %s away", b.probeAt.Sub(now))
			case e == unanswered && before.admits() && !b.admits() && before.silent < unansweredLimit-1:
				t.Fatalf("down after %d silent binds", before.silent+1)
			case (e == unreachable || e == mute) && b.admits():
				t.Fatal("it gave no connection, or no answer, and is admitted")
			}
		}
	})
}
