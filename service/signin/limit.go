package signin

import (
	"hash/maphash"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"

	"github.com/sallyport-auth/sallyport/service/web"
)

// limiter bounds the posts of one address. Its memory is bounded, too: each shard keeps two generations, and when the younger is
// full it becomes the older, whose addresses are forgotten (a forgotten address starts with a full burst). It is sharded, so that sign-ins
// do not wait for one lock.
type limiter struct {
	perSecond rate.Limit
	burst     int
	seed      maphash.Seed
	shards    [16]limiterShard
}

type limiterShard struct {
	sync.Mutex
	young, old map[netip.Prefix]*rate.Limiter // guarded by the mutex
}

// newLimiter returns a limiter; perSecond 0 means the default, below 0 no limit.
func newLimiter(perSecond float64, burst int) *limiter {
	if perSecond == 0 {
		perSecond, burst = postsPerSecond, postBurst
	}
	l := &limiter{perSecond: rate.Limit(perSecond), burst: burst, seed: maphash.MakeSeed()}
	if perSecond < 0 {
		l.perSecond = rate.Inf
	}
	return l
}

// allow reports whether the address may post now. Requests without an address share one bucket.
func (l *limiter) allow(address string) bool {
	if l.perSecond == rate.Inf {
		return true
	}
	key := web.Network(address)
	s := &l.shards[maphash.Comparable(l.seed, key)%uint64(len(l.shards))]
	s.Lock()
	r, ok := s.young[key]
	if !ok {
		if r, ok = s.old[key]; !ok {
			r = rate.NewLimiter(l.perSecond, l.burst)
		}
		if s.young == nil || len(s.young) >= maxAddresses/len(l.shards) {
			s.old, s.young = s.young, make(map[netip.Prefix]*rate.Limiter)
		}
		s.young[key] = r
	}
	s.Unlock()
	return r.Allow()
}
