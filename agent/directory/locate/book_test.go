package locate

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
)

// A host that has been found is found again without DNS, and at another address once DNS says so, however slowly.
func TestBook(t *testing.T) {
	dns := locatetest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	connects := func(b *Book, within time.Duration) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		c, err := b.Connect(ctx, "tcp", port)
		if err == nil {
			c.Close()
		}
		return err
	}
	const host, here, elsewhere = "dc1.corp.example", "127.0.0.1", "127.0.0.9"

	b := NewBook(host, dns.Resolver())
	var unknown *net.DNSError
	if err := connects(b, time.Minute); !errors.As(err, &unknown) || !unknown.IsNotFound {
		t.Errorf("a host that nobody knows: %v", err)
	}
	dns.Host(host, net.ParseIP(here))
	if err := connects(b, time.Minute); err != nil {
		t.Errorf("a host that DNS names: %v", err)
	}
	dns.Fail(dnsmessage.RCodeServerFailure)
	if err := connects(b, time.Minute); err != nil {
		t.Errorf("DNS fails: %v", err)
	}
	dns.Fail(dnsmessage.RCodeSuccess)
	dns.Silence()
	if err := connects(b, time.Minute); err != nil {
		t.Errorf("DNS is silent: %v", err)
	}
	if err := connects(NewBook(host, dns.Resolver()), 2*nameFor); !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &unknown) {
		t.Errorf("DNS is silent, and nothing is remembered: %v", err)
	}
	dns.Speak()

	dns.Host(host, net.ParseIP(elsewhere))
	var refused *net.OpError
	if err := connects(b, time.Minute); !errors.As(err, &refused) {
		t.Errorf("the host has moved to where nobody listens: %v", err)
	}
	dns.Host(host, net.ParseIP(here))
	dns.Delay(2 * nameFor)
	if err := connects(b, time.Minute); err != nil {
		t.Errorf("the host has moved back, and DNS is slow: %v", err)
	}
}
