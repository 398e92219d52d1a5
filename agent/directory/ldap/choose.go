package ldap

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// standing is what the choice knows of one server.
type standing struct {
	// rank is the order of preference, the lowest first. Servers of the settings have one each, those of DNS share one by site and priority.
	rank int
	// admits says that the breaker lets checks through.
	admits bool
	// latency is the smoothed time for an answer to a harmless question; 0 while nothing was measured.
	latency time.Duration
}

// choose returns positions in all in the order in which servers are to be asked: the choice, then those who stand in for it. Servers that are
// down are left out. current is the choice before, -1 for none.
//
// A better rank always goes first. Within the best one the choice stays where it was, unless another is clearly faster: a change costs
// warm connections, and two servers that are as good as each other would else take turns.
func choose(all []standing, current int) []int {
	var order []int
	for i, s := range all {
		if s.admits {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(all[a].rank, all[b].rank), cmp.Compare(known(all[a].latency), known(all[b].latency)))
	})
	if at := slices.Index(order, current); at > 0 {
		fastest := all[order[0]]
		if fastest.rank == all[current].rank && !clearlyFaster(fastest.latency, all[current].latency) {
			order = slices.Insert(slices.Delete(order, at, at+1), 0, current)
		}
	}
	return order
}

// known makes what was never measured the slowest.
func known(latency time.Duration) time.Duration {
	if latency == 0 {
		return math.MaxInt64
	}
	return latency
}

// clearlyFaster reports whether a is worth leaving b for: half its time at most, and by more than people and chance can make of it. a is the fastest,
// so that it is unmeasured, and 0, only where b is, too.
func clearlyFaster(a, b time.Duration) bool {
	return a <= b/2 && b-a >= worthChanging
}

// smooth takes one more measurement into a mean that forgets, as TCP does with round trips.
func smooth(mean, measured time.Duration) time.Duration {
	if mean == 0 {
		return measured
	}
	return mean + (measured-mean)/8
}

// why says for people why order begins as it does.
func why(all []standing, order []int) string {
	if len(order) == 0 {
		return ""
	}
	first, equals, better := all[order[0]], 0, 0
	for _, s := range all {
		switch {
		case s.rank < first.rank:
			better++ // and down, or it would be first
		case s.admits && s.rank == first.rank:
			equals++
		}
	}
	switch {
	case len(all) == 1:
		return "the only one"
	case len(order) == 1:
		return "the only one that is not down"
	case better > 0 && equals == 1:
		return fmt.Sprintf("%d before it are down", better)
	case equals == 1:
		return "the first in order"
	case first.latency == 0:
		return fmt.Sprintf("one of %d of equal rank, none of them measured yet", equals)
	}
	fastest := true
	for _, i := range order[1:] {
		fastest = fastest && (all[i].rank != first.rank || known(all[i].latency) >= first.latency)
	}
	if fastest {
		return fmt.Sprintf("the fastest of %d of equal rank", equals)
	}
	return fmt.Sprintf("kept: none of %d of equal rank is clearly faster", equals)
}
