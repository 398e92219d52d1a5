package ldap_test

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

const records = "_ldap._tcp.dc._msdcs.corp.example"

// named makes a record of a scripted, and an address for its name.
func (s *scripted) named(dns *locatetest.Server, host string, priority uint16) locatetest.SRV {
	at := s.listener.Addr().(*net.TCPAddr)
	dns.Host(host, at.IP)
	return locatetest.SRV{Priority: priority, Weight: 100, Port: uint16(at.Port), Target: host + "."}
}

// atHost begins a scripted with a certificate for a name, which speaks StartTLS, whose port DNS tells.
func atHost(t *testing.T, a authority, host string, edit func(*scripted)) *scripted {
	return begin(t, a, func(s *scripted) {
		s.startTLS = true
		s.config.Certificates = nil
		s.config.Certificates = append(s.config.Certificates, a.issue(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{host}, nil }))
		if edit != nil {
			edit(s)
		}
	})
}

func of(v *ldap.Validator, host string) (ldap.ServerStatus, bool) {
	for _, st := range v.Status() {
		if strings.HasPrefix(st.Address, host) {
			return st, true
		}
	}
	return ldap.ServerStatus{}, false
}

// DNS names the servers. One that it names no more finishes its binds; while DNS fails, those that were found stay.
func TestServersFromDNS(t *testing.T) {
	a, dns := newAuthority(t), locatetest.Start(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	one := atHost(t, a, "dc1.corp.example", func(s *scripted) {
		s.bind = func(_, password string) said {
			if password == "slow" {
				close(arrived)
				return said{until: release}
			}
			return said{}
		}
	})
	two := atHost(t, a, "dc2.corp.example", nil)
	first, second := one.named(dns, "dc1.corp.example", 0), two.named(dns, "dc2.corp.example", 5)
	dns.Services(records, first, second, locatetest.SRV{Port: 389, Target: "dc1.evil.example."})
	v := configured(t, ldap.Config{Domain: "corp.example", StartTLS: true, Resolver: dns.Resolver(), RootCAs: a.pool()}, true)

	// The first check waits for DNS.
	r, err := v.Validate(t.Context(), ask("n", "p").Check)
	if err != nil || !strings.HasPrefix(r.DC, "dc1.corp.example:") {
		t.Fatalf("%+v, %v", r, err)
	}
	if l, ok := v.Located(); !ok || len(l.Found.Targets) != 2 || !slices.Equal(l.Found.Foreign, []string{"dc1.evil.example"}) || l.LastError != "" {
		t.Errorf("%+v", l)
	}
	if st, _ := of(v, "dc1"); !st.Found || st.Why != "the first in order" {
		t.Errorf("%+v", st)
	}
	if h := v.Hosts(); !slices.Equal(h, []string{"dc1.corp.example", "dc2.corp.example"}) {
		t.Errorf("hosts %v", h)
	}

	dns.Fail(dnsmessage.RCodeServerFailure)
	if err := v.Locate(t.Context()); err == nil {
		t.Error("a failure of DNS is no answer")
	}
	if l, _ := v.Located(); l.LastError == "" || len(v.Status()) != 2 {
		t.Errorf("%+v, %d servers", l, len(v.Status()))
	}
	dns.Fail(dnsmessage.RCodeSuccess)

	ended := make(chan error, 1)
	go func() {
		r, err := v.Validate(context.Background(), ask("n", "slow").Check)
		if err == nil && !strings.HasPrefix(r.DC, "dc1.") {
			t.Errorf("asked %s", r.DC)
		}
		ended <- err
	}()
	<-arrived
	dns.Services(records, second)
	must(t, v.Locate(t.Context()))
	if _, there := of(v, "dc1"); there || len(v.Status()) != 1 {
		t.Errorf("%+v", v.Status())
	}
	eventually(t, "what was idle is closed, and the bind goes on", func() bool { return one.open() == 1 })
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the bind under way: %v", err)
	}
	eventually(t, "its connection is closed after it", func() bool { return one.open() == 0 })
	// The background may have asked for its address while DNS failed.
	eventually(t, "the other serves", func() bool { st, _ := of(v, "dc2"); return st.State != ldap.Down })
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !strings.HasPrefix(r.DC, "dc2.") {
		t.Errorf("%+v, %v", r, err)
	}
	if n, m := len(bindsOf(one)), len(bindsOf(two)); n != 2 || m != 1 {
		t.Errorf("%d and %d binds", n, m)
	}
	// It comes back, and goes before the other again.
	dns.Services(records, first, second)
	must(t, v.Locate(t.Context()))
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !strings.HasPrefix(r.DC, "dc1.") {
		t.Errorf("%+v, %v", r, err)
	}
}

