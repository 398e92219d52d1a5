package kerberos_test

import (
	"net"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// Each proof goes over a connection of its own, and none of them needs the name server once it has named the KDC.
func TestNameServerIsSilent(t *testing.T) {
	w, dns := start(t), locatetest.Start(t)
	dns.Host(w.dc.Host, net.ParseIP(w.dc.Addr))
	for _, udp := range []bool{false, true} {
		v := w.validator(t, func(c *kerberos.Config) { c.KDCs, c.Resolver, c.UDP = []string{w.dc.Host}, dns.Resolver(), udp })
		judges := func() {
			t.Helper()
			r, err := v.Validate(t.Context(), ask("alice@corp.example.com", people.RightPassword).Check)
			if err != nil || r.Verdict.Reason != wire.Accepted {
				t.Errorf("by UDP %t: %+v, %v", udp, r, err)
			}
		}
		judges()
		dns.Silence()
		judges()
		judges()
		if st := v.Status(); len(st) != 1 || st[0].LastError != "" {
			t.Errorf("%+v", st)
		}
		dns.Speak()
	}
}
