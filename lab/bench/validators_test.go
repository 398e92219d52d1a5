package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	krbclient "github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/wire"
)

// most is the largest concurrency that is measured: what the validators and the agent are given room for.
const most = 256

// way is one way of asking a domain controller: directly with an independent client, by our validator alone, and through everything.
type way struct {
	name   string
	config func(agent.Config) agent.Config
	direct func(*testing.B) func(people.Person)
}

// BenchmarkValidators reports, for each validator and concurrency, three rates that were driven in turns against one domain controller with a core to
// itself: directly by an independent client (kept LDAP connections; an AS exchange of gokrb5), by the validator alone, and through the product.
func BenchmarkValidators(b *testing.B) {
	if err := samba.Available(); err != nil {
		b.Skip(err)
	}
	dc := must(samba.Start(b.Context(), samba.Options{Model: samba.Prefork}))(b)
	b.Cleanup(dc.Stop)
	everybody := crowd()
	if err := dc.Fill(b.Context(), everybody); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "keytab")
	must(dc.Keytab(b.Context(), "agent1", file))(b)
	keytab := must(kerberos.ReadKeytab(file))(b)
	at := place{address: dc.LDAPS(), roots: dc.CAPool, people: everybody}
	apart(b)
	byLDAP := ldap.Config{Servers: []string{at.address}, RootCAs: at.roots}
	byKDC := func(udp bool, armor string) func(agent.Config) agent.Config {
		return func(c agent.Config) agent.Config {
			c.LDAP, c.Kerberos, c.Choice = byLDAP, &kerberos.Config{KDCs: []string{dc.Addr}, Keytab: keytab, UDP: udp, Armor: armor}, agent.Choice{Kind: agent.Kerberos}
			return c
		}
	}
	direct := func(b *testing.B) func(people.Person) { return loggingIn(b, dc) }
	for _, w := range []way{
		{"ldap", func(c agent.Config) agent.Config { c.LDAP = byLDAP; return c },
			func(b *testing.B) func(people.Person) {
				free := newBinders(b, at, 32) // more connections than that a domain controller of one core does not serve any faster
				return func(p people.Person) { free.bind(b, p) }
			}},
		{"kerberos", byKDC(false, ""), direct},
		{"kerberos-udp", byKDC(true, ""), direct},
		{"kerberos-armor", byKDC(false, "AGENT1$"), direct},
	} {
		b.Run(w.name, func(b *testing.B) {
			direct := w.direct(b)
			config := w.config(agent.Config{})
			alone := must(agent.NewValidator(config.LDAP, config.Kerberos, nil))(b)
			run(b, alone.(interface{ Run(context.Context) error }).Run)
			with := at
			with.config = w.config
			through := newPath(b, with, 1)
			for _, workers := range []int{1, 4, 16, 64, most} {
				b.Run(fmt.Sprint(workers), func(b *testing.B) {
					var limit, validator, product phase
					b.ResetTimer()
					turns(b.N, func(n int) {
						limit.measure(n, workers, func(i int) { direct(at.people[i%accounts]) })
						validator.measure(n, workers, func(i int) { validate(b, alone, at.people[i%accounts]) })
						product.measure(n, workers, func(i int) { through.check(b, at.people[i%accounts]) })
					})
					b.StopTimer()
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(limit.rate(), "direct/s")
					b.ReportMetric(100*validator.rate()/limit.rate(), "validator-%of-direct")
					b.ReportMetric(100*product.rate()/limit.rate(), "%of-direct")
					b.ReportMetric(float64(validator.cpu.Microseconds())/float64(len(validator.times)), "validator-cpu-us/check")
					b.ReportMetric(product.at(99), "through-p99-ms")
				})
			}
		})
	}
}

// loggingIn is an AS exchange of an independent client, over TCP.
func loggingIn(b *testing.B, dc *samba.DC) func(people.Person) {
	config := must(krbconfig.NewFromString(fmt.Sprintf("[libdefaults]\n default_realm = %s\n dns_lookup_kdc = false\n udp_preference_limit = 1\n"+
		" default_tkt_enctypes = aes256-cts-hmac-sha1-96\n[realms]\n %s = {\n  kdc = %s:88\n }\n", dc.Realm, dc.Realm, dc.Addr)))(b)
	turn := make(chan struct{}, 8) // Samba's KDC lines up ten connections and drops the rest
	return func(p people.Person) {
		turn <- struct{}{}
		defer func() { <-turn }()
		c := krbclient.NewWithPassword(p.SAM, dc.Realm, string(p.Password.Reveal()), config, krbclient.DisablePAFXFAST(true))
		defer c.Destroy()
		if err := c.Login(); err != nil {
			b.Errorf("%s: %v", p.SAM, err)
		}
	}
}

// validate checks one right password with a validator alone.
func validate(b *testing.B, v directory.Validator, who people.Person) {
	r, err := v.Validate(b.Context(), directory.Check{Name: who.UPN, Password: who.Password, Fence: func(context.Context) error { return nil }})
	if err != nil || r.Verdict.Reason != wire.Accepted {
		b.Errorf("%s: %+v, %v", who.UPN, r, err)
	}
}
