package domains

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestFoundInDNS gives an agent's validator nothing but the domain. It finds both real domain controllers, asks the preferred one, goes over to the
// other one when that falls silent, freezes or dies, and comes back; each wrong password is counted once, both together.
func TestFoundInDNS(t *testing.T) {
	everybody := crowd("guest", "corp.example.com", 12)
	first, second := sambatest.TwoControllers(t, samba.Options{}, everybody...)
	dns := locatetest.Start(t)
	var records []locatetest.SRV
	for i, dc := range []*samba.DC{first, second} {
		dns.Host(dc.Host, net.ParseIP(dc.Addr))
		records = append(records, locatetest.SRV{Priority: uint16(i), Weight: 100, Port: 389, Target: dc.Host + "."})
	}
	dns.Services("_ldap._tcp.dc._msdcs.corp.example.com", records...)
	pem, err := os.ReadFile(of(t, first, second).CAFile)
	noError(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	v, err := ldap.New(ldap.Config{Domain: "corp.example.com", Resolver: dns.Resolver(), RootCAs: roots, BindTimeout: 2 * time.Second})
	noError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })

	asked, unknown := 0, 0
	// wrong has somebody who was not tried yet type a wrong password. One whose answer got lost may have counted; every other one is judged, by dc if
	// it is not nil.
	wrong := func(dc *samba.DC, mayBeLost bool) {
		t.Helper()
		fences := 0
		check := directory.Check{Name: everybody[asked].UPN, Password: wire.NewSecret([]byte(people.WrongPassword)), Fence: func(context.Context) error { fences++; return nil }}
		asked++
		r, err := v.Validate(t.Context(), check)
		if e, ok := err.(*directory.Error); ok && mayBeLost && e.Fenced && fences == 1 {
			unknown++
			return
		}
		if err != nil || r.Verdict.Reason != wire.BadPassword || dc != nil && !strings.HasPrefix(r.DC, dc.Host) || fences != 1 {
			t.Errorf("%s: %+v, %v after %d fences", check.Name, r, err, fences)
		}
	}
	await := func(dc *samba.DC, state ldap.State) {
		t.Helper()
		noError(t, world.Await(t.Context(), dc.Host+" is "+string(state), func() bool {
			for _, s := range v.Status() {
				if strings.HasPrefix(s.Address, dc.Host) {
					return s.State == state
				}
			}
			return false
		}))
	}
	wrong(nil, false)
	await(first, ldap.Serving)
	await(second, ldap.Serving)
	for _, fault := range []struct{ do, undo func(*samba.DC) error }{
		{func(dc *samba.DC) error { return dc.Vanish(t.Context()) }, func(dc *samba.DC) error { return dc.Reappear(t.Context()) }},
		{(*samba.DC).Pause, (*samba.DC).Resume},
		{func(dc *samba.DC) error { dc.Kill(); return nil }, func(dc *samba.DC) error { return dc.Restart(t.Context()) }},
	} {
		noError(t, fault.do(first))
		wrong(second, true) // a connection that answered a moment ago is not asked whether it lives
		wrong(second, false)
		await(first, ldap.Down)
		noError(t, fault.undo(first))
		await(first, ldap.Serving)
		wrong(nil, false)
		if s := v.Status(); !strings.HasPrefix(s[0].Address, first.Host) || s[0].Why == "" {
			t.Errorf("not chosen again: %+v", s)
		}
	}
	one, two := countsOf(t, first), countsOf(t, second)
	counted := 0
	for _, p := range everybody[:asked] {
		n := one.wrong[p.SAM] + two.wrong[p.SAM]
		if n > 1 {
			t.Errorf("%s is counted %d and %d times", p.SAM, one.wrong[p.SAM], two.wrong[p.SAM])
		}
		counted += n
	}
	if counted > asked || counted < asked-unknown {
		t.Errorf("%d typed, %d without an answer, %d counted", asked, unknown, counted)
	}
}