// Servers of the settings go before those that DNS names, and one that both name is asked as the settings say.
func TestSettingsGoBeforeDNS(t *testing.T) {
	a, dns := newAuthority(t), locatetest.Start(t)
	one, two := begin(t, a, nil), atHost(t, a, "dc2.corp.example", nil)
	dns.Services(records, locatetest.SRV{Port: 1, Target: "127.0.0.1.corp.example."}, two.named(dns, "dc2.corp.example", 0))
	dns.Host("dc1.corp.example", net.IPv4(127, 0, 0, 1))
	v := configured(t, ldap.Config{Servers: []string{one.url()}, Domain: "corp.example", StartTLS: true, Resolver: dns.Resolver(), RootCAs: a.pool()}, false)
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || r.DC != one.listener.Addr().String() {
		t.Errorf("before DNS was asked: %+v, %v", r, err)
	}
	must(t, v.Locate(t.Context()))
	st := v.Status()
	if len(st) != 3 || st[0].Found || !st[1].Found || st[0].Rank >= st[1].Rank {
		t.Errorf("%+v", st)
	}
	one.stop()
	eventually(t, "the end is seen", func() bool { return v.Status()[0].Idle == 0 })
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !strings.HasPrefix(r.DC, "dc2.") {
		t.Errorf("%+v, %v", r, err)
	}
}

// DNS is not authenticated. A server without a certificate for the name, and one of another domain, see no password.
func TestDNSIsNotBelieved(t *testing.T) {
	a, dns := newAuthority(t), locatetest.Start(t)
	elsewhere := atHost(t, a, "dc1.corp.example", func(s *scripted) { s.base = "DC=other,DC=example" })
	mute := atHost(t, a, "dc2.corp.example", func(s *scripted) { s.base = "" })
	misnamed := atHost(t, a, "dc9.corp.example", nil)
	genuine := atHost(t, a, "dc4.corp.example", nil)
	dns.Services(records, elsewhere.named(dns, "dc1.corp.example", 0), mute.named(dns, "dc2.corp.example", 1), misnamed.named(dns, "dc3.corp.example", 2),
		genuine.named(dns, "dc4.corp.example", 3))
	v := configured(t, ldap.Config{Domain: "corp.example", StartTLS: true, Resolver: dns.Resolver(), RootCAs: a.pool()}, false)
	must(t, v.Locate(t.Context()))
	check := ask("n", "p")
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || !strings.HasPrefix(r.DC, "dc4.") || check.Fences.Load() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for host, says := range map[string]string{"dc1": "it serves other.example", "dc2": "no domain controller", "dc3": "certificate"} {
		if st, _ := of(v, host); st.State != ldap.Down || !strings.Contains(st.LastError, says) || st.Remedy == "" {
			t.Errorf("%s: %+v", host, st)
		}
	}
	if n := len(bindsOf(elsewhere)) + len(bindsOf(mute)) + len(bindsOf(misnamed)); n != 0 {
		t.Errorf("%d binds at strangers", n)
	}
}

