package queue

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Of several gateways with agents of one directory, the broker picks any; the agents of a gateway that has few would then be asked more
// often than those of one that has many. So each offer says what its gateway weighs: how many checks a second its free agents could do. A
// process remembers that, and sends most asks straight to one gateway, each as often as it weighs. Nobody waits for a second offer,
// no slot is reserved in vain, and with one gateway all is as if there were no memory.

// share is a gateway as a process remembers it. turns is how many asks it is owed: below zero it has had more than its part.
type share struct {
	gateway string
	weight  float64
	turns   float64
	at      time.Time
}

// next is the rule: which gateway an ask is sent to; "" leaves it to the broker. That happens while fewer than two are known.
func next(known []share, now time.Time) string {
	total, fresh := totalOf(known, now)
	if fresh < 2 {
		return ""
	}
	best, most := "", 0.0
	for _, s := range known {
		if owed := s.turns + s.weight/total; now.Sub(s.at) < rememberFor && (best == "" || owed > most) {
			best, most = s.gateway, owed
		}
	}
	return best
}

// charge writes a turn of one gateway down: all are owed their part of it, and that one has had it.
func charge(known []share, gateway string, now time.Time) {
	total, _ := totalOf(known, now)
	if total == 0 || !slices.ContainsFunc(known, func(s share) bool { return s.gateway == gateway }) {
		return
	}
	for i := range known {
		s := &known[i]
		if now.Sub(s.at) < rememberFor {
			s.turns += s.weight / total
		}
		if s.gateway == gateway {
			s.turns--
		}
		s.turns = max(min(s.turns, mostOwed), -mostOwed)
	}
}

func totalOf(known []share, now time.Time) (total float64, fresh int) {
	for _, s := range known {
		if now.Sub(s.at) < rememberFor {
			total += s.weight
			fresh++
		}
	}
	return total, fresh
}

// weights remembers what gateways weigh, by tenant and directory. The zero value is empty; it is safe for concurrent use.
type weights struct {
	mu   sync.Mutex
	asks uint64
	of   map[string][]share
}

// next is the rule over the memory. Now and then the broker decides, so that new gateways are found.
func (w *weights) next(place string, now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks++
	if w.asks%lookAround == 0 {
		return ""
	}
	gateway := next(w.of[place], now)
	charge(w.of[place], gateway, now)
	return gateway
}

// learn remembers a gateway's newest word; weight 0 forgets it. chosen says that the broker chose it, so that the turn is still to be
// written down.
func (w *weights) learn(place, gateway string, weight float64, chosen bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	turns := 0.0
	known := slices.DeleteFunc(w.of[place], func(s share) bool {
		if s.gateway == gateway {
			turns = s.turns
		}
		return s.gateway == gateway || now.Sub(s.at) >= rememberFor
	})
	if weight > 0 {
		known = append(known, share{gateway, weight, turns, now})
	}
	if len(known) > maxGateways {
		oldest := slices.MinFunc(known, func(a, b share) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
		known = slices.DeleteFunc(known, func(s share) bool { return s == oldest })
	}
	if len(known) == 0 {
		delete(w.of, place)
		return
	}
	if w.of == nil {
		w.of = map[string][]share{}
	}
	if _, there := w.of[place]; !there && len(w.of) >= maxPlaces {
		for other := range w.of { // any one: it is learned again with its next offer
			delete(w.of, other)
			break
		}
	}
	w.of[place] = known
	if chosen {
		charge(known, gateway, now)
	}
}
