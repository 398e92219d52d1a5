package ldap

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// book is an address book of one host: it asks DNS at each connection, and remembers the last answer, so that name servers that fail or are silent do not
// take away a server that lives. Whoever answers at an address that was remembered still needs the certificate of the host's name.
type book struct {
	host     string
	resolver *net.Resolver // nil is the system's

	mu   sync.Mutex
	last []string // addresses of the last answer; nil before the first
}

func newBook(host string, r *net.Resolver) *book {
	if r == nil {
		r = net.DefaultResolver
	}
	return &book{host: host, resolver: r}
}

// connect makes a TCP connection, at the address that DNS says. When DNS fails, or lets us wait for more than a moment, it is the one that DNS said
// last; and if that is of no use, DNS may say another yet. Everything ends with ctx.
func (b *book) connect(ctx context.Context, port string) (net.Conn, error) {
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
		return connectAny(ctx, known, port)
	case <-late:
	}
	c, err := connectAny(ctx, known, port)
	if err == nil {
		return c, nil
	}
	if a := <-answers; a.err == nil && !slices.Equal(a.addresses, known) {
		return connectAny(ctx, a.addresses, port)
	}
	return nil, err
}

// connectAny makes a TCP connection to the first address that gives one. An address that is silent for a moment gets the next one beside it, and all of
// them get a second try: the kernel repeats a SYN that got lost only after a second, which is all the time there is.
func connectAny(ctx context.Context, addresses []string, port string) (net.Conn, error) {
	c, failed := hedge(ctx, 2*len(addresses), againAfter, func(ctx context.Context, i int) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(addresses[i%len(addresses)], port))
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
