package world

import (
	"net/http"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/admin"
)

// shortLife is of certificates that are renewed twice a minute.
const shortLife = 40 * time.Second

// TestRenewalsUnderLoad lets three agents renew certificates and keys several times, by themselves and by order, while people sign in. Nobody
// notices: every sign-in ends at the first try as it must, and every password is bound exactly once.
func TestRenewalsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("renewals take two minutes")
	}
	const count, byThemselves = 7500, 3
	w := renewing(t, crowd("n", count))
	w.Directory.Delay(slowBind) // so that every agent has checks in flight when it goes over
	l := begin(t, w, "n", count, perSecond)
	renewed := func(times int) bool {
		for _, n := range w.Agents {
			if n.Logged("certificate renewed") < times {
				return false
			}
		}
		return true
	}
	awaitFor(t, "the agents' renewals", 4*time.Minute, func() bool { return renewed(byThemselves) })
	var order admin.RenewOrder
	noError(t, w.API.Do(t.Context(), http.MethodPost, admin.Path("tenants", tenantName, "agents", "renew"), admin.RenewInput{SpreadSeconds: 2}, &order))
	if order.Ordered != len(w.Agents) {
		t.Errorf("%d agents were told to renew", order.Ordered)
	}
	awaitFor(t, "the ordered renewals", time.Minute, func() bool { return renewed(byThemselves + 1) })
	guests := l.end()
	t.Logf("%d people signed in meanwhile", len(guests))
	if len(guests) == count {
		t.Error("the load ended before the renewals did")
	}
	for _, g := range guests {
		wrong := 0
		if g.wrong {
			wrong = 1
		}
		if len(g.ends) > 0 || !g.judged() {
			t.Errorf("%s: %q, at last %+v", g.name, g.ends, g.last)
		}
		wantBinds(t, w, g.name, 1, wrong)
	}
	agents, err := admin.All[admin.Agent](t.Context(), w.API, admin.Path("tenants", tenantName, "agents"))
	noError(t, err)
	for _, a := range agents {
		if a.State != "active" || a.Renewed.IsZero() || a.KeyStore != "file" {
			t.Errorf("%+v", a)
		}
	}
}

// renewing starts a split installation with three agents and short certificates.
func renewing(t *testing.T, who []people.Person) *World {
	t.Helper()
	o := splitOptions(t, 3, who)
	o.CertificateLife = shortLife
	return start(t, o)
}

// awaitFor polls until a condition holds.
func awaitFor(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
