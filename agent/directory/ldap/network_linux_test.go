package ldap_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// farHost is a computer of its own: a network namespace without a name, with one line to ours. It ends with the process that made it, and the line with
// it, so that nothing is left of a test that was killed.
type farHost struct {
	t         *testing.T
	namespace *os.File
	// address is its own, ours that of our end of the line.
	address, ours net.IP
}

// ip and nft are the programs, where Debian has them.
const ip, nft = "/usr/sbin/ip", "/usr/sbin/nft"

var farHosts atomic.Int32

// newFarHost makes one; where that cannot be, the test is skipped, or fails if nothing may be skipped.
func newFarHost(t *testing.T) *farHost {
	t.Helper()
	sambatest.RequireNetwork(t, false)
	// A net of four addresses out of 198.19.0.0/16, which no network has, by the process, so that tests that run at once do not meet.
	number := int(farHosts.Add(1))
	net4 := uint32(198)<<24 | 19<<16 | (uint32(os.Getpid()*64+number)<<2)&0xffff
	at := func(n uint32) net.IP { return net.IPv4(byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
	h := &farHost{t: t, ours: at(net4 + 1), address: at(net4 + 2)}
	link := fmt.Sprintf("sp%d-%d", os.Getpid(), number)
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return run(ip, "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", strconv.Itoa(os.Getpid()))
	})
	must(t, err)
	t.Cleanup(func() {
		// Connections that were swallowed have answers to send for minutes yet, and keep the namespace for it; without its line it is in nobody's way.
		must(t, run(ip, "link", "del", link))
		h.namespace.Close()
	})
	h.inside(func() error { return run(ip, "addr", "add", h.address.String()+"/30", "dev", "eth0") })
	h.inside(func() error { return run(ip, "link", "set", "eth0", "up") })
	must(t, run(ip, "addr", "add", h.ours.String()+"/30", "dev", link))
	must(t, run(ip, "link", "set", link, "up"))
	return h
}

// onOwnThread runs f on a thread that ends with it: one whose namespace was changed is fit for nobody else.
func onOwnThread(f func() error) error {
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread does not end, and is the one by which the process is looked up
			err := onOwnThread(f)
			runtime.UnlockOSThread()
			ended <- err
			return
		}
		ended <- f()
	}()
	return <-ended
}

// inside runs f on that computer. Sockets and programs that f makes belong to it for as long as they live.
func (h *farHost) inside(f func() error) {
	h.t.Helper()
	must(h.t, onOwnThread(func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	}))
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// filter gives the computer a packet filter in place of the one before: rules of nft for what comes in and for what goes out, one a line. @known is a
// set of ports, empty at first. All of it is there at once.
func (h *farHost) filter(in, out string) {
	h.t.Helper()
	h.inside(func() error {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(`table inet far
delete table inet far
table inet far {
	set known { type inet_service; size 65535; flags dynamic; }
	chain in { type filter hook input priority 0; policy accept;
		%s
	}
	chain out { type filter hook output priority 0; policy accept;
		%s
	}
}
`, in, out))
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, said)
		}
		return nil
	})
}

// swallow makes the computer a black hole: what we send arrives, and no answer comes, neither to a SYN nor on a connection that stands.
func (h *farHost) swallow() { h.t.Helper(); h.filter("", "drop") }

// answer takes the packet filter away.
func (h *farHost) answer() { h.t.Helper(); h.filter("", "") }

// controller is an evaluation directory on a computer of its own, at the ports of LDAPS and LDAP.
type controller struct {
	*farHost
	server *evaluation.Server
	host   string
	ended  chan error // receives once for each of its ports
}