func TestSettingsOfDNS(t *testing.T) {
	for what, c := range map[string]ldap.Config{"nothing": {}, "a site alone": {Servers: []string{"dc1"}, Site: "Berlin"},
		"StartTLS alone": {Servers: []string{"dc1"}, StartTLS: true}, "no domain": {Domain: "corp"}, "no site": {Domain: "corp.example", Site: "a.b"}} {
		if _, err := ldap.New(c); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	v, err := ldap.New(ldap.Config{Domain: "corp.example.", Site: "Berlin"})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = v.Validate(ctx, ask("n", "p").Check); trouble(t, err).Code != wire.AgentTooSlow || !strings.Contains(err.Error(), "found yet") {
		t.Errorf("before anybody was found: %v", err)
	}
	check := ask("n", "p")
	check.FenceBy = time.Now()
	if _, err = v.Validate(t.Context(), check.Check); trouble(t, err).Code != wire.DirectoryUnreachable || check.Fences.Load() != 0 {
		t.Errorf("too late for the fence: %v", err)
	}
}

// A server that hangs holds the slots of its own connections, and nobody else's: whoever finds them taken asks the next one.
func TestHungServerHoldsNoOthersSlots(t *testing.T) {
	const connections = 3
	a, hang := newAuthority(t), make(chan struct{})
	var held atomic.Int32
	hung := begin(t, a, func(s *scripted) { s.bind = func(string, string) said { held.Add(1); return said{until: hang} } })
	well := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{hung.url(), well.url()}, RootCAs: a.pool(), Connections: connections}, false)
	var waiting sync.WaitGroup
	for range connections {
		waiting.Go(func() {
			if r, err := v.Validate(context.Background(), ask("n", "p").Check); err != nil || r.DC != hung.listener.Addr().String() {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	eventually(t, "all its connections hang", func() bool { return held.Load() == connections })
	var others sync.WaitGroup
	for range 4 * connections {
		others.Go(func() {
			check := ask("n", "p")
			if r, err := v.Validate(t.Context(), check.Check); err != nil || r.DC != well.listener.Addr().String() || check.Fences.Load() != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	others.Wait()
	if st := v.Status(); st[0].InUse != connections || st[1].InUse != 0 || len(bindsOf(hung)) != connections || len(bindsOf(well)) != 4*connections {
		t.Errorf("%+v", st)
	}
	close(hang)
	waiting.Wait()
}

// The connection that comes too late is kept for the next check, and saw no bind.
func TestLateConnectionIsKept(t *testing.T) {
	a, silent := newAuthority(t), make(chan struct{})
	slow := begin(t, a, func(s *scripted) { s.silent = silent })
	quick := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{slow.url(), quick.url()}, RootCAs: a.pool(), DialTimeout: 20 * time.Second}, false)
	check := ask("n", "p")
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.DC != quick.listener.Addr().String() || check.Fences.Load() != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	slow.mu.Lock()
	slow.silent = nil
	slow.mu.Unlock()
	close(silent)
	eventually(t, "the late one is kept", func() bool { st := v.Status()[0]; return st.Idle == 1 && st.InUse == 0 })
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || r.DC != slow.listener.Addr().String() {
		t.Errorf("%+v, %v", r, err)
	}
	if dials, binds := slow.counts(); dials != 1 || len(binds) != 1 || len(bindsOf(quick)) != 1 {
		t.Errorf("%d connections, %d binds there, %d here", dials, len(binds), len(bindsOf(quick)))
	}
}

// late passes on what it reads after a while, as a line to another continent does.
type late struct {
	net.Conn
	by time.Duration
}

func (c late) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	<-time.After(c.by)
	return n, err
}

type farAway struct {
	net.Listener
	by time.Duration
}

func (l farAway) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return late{c, l.by}, err
}

// Of servers of equal rank the choice goes to the one that answers clearly faster, once both were measured, and stays there.
func TestFasterOneIsChosen(t *testing.T) {
	a, dns := newAuthority(t), locatetest.Start(t)
	far := atHost(t, a, "dc1.corp.example", func(s *scripted) { s.listener = farAway{s.listener, 40 * time.Millisecond} })
	near := atHost(t, a, "dc2.corp.example", nil)
	dns.Services(records, far.named(dns, "dc1.corp.example", 0))
	v := configured(t, ldap.Config{Domain: "corp.example", StartTLS: true, Resolver: dns.Resolver(), RootCAs: a.pool()}, false)
	must(t, v.Locate(t.Context()))
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !strings.HasPrefix(r.DC, "dc1.") {
		t.Fatalf("%+v, %v", r, err)
	}
	dns.Services(records, far.named(dns, "dc1.corp.example", 0), near.named(dns, "dc2.corp.example", 0))
	must(t, v.Locate(t.Context()))
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !strings.HasPrefix(r.DC, "dc1.") {
		t.Errorf("the choice was not kept: %+v, %v", r, err)
	}
	v.Maintain(t.Context()) // opens connections
	v.Maintain(t.Context()) // asks on them
	r, err := v.Validate(t.Context(), ask("n", "p").Check)
	st, _ := of(v, "dc2")
	if err != nil || !strings.HasPrefix(r.DC, "dc2.") || st.Why != "the fastest of 2 of equal rank" || st.Latency == 0 {
		t.Errorf("%+v, %v, %+v", r, err, v.Status())
	}
}

// A real domain controller is found by its domain, and names this host's site.
func TestSambaFromDNS(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{})
	dns := locatetest.Start(t)
	domain := strings.ToLower(dc.UPNSuffix)
	dns.Host(dc.Host, net.ParseIP(dc.Addr))
	record := locatetest.SRV{Weight: 100, Port: 389, Target: dc.Host + "."}
	dns.Services("_ldap._tcp.dc._msdcs."+domain, record)
	dns.Services("_ldap._tcp.Default-First-Site-Name._sites.dc._msdcs."+domain, record)
	for _, startTLS := range []bool{false, true} {
		v := configured(t, ldap.Config{Domain: domain, StartTLS: startTLS, Resolver: dns.Resolver(), RootCAs: dc.CAPool}, true)
		check := ask(dc.AdminUPN(), "not this one")
		r, err := v.Validate(t.Context(), check.Check)
		if err != nil || r.Verdict.Reason != wire.BadPassword || !strings.HasPrefix(r.DC, dc.Host) {
			t.Fatalf("%+v, %v", r, err)
		}
		eventually(t, "the site is learned", func() bool {
			l, _ := v.Located()
			return l.Learned && l.Site == "Default-First-Site-Name" && len(l.Found.Targets) == 1 && l.Found.Targets[0].Near
		})
	}
}

// A server that does not answer the guard's reader is left for the next one, with nothing sent there but the reader's own bind.
func TestUnguardedServerIsLeft(t *testing.T) {
	const reader = "reader@corp.example"
	a, hang := newAuthority(t), make(chan struct{})
	deaf := begin(t, a, func(s *scripted) {
		s.bind = func(name, _ string) said {
			if name == reader {
				return said{until: hang}
			}
			return said{}
		}
	})
	defer close(hang)
	well := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{deaf.url(), well.url()}, RootCAs: a.pool(), Guard: ldap.Guard{Reader: reader, Password: wire.NewSecret([]byte("r"))}}, false)
	check := ask("anna@corp.example", "p")
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.DC != well.listener.Addr().String() || check.Fences.Load() != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := bindsOf(deaf); len(got) != 1 || !strings.HasPrefix(got[0], reader) {
		t.Errorf("at the deaf one: %q", got)
	}
	if n := slices.DeleteFunc(bindsOf(well), func(s string) bool { return strings.HasPrefix(s, reader) }); len(n) != 1 {
		t.Errorf("at the other one: %q", n)
	}
	// The same holds for looking a name up.
	well.entries = []*goldap.Entry{goldap.NewEntry("CN=Mail,CN=Schema,DC=corp,DC=example", map[string][]string{"lDAPDisplayName": {"mail"}, "searchFlags": {"1"}, "attributeSyntax": {"2.5.5.12"}}),
		goldap.NewEntry("CN=Ada,DC=corp,DC=example", map[string][]string{"mail": {"ada@mail.example"}, "sAMAccountName": {"ada"}})}
	if account, e := v.Find(t.Context(), "mail", "ada@mail.example"); e != nil || account == nil || account.SAM != "ada" {
		t.Errorf("%+v, %v", account, e)
	}
	// Where there is no other, it is an outage, and says at which server.
	alone := configured(t, ldap.Config{Servers: []string{deaf.url()}, RootCAs: a.pool(), Guard: ldap.Guard{Reader: reader, Password: wire.NewSecret([]byte("r"))}}, false)
	_, err = alone.Validate(t.Context(), check.Check)
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || e.DC != deaf.listener.Addr().String() || check.Fences.Load() != 1 {
		t.Errorf("%v", err)
	}
}

// One that goes silent on a connection that the reader had kept is left in time for the next one to be asked, too.
func TestServerThatGoesSilentIsLeft(t *testing.T) {
	a, silence := newAuthority(t), make(chan struct{})
	var silent atomic.Bool
	one := begin(t, a, func(s *scripted) {
		s.results = func(string) int {
			if silent.Load() {
				<-silence
			}
			return 0
		}
	})
	defer close(silence)
	two := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{one.url(), two.url()}, RootCAs: a.pool(),
		Guard: ldap.Guard{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("r"))}}, false)
	for _, want := range []*scripted{one, two} {
		check := ask("anna@corp.example", "p")
		r, err := v.Validate(t.Context(), check.Check)
		if err != nil || r.DC != want.listener.Addr().String() || check.Fences.Load() != 1 {
			t.Fatalf("silent: %v: %+v, %v", silent.Load(), r, err)
		}
		silent.Store(true)
	}
}
