package ldap_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// What comes before the fence has four seconds in these tests as everywhere: a check that was answered reached it by then.

// Only LDAPS is filtered: its SYNs are swallowed, and the host answers on every other port.
func TestOnlyLDAPSIsFiltered(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	one.filter("tcp dport 636 drop", "")
	v := configured(t, c, true)
	asks(t, v, two, one)
	eventually(t, "the silence is noticed", func() bool { st, ok := of(v, one.host); return ok && st.State == ldap.Down })
	if st, _ := of(v, one.host); !strings.Contains(st.Remedy, "firewall") {
		t.Errorf("%+v", st)
	}
	asks(t, v, two, one)
	c.StartTLS = true // at the other port the same host is as good as ever
	r, err := configured(t, c, true).Validate(t.Context(), ask("alice@corp.example.com", people.RightPassword).Check)
	if err != nil || r.Verdict.Reason != wire.Accepted || r.DC != one.host+":389" {
		t.Errorf("%+v, %v", r, err)
	}
	one.answer()
	eventually(t, "it is found again", func() bool { st, _ := of(v, one.host); return st.State == ldap.Serving })
	asks(t, v, one, two)
}

// What begins well and then falls silent: only the handshake of TCP passes, or no packet of the size that a certificate needs.
func TestHandshakeIsSwallowed(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"after TCP", "tcp dport 636 meta length > 100 drop", ""},
		{"large packets", "", "tcp sport 636 meta length > 500 drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			one, two, config := twoControllers(t, a)
			one.filter(c.in, c.out)
			v := configured(t, config, true)
			asks(t, v, two, one)
			eventually(t, "the silence is noticed", func() bool { st, ok := of(v, one.host); return ok && st.State == ldap.Down })
			if st, _ := of(v, one.host); !strings.Contains(st.LastError, "tls") || !strings.Contains(st.Remedy, "in time") {
				t.Errorf("%+v", st)
			}
			asks(t, v, two, one)
		})
	}
}

// forgets is a firewall before LDAPS that has lost its state: it lets new connections through, and drops what belongs to none that it has seen begin.
const forgets = `tcp dport 636 tcp flags & (syn | ack) == syn add @known { tcp sport }
		tcp dport 636 tcp sport != @known drop`

// A firewall forgets the connections to all domain controllers at once. They are silent from then on, and new ones are made before the fence, the
// reader's too.
func TestFirewallForgets(t *testing.T) {
	for name, reader := range map[string]ldap.Guard{"binds": {}, "binds and the reader's": {Reader: "alice@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			one, two, c := twoControllers(t, a)
			c.Guard = reader
			forgotten(t, one, two, configured(t, c, true))
		})
	}
}

func forgotten(t *testing.T, one, two *controller, v *ldap.Validator) {
	asks(t, v, one, two)
	kept := func(c *controller) bool { st, _ := of(v, c.host); return st.State == ldap.Serving && st.Idle > 0 }
	eventually(t, "connections are kept", func() bool { return kept(one) && kept(two) })
	one.filter(forgets, "")
	two.filter(forgets, "")
	v.Age(time.Minute)
	check := ask("bob@corp.example.com", people.WrongPassword)
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.Verdict.Reason != wire.BadPassword || check.Fences.Load() != 1 {
		t.Errorf("%+v, %v after %d fences", r, err, check.Fences.Load())
	}
	if n := one.server.BadPwdCount("bob") + two.server.BadPwdCount("bob"); n != 1 {
		t.Errorf("counted %d times", n)
	}
	one.server.Unlock("bob")
	two.server.Unlock("bob")
	eventually(t, "both serve on new connections", func() bool { return kept(one) && kept(two) })
	asks(t, v, one, two)
}

// A firewall forgets the reader's connections alone, since only those were idle for long enough.
func TestFirewallForgetsReader(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	c.Guard = ldap.Guard{Reader: "alice@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}
	v := configured(t, c, false)
	must(t, v.Locate(t.Context()))
	asks(t, v, one, two)
	rule := "tcp dport 636 tcp sport { " + strings.Join(v.Ports(), ", ") + " } accept\n" + forgets
	one.filter(rule, "")
	two.filter(rule, "")
	v.AgeReader(time.Minute)
	asks(t, v, one, two)
}

// refusals are what firewalls do that say no, and the words in which that arrives.
var refusals = []struct{ name, rule, says, remedy string }{
	{"reset", "tcp dport 636 reject with tcp reset", "connection refused", "Nothing listens"},
	{"prohibited", "tcp dport 636 reject with icmp admin-prohibited", "no route to host", "firewall"},
}

// A firewall that refuses is believed at once: no limit on time ends anything here, since there is none of the validator's.
func TestRefusedByFirewall(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t)
			one, two, config := twoControllers(t, a)
			config.DialTimeout = time.Hour
			one.filter(c.rule, "")
			v := configured(t, config, false)
			must(t, v.Locate(t.Context()))
			asks(t, v, two, one)
			if st, _ := of(v, one.host); st.State != ldap.Down || !strings.Contains(st.LastError, c.says) || !strings.Contains(st.Remedy, c.remedy) {
				t.Errorf("%+v", st)
			}
			two.filter(c.rule, "")
			two.server.Disconnect()
			eventually(t, "its end is seen", func() bool { st, _ := of(v, two.host); return st.Idle == 0 })
			check := ask("bob@corp.example.com", people.WrongPassword)
			check.FenceBy = time.Now().Add(time.Hour)
			_, err := v.Validate(t.Context(), check.Check)
			if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced || strings.Count(err.Error(), c.says) != 2 {
				t.Errorf("%v", err)
			}
		})
	}
}

