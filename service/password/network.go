package password

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// network is who an address stands for: an IPv4 address for itself, an IPv6 address for all with the same prefix of that many
// bits. It is "" for what is no address.
func network(address string, bits6 int) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = bits6
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// budget bounds how many hashes are computed for one network. Its memory is bounded, too: there are two generations, and when the
// younger is full it becomes the older, whose networks are forgotten (a forgotten network starts with a full burst). The zero
// value is ready.
type budget struct {
	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

// allow takes one from the network's budget, if there is one. Those without a network share one.
func (b *budget) allow(network string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.young[network]
	if l == nil {
		if l = b.old[network]; l == nil {
			l = rate.NewLimiter(hashesPerSecond, hashBurst)
		}
		if b.young == nil || len(b.young) >= maxNetworks {
			b.young, b.old = map[string]*rate.Limiter{}, b.young
		}
		b.young[network] = l
	}
	return l.AllowN(now, 1)
}
