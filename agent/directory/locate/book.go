package locate

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/hedge"
)

// Book is an address book of one host: it asks DNS at each connection, and remembers the last answer, so that name servers that fail or are
// silent do not take away a server that lives. Whoever answers at an address that was remembered still needs a proof of being the host, such as
// a certificate of its name. Make it with [NewBook]; its methods may be called by several goroutines.
type Book struct {
	host     string
	resolver *net.Resolver

	mu   sync.Mutex
	last []string // addresses of the last answer; nil before the first
}

// NewBook makes one for a host, a name or an IP address. A nil resolver is the system's.
func NewBook(host string, r *net.Resolver) *Book {
	return &Book{host: host, resolver: r}
}

// Connect connects to a port of the host over "tcp" or "udp", at the address that DNS says. When DNS fails, or lets us wait for more than a
// moment, it is the one that DNS said last; and if that is of no use, DNS may say another yet. Everything ends with ctx.
func (b *Book) Connect(ctx context.Context, network, port string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		addresses []string
		err       error
	}
	answers := make(chan answer, 1)
	go func() {
		addresses, err := b.resolver.LookupHost(ctx, b.host)
		if err == nil {
			b.mu.Lock()
			b.last = addresses
			b.mu.Unlock()
		}
		answers <- answer{addresses, err}
	}()
	b.mu.Lock()
	known := b.last
	b.mu.Unlock()
	var late <-chan time.Time
	if known != nil {
		timer := time.NewTimer(nameFor)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-answers:
		switch {
		case a.err == nil:
			known = a.addresses
		case known == nil:
			return nil, a.err
		}
		return connectAny(ctx, network, known, port)
	case <-late:
	}
	c, err := connectAny(ctx, network, known, port)
	if err == nil {
		return c, nil
	}
	if a := <-answers; a.err == nil && !slices.Equal(a.addresses, known) {
		return connectAny(ctx, network, a.addresses, port)
	}
	return nil, err
}

// connectAny connects to the first address that lets it. An address that is silent for a moment gets the next one beside it, and all of
// them get a second try: the kernel repeats a SYN that got lost only after a second, which is all the time there is.
func connectAny(ctx context.Context, network string, addresses []string, port string) (net.Conn, error) {
	c, failed := hedge.First(ctx, 2*len(addresses), againAfter, func(ctx context.Context, i int) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(addresses[i%len(addresses)], port))
	}, func(c net.Conn) { c.Close() })
	if c != nil {
		return c, nil
	}
	for _, err := range failed[:len(addresses)] {
		if err != nil {
			return nil, err // a refusal says more than silence
		}
	}
	return nil, fmt.Errorf("no connection to %s, port %s: %w", strings.Join(addresses, ", "), port, context.Cause(ctx))
}
