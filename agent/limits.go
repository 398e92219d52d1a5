package agent

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound how often this agent asks the directory, whatever the service wants: they hold when the service itself has
// been taken over. Zero means the default of defaults.go; a negative rate means no limit.
type Limits struct {
	// NamePerMinute is how often a minute one name may be asked about in the long run, NameBurst how often at once.
	NamePerMinute, NameBurst int
	// PerSecond is how often a second all names together may be asked about in the long run, Burst how often at once.
	PerSecond, Burst int
}

// withDefaults replaces zeros.
func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field    *int
		standard int
	}{
		{&l.NamePerMinute, defaultNamePerMinute}, {&l.NameBurst, defaultNameBurst}, {&l.PerSecond, defaultPerSecond}, {&l.Burst, defaultBurst},
	} {
		if *f.field == 0 {
			*f.field = f.standard
		}
	}
	return l
}

// admission is what the limiter says of a check.
type admission int

const (
	admitted   admission = iota
	nameLimit            // this name was asked about too often
	totalLimit           // all names together were
	namesLimit           // too many names are limited at the moment to watch another one
)

// limiter applies Limits. Names are kept as salted hashes, so that a dump of the process tells nobody who signs in. Safe for
// concurrent use.
type limiter struct {
	limits Limits
	bound  int
	salt   [16]byte
	total  *rate.Limiter

	mu    sync.Mutex
	names map[[sha256.Size]byte]*list.Element
	order *list.List // of *bucket, the least recently used at the back
}

type bucket struct {
	key  [sha256.Size]byte
	rate *rate.Limiter
}

func newLimiter(l Limits, bound int) *limiter {
	l = l.withDefaults()
	lim := &limiter{limits: l, bound: bound, names: make(map[[sha256.Size]byte]*list.Element), order: list.New()}
	_, _ = rand.Read(lim.salt[:]) // never fails: crypto/rand
	if l.PerSecond > 0 {
		lim.total = rate.NewLimiter(rate.Limit(l.PerSecond), max(l.Burst, 1))
	}
	return lim
}

// admit takes one token of the name and one of the whole at now, or says which is missing. The name is asked first: a
// guesser at one name must not use up what all share.
func (l *limiter) admit(name string, now time.Time) admission {
	if a := l.admitName(name, now); a != admitted {
		return a
	}
	if l.total != nil && !l.total.AllowN(now, 1) {
		return totalLimit
	}
	return admitted
}

// admitAccount takes one token of the name that all names of a found account share; the typed one has paid for the whole.
func (l *limiter) admitAccount(name string, now time.Time) bool {
	return l.admitName(name, now) == admitted
}

func (l *limiter) admitName(name string, now time.Time) admission {
	if l.limits.NamePerMinute <= 0 {
		return admitted
	}
	key := sha256.Sum256(append(l.salt[:], foldName(name)...))
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.names[key]
	if ok {
		l.order.MoveToFront(e)
	} else {
		if len(l.names) >= l.bound && !l.forgetIdle(now) {
			return namesLimit
		}
		fresh := &bucket{key: key, rate: rate.NewLimiter(rate.Limit(l.limits.NamePerMinute)/60, max(l.limits.NameBurst, 1))}
		e = l.order.PushFront(fresh)
		l.names[key] = e
	}
	if !e.Value.(*bucket).rate.AllowN(now, 1) {
		return nameLimit
	}
	return admitted
}

// forgetIdle drops least recently used buckets that are full again: forgetting these changes nothing. It reports whether
// there is room. The two looks a call make dropping keep pace with adding.
func (l *limiter) forgetIdle(now time.Time) bool {
	for range 2 {
		e := l.order.Back()
		if e == nil {
			break
		}
		b := e.Value.(*bucket)
		if b.rate.TokensAt(now) < float64(b.rate.Burst()) {
			break
		}
		l.order.Remove(e)
		delete(l.names, b.key)
	}
	return len(l.names) < l.bound
}
