package ldap

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	up := func(rank int, latency time.Duration) standing { return standing{rank, true, latency} }
	down := func(rank int, latency time.Duration) standing { return standing{rank, false, latency} }
	for _, c := range []struct {
		name    string
		all     []standing
		current int
		want    []int
		why     string
	}{
		{"nobody", nil, -1, nil, ""},
		{"one", []standing{up(0, 0)}, -1, []int{0}, "the only one"},
		{"all down", []standing{down(0, ms), down(1, ms)}, 1, nil, ""},
		{"the settings' order, whatever the speed", []standing{up(0, 90*ms), up(1, ms)}, -1, []int{0, 1}, "the first in order"},
		{"back to the first when it serves again", []standing{up(0, 0), up(1, ms)}, 1, []int{0, 1}, "the first in order"},
		{"the second while the first is down", []standing{down(0, ms), up(1, ms), up(2, ms)}, 0, []int{1, 2}, "1 before it are down"},
		{"the last one", []standing{down(0, ms), up(1, ms)}, 0, []int{1}, "the only one that is not down"},
		{"the fastest of a rank", []standing{up(3, 9*ms), up(3, 2*ms), up(3, 5*ms)}, -1, []int{1, 2, 0}, "the fastest of 3 of equal rank"},
		{"nothing measured: as DNS drew them", []standing{up(3, 0), up(3, 0)}, -1, []int{0, 1}, "one of 2 of equal rank, none of them measured yet"},
		{"measured before unmeasured", []standing{up(3, 0), up(3, 80*ms)}, -1, []int{1, 0}, "the fastest of 2 of equal rank"},
		{"kept while it is unmeasured", []standing{up(3, 0), up(3, ms)}, 0, []int{0, 1}, "one of 2 of equal rank, none of them measured yet"},
		{"kept: not half the time", []standing{up(3, 40*ms), up(3, 21*ms)}, 0, []int{0, 1}, "kept: none of 2 of equal rank is clearly faster"},
		{"kept: nobody sees the difference", []standing{up(3, 4*ms), up(3, ms/10)}, 0, []int{0, 1}, "kept: none of 2 of equal rank is clearly faster"},
		{"kept: half the time, and nobody sees the difference", []standing{up(3, 6*ms), up(3, 2*ms)}, 0, []int{0, 1}, "kept: none of 2 of equal rank is clearly faster"},
		{"left: half the time, and just enough", []standing{up(3, 10*ms), up(3, 5*ms)}, 0, []int{1, 0}, "the fastest of 2 of equal rank"},
		{"kept: half the time, and just not enough", []standing{up(3, 10*ms-2), up(3, 5*ms-1)}, 0, []int{0, 1}, "kept: none of 2 of equal rank is clearly faster"},
		{"as fast as each other", []standing{up(3, 5*ms), up(3, 5*ms)}, -1, []int{0, 1}, "the fastest of 2 of equal rank"},
		{"a worse rank is no rival", []standing{up(3, 40*ms), up(3, 20*ms), up(4, ms)}, -1, []int{1, 0, 2}, "the fastest of 2 of equal rank"},
		{"two of the second rank while the first is down", []standing{down(0, ms), up(1, 9*ms), up(1, 2*ms)}, -1, []int{2, 1}, "the fastest of 2 of equal rank"},
		{"left: clearly slower", []standing{up(3, 40*ms), up(3, 20*ms)}, 0, []int{1, 0}, "the fastest of 2 of equal rank"},
		{"left: down", []standing{down(3, ms), up(3, 90*ms), up(3, 80*ms)}, 0, []int{2, 1}, "the fastest of 2 of equal rank"},
		{"left: a better rank", []standing{up(4, ms), up(3, 90*ms)}, 0, []int{1, 0}, "the first in order"},
		{"kept, and the others in their order", []standing{up(3, 3*ms), up(3, 2*ms), up(3, ms), up(4, ms)}, 0, []int{0, 2, 1, 3}, "kept: none of 3 of equal rank is clearly faster"},
	} {
		got := choose(c.all, c.current)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if w := why(c.all, got); w != c.why {
			t.Errorf("%s: %q, want %q", c.name, w, c.why)
		}
	}
}

// Whatever stands: each server that is not down comes once, nobody else does, ranks go up, and a choice chooses itself again.
func TestChooseAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOf(rapid.Custom(func(t *rapid.T) standing {
			return standing{rapid.IntRange(0, 3).Draw(t, "rank"), rapid.Bool().Draw(t, "admits"), time.Duration(rapid.IntRange(0, 1e8).Draw(t, "latency"))}
		})).Draw(t, "all")
		order := choose(all, rapid.IntRange(-1, len(all)).Draw(t, "current"))
		seen := map[int]bool{}
		for n, i := range order {
			if !all[i].admits || seen[i] || n > 0 && all[order[n-1]].rank > all[i].rank {
				t.Fatalf("%v of %v", order, all)
			}
			seen[i] = true
		}
		for i, s := range all {
			if s.admits && !seen[i] {
				t.Fatalf("%d is missing in %v", i, order)
			}
		}
		if len(order) > 0 && choose(all, order[0])[0] != order[0] {
			t.Fatalf("%d does not stay in %v", order[0], all)
		}
		if strings.TrimSpace(why(all, order)) == "" && len(order) > 0 {
			t.Fatal("no reason")
		}
	})
}

func TestSmooth(t *testing.T) {
	mean := smooth(0, 8*time.Millisecond)
	if mean != 8*time.Millisecond {
		t.Errorf("the first: %v", mean)
	}
	if mean = smooth(mean, 88*time.Millisecond); mean != 18*time.Millisecond {
		t.Errorf("one that stands out: %v", mean)
	}
	for range 100 {
		mean = smooth(mean, time.Millisecond)
	}
	if mean < time.Millisecond || mean > 2*time.Millisecond {
		t.Errorf("in the end: %v", mean)
	}
}