// A firewall that resets what stands ends a bind under way at once: it is not known whether it counted, and nobody else is asked.
func TestResetByFirewall(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	c.BindTimeout = time.Hour
	v := configured(t, c, false)
	must(t, v.Locate(t.Context()))
	asks(t, v, one, two)
	// Only what carries something: a bare acknowledgement that was still to come would be refused before the bind is sent.
	isLost(t, v, func() { one.filter("tcp dport 636 meta length > 80 reject with tcp reset", "") })
	asks(t, v, two, one)
}

// A bind that was given up is not delivered when the line is back: its owner was told that nobody knows, and has typed another by then.
func TestGivenUpIsNotDelivered(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	v := configured(t, c, false)
	must(t, v.Locate(t.Context()))
	asks(t, v, one, two)
	binds := one.server.Binds("bob")
	isLost(t, v, func() { one.filter("drop", "") })
	eventually(t, "the kernel has nothing left to send", func() bool { return unsent(t, one.address) == 0 })
	one.answer()
	asks(t, v, one, two)
	if n := one.server.Binds("bob") - binds; n != 1 {
		t.Errorf("%d binds were delivered, want the last one", n)
	}
}

// unsent counts our sockets that have something to deliver to an address, also those that nobody holds any more.
func unsent(t *testing.T, to net.IP) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	must(t, err)
	ip := to.To4()
	remote := fmt.Sprintf(" %02X%02X%02X%02X:", ip[3], ip[2], ip[1], ip[0]) // as the kernel prints it on a machine of little endian
	for line := range strings.Lines(string(table)) {
		if at := strings.Index(line, remote); at >= 0 && !strings.HasPrefix(strings.Fields(line)[4], "00000000:") {
			n++
		}
	}
	return n
}

// Every tenth packet is lost, either way. What is answered is right and counted once, what was not sent is not counted, and nobody's is counted twice.
func TestLossyLine(t *testing.T) {
	a := newAuthority(t)
	one, two, c := twoControllers(t, a)
	c.BindTimeout = 0 // as it is in service
	v := configured(t, c, true)
	asks(t, v, one, two)
	const loses = "numgen random mod 100 < 10 drop"
	one.filter(loses, loses)
	two.filter(loses, loses)
	judged, unsent, unheard := 0, 0, 0
	for judged < 60 && t.Context().Err() == nil {
		name, password, want := "bob@corp.example.com", people.WrongPassword, wire.BadPassword
		if judged%3 == 2 {
			name, password, want = "alice@corp.example.com", people.RightPassword, wire.Accepted
		}
		if judged%5 == 4 { // whose connections are new
			one.server.Disconnect()
			two.server.Disconnect()
			eventually(t, "the end is seen", func() bool { return idle(v) == 0 })
		}
		counted := one.server.BadPwdCount("bob") + two.server.BadPwdCount("bob")
		check := ask(name, password)
		r, err := v.Validate(t.Context(), check.Check)
		counted = one.server.BadPwdCount("bob") + two.server.BadPwdCount("bob") - counted
		least, most := 0, 0
		switch {
		case err == nil && r.Verdict.Reason == want:
			judged++
			least, most = 1, 1
		case err == nil:
			t.Fatalf("%s: %+v", name, r)
		case trouble(t, err).Fenced:
			unheard++
			most = 1
		default:
			unsent++
		}
		if want == wire.Accepted {
			least, most = 0, 0
		}
		if counted < least || counted > most || check.Fences.Load() > 1 {
			t.Errorf("%s: counted %d times: %+v, %v", name, counted, r, err)
		}
		one.server.Unlock("bob")
		two.server.Unlock("bob")
	}
	t.Logf("%d judged, %d not sent, %d unheard", judged, unsent, unheard)
}

// The name server's packets are dropped while the domain controllers live. Those that were found stay, at the addresses that they had, also for new
// connections.
func TestNameServerIsFiltered(t *testing.T) {
	for name, rule := range map[string]string{"UDP": "udp dport 53 drop", "UDP and TCP": "drop", "refused": "meta l4proto { tcp, udp } reject with icmp admin-prohibited"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			nameHost := newFarHost(t)
			var dns *locatetest.Server
			nameHost.inside(func() error {
				dns = locatetest.StartAt(t, net.JoinHostPort(nameHost.address.String(), "53"))
				return nil
			})
			one, two, c := namedBy(t, a, dns)
			v := configured(t, c, false)
			must(t, v.Locate(t.Context()))
			asks(t, v, one, two)
			nameHost.filter(rule, "")
			var noNames net.Error
			looked := make(chan error, 1)
			go func() { looked <- v.Locate(t.Context()) }()
			hangUp := func() {
				one.server.Disconnect()
				eventually(t, "its end is seen", func() bool { st, _ := of(v, one.host); return st.Idle == 0 })
			}
			for range 3 {
				hangUp()
				asks(t, v, one, two)
			}
			if err := <-looked; !errors.As(err, &noNames) {
				t.Errorf("the name server was silent: %v", err)
			}
			if l, _ := v.Located(); l.LastError == "" || len(l.Found.Targets) != 2 || len(v.Status()) != 2 {
				t.Errorf("%+v, %d servers", l, len(v.Status()))
			}
			nameHost.answer()
			must(t, v.Locate(t.Context()))
		})
	}
}

// idle counts connections that live and are not in use.
func idle(v *ldap.Validator) (n int) {
	for _, st := range v.Status() {
		n += st.Idle
	}
	return n
}