// serve starts it with a certificate for a name, and people whom nobody has tried yet.
func (c *controller) serve(a authority, name string) {
	c.t.Helper()
	certificate := a.issue(c.t, func(x *x509.Certificate) { x.DNSNames, x.IPAddresses = []string{name}, nil })
	s, err := evaluation.New(evaluation.Config{People: people.Everybody("corp.example.com"), TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	must(c.t, err)
	c.server, c.ended = s, make(chan error, 2)
	for port, serve := range map[string]func(context.Context, net.Listener) error{"636": s.Serve, "389": s.ServePlain} {
		var l net.Listener
		c.inside(func() (err error) {
			l, err = net.Listen("tcp", net.JoinHostPort(c.address.String(), port))
			return err
		})
		go func() { c.ended <- serve(context.Background(), l) }()
	}
}

func (c *controller) die() {
	c.t.Helper()
	c.server.Close()
	must(c.t, <-c.ended)
	must(c.t, <-c.ended)
}

// twoControllers are dc1 and dc2 of a domain that DNS names, dc1 first.
func twoControllers(t *testing.T, a authority) (one, two *controller, c ldap.Config) {
	return namedBy(t, a, locatetest.Start(t))
}

// namedBy makes them known to a name server.
func namedBy(t *testing.T, a authority, dns *locatetest.Server) (one, two *controller, c ldap.Config) {
	var services []locatetest.SRV
	start := func(number int) *controller {
		c := &controller{farHost: newFarHost(t), host: fmt.Sprintf("dc%d.corp.example.com", number)}
		c.serve(a, c.host)
		t.Cleanup(func() { c.die() })
		dns.Host(c.host, c.address)
		services = append(services, locatetest.SRV{Priority: uint16(number), Weight: 100, Port: 389, Target: c.host + "."})
		return c
	}
	one, two = start(1), start(2)
	dns.Services("_ldap._tcp.dc._msdcs.corp.example.com", services...)
	return one, two, ldap.Config{Domain: "corp.example.com", Resolver: dns.Resolver(), RootCAs: a.pool(), BindTimeout: 500 * time.Millisecond}
}

// asks checks one wrong password, which must be answered by a controller, and be counted by it and nobody else.
func asks(t *testing.T, v *ldap.Validator, want, other *controller) {
	t.Helper()
	counted, elsewhere := want.server.BadPwdCount("bob"), other.server.Binds("bob")
	check := ask("bob@corp.example.com", people.WrongPassword)
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.Verdict.Reason != wire.BadPassword || r.DC != want.host+":636" || check.Fences.Load() != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n, m := want.server.BadPwdCount("bob")-counted, other.server.Binds("bob")-elsewhere; n != 1 || m != 0 {
		t.Errorf("counted %d times, and %d binds at the other one", n, m)
	}
	want.server.Unlock("bob")
}

// A controller whose network swallows every SYN costs the first check a moment, and those after it nothing. It is found again when it answers.
func TestSYNsAreSwallowed(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	one.swallow()
	v := configured(t, c, true)
	asks(t, v, two, one)
	eventually(t, "the silence is noticed", func() bool { st, ok := of(v, one.host); return ok && st.State == ldap.Down })
	if st, _ := of(v, one.host); !strings.Contains(st.Remedy, "in time") {
		t.Errorf("%+v", st)
	}
	for range 3 {
		asks(t, v, two, one)
	}
	one.answer()
	eventually(t, "it is found again", func() bool { st, _ := of(v, one.host); return st.State == ldap.Serving })
	asks(t, v, one, two)
}

// isLost sends a bind whose line breaks right before it, and wants to hear that it may have counted.
func isLost(t *testing.T, v *ldap.Validator, breaks func()) {
	t.Helper()
	check := ask("bob@corp.example.com", people.WrongPassword)
	check.Fence = func(context.Context) error { check.Fences.Add(1); breaks(); return nil }
	_, err := v.Validate(t.Context(), check.Check)
	if e := trouble(t, err); !e.Fenced || e.Code != wire.DirectoryTimeout || check.Fences.Load() != 1 {
		t.Errorf("%v", err)
	}
}

// A bind whose answer is swallowed may have counted: it is an honest "don't know", and is not sent to the other controller. The check after it
// is answered there.
func TestAnswerIsSwallowed(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	v := configured(t, c, false)
	must(t, v.Locate(t.Context()))
	asks(t, v, one, two)
	binds := one.server.Binds("bob")
	isLost(t, v, one.swallow)
	if n, m := one.server.Binds("bob")-binds, two.server.Binds("bob"); n != 1 || m != 0 {
		t.Errorf("judged %d times unheard, and %d times at the other one", n, m)
	}
	asks(t, v, two, one)
}

// Kept connections that have gone silent are found before the fence.
func TestKeptConnectionsAreSwallowed(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	v := configured(t, c, false)
	must(t, v.Locate(t.Context()))
	asks(t, v, one, two)
	one.swallow()
	v.Age(time.Minute)
	asks(t, v, two, one)
	eventually(t, "the silence is noticed", func() bool { st, _ := of(v, one.host); return st.State == ldap.Down && st.Idle == 0 && st.InUse == 0 })
}

// A controller that dies and comes back, first with a certificate for another name, is used when it has its own again.
func TestDiesAndComesBack(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	v := configured(t, c, true)
	asks(t, v, one, two)
	one.die()
	eventually(t, "its end is seen", func() bool { st, _ := of(v, one.host); return st.Idle == 0 })
	asks(t, v, two, one)
	one.serve(a, "dc7.corp.example.com")
	eventually(t, "the name in its certificate is refused", func() bool {
		st, _ := of(v, one.host)
		return st.State == ldap.Down && strings.Contains(st.Remedy, "dc7.corp.example.com")
	})
	asks(t, v, two, one)
	one.die()
	one.serve(a, one.host)
	eventually(t, "it serves again", func() bool { st, _ := of(v, one.host); return st.State == ldap.Serving })
	asks(t, v, one, two)
}

// A reader that gets no answer has the server looked at, so that it is down before anybody's password was tried there.
func TestReaderIsSwallowed(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	c.Guard = ldap.Guard{Reader: "alice@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}
	v := configured(t, c, true)
	asks(t, v, one, two)
	eventually(t, "connections are kept", func() bool { st, _ := of(v, one.host); return st.Idle >= 2 })
	before := one.server.Binds("bob")
	one.swallow()
	asks(t, v, two, one)
	eventually(t, "the silence is noticed", func() bool { st, _ := of(v, one.host); return st.State == ldap.Down && st.Idle == 0 })
	if n := one.server.Binds("bob") - before; n != 0 {
		t.Errorf("%d binds at the silent one", n)
	}
}
