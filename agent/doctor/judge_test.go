package doctor

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/link"
)

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func chain(issuer string, left time.Duration) []*x509.Certificate {
	return []*x509.Certificate{{Issuer: pkix.Name{CommonName: issuer}, Subject: pkix.Name{CommonName: "dc1.corp.example"}, NotAfter: now.Add(left)}}
}

// one is a finding that must be there.
type one struct {
	severity Severity
	words    string
	remedy   bool
}

func wants(t *testing.T, what string, got []Finding, want ...one) {
	t.Helper()
	for _, w := range want {
		found := false
		for _, f := range got {
			found = found || f.Severity == w.severity && strings.Contains(f.Says, w.words) && (f.Remedy != "") == w.remedy
		}
		if !found {
			t.Errorf("%s: %+v\nwants %+v", what, got, w)
		}
	}
	for _, f := range got {
		if (f.Severity == Warning || f.Severity == Error) && f.Remedy == "" {
			t.Errorf("%s: no remedy for %+v", what, f)
		}
	}
}

func TestServers(t *testing.T) {
	well := ldap.Examination{Address: "dc1:636", Took: 5 * time.Millisecond, Host: "dc1.corp.example", NamingContext: "DC=corp,DC=example",
		Chain: chain("Corp CA", 90*24*time.Hour), Clock: now}
	with := func(change func(*ldap.Examination)) ldap.Examination {
		e := well
		change(&e)
		return e
	}
	for what, c := range map[string]struct {
		e    ldap.Examination
		want []one
	}{
		"well": {well, []one{{OK, "dc1.corp.example of DC=corp,DC=example", false}, {OK, "Corp CA", false}, {OK, "agree to 1s", false},
			{Note, "not told without an account", true}}},
		"slow":               {with(func(e *ldap.Examination) { e.Took = 3 * time.Second }), []one{{Warning, "in 3s", true}}},
		"a certificate ends": {with(func(e *ldap.Examination) { e.Chain = chain("Corp CA", 5*24*time.Hour) }), []one{{Warning, "ends in 120h", true}}},
		"a clock drifts":     {with(func(e *ldap.Examination) { e.ClockSkew = -30 * time.Second }), []one{{Warning, "30s behind", true}}},
		"a clock is wrong":   {with(func(e *ldap.Examination) { e.ClockSkew = 6 * time.Minute }), []one{{Error, "6m0s ahead of", true}}},
		"locks early": {with(func(e *ldap.Examination) {
			e.Lockout = &ldap.LockoutPolicy{Threshold: 3, Duration: time.Hour, Window: time.Hour}
		}),
			[]one{{Warning, "after 3 wrong passwords", true}}},
		"locks late": {with(func(e *ldap.Examination) {
			e.Lockout = &ldap.LockoutPolicy{Threshold: 10, Duration: time.Hour, Window: time.Hour}
		}),
			[]one{{OK, "after 10 wrong passwords", false}}},
		"never locks": {with(func(e *ldap.Examination) { e.Lockout = &ldap.LockoutPolicy{} }), []one{{OK, "never locks", false}}},
		"refused": {ldap.Examination{Address: "dc1:636", Err: errors.New("x509: unknown"), Remedy: "Give the CA.", Chain: chain("Somebody", time.Hour)},
			[]one{{Error, `issued by "CN=Somebody"`, true}}},
		"gone": {ldap.Examination{Address: "dc1:636", Err: errors.New("connection refused")}, []one{{Error, "connection refused", true}}},
	} {
		wants(t, what, judgeServer(c.e, now), c.want...)
	}
}

func TestWayToTheService(t *testing.T) {
	unknown := x509.UnknownAuthorityError{}
	wants(t, "straight", judgeService("https://s.example", reply{took: time.Millisecond, chain: chain("Public CA", time.Hour), skewKnown: true}),
		one{OK, "straight", false}, one{OK, "Public CA", false}, one{OK, "agree", false})
	wants(t, "a clock behind by two minutes", judgeService("https://s.example", reply{skew: 2 * time.Minute, skewKnown: true}), one{Error, "2m0s ahead of this host's", true})
	wants(t, "no clock", judgeService("https://s.example", reply{}), one{Note, "does not tell its time", false})
	wants(t, "through a proxy", judgeService("https://s.example", reply{proxy: "http://proxy:3128"}), one{Note, "through http://proxy:3128", false})
	wants(t, "no way", judgeService("https://s.example", reply{err: errors.New("i/o timeout")}), one{Error, "i/o timeout", true})
	wants(t, "TLS opened", judgeGateway("gw.example:8444", link.Look{Err: unknown, Chain: chain("Corp Web Filter", time.Hour)}, now),
		one{Error, `"CN=Corp Web Filter", which is not trusted`, true})
	wants(t, "another name", judgeGateway("gw.example:8444", link.Look{Err: errors.New("x509: certificate is valid for a"), Chain: chain("CA", time.Hour)}, now),
		one{Error, "does not hold", true})
	wants(t, "gateway well", judgeGateway("gw.example:8444", link.Look{Chain: chain("CA", 60*24*time.Hour)}, now), one{OK, "handshake", false})
}

func TestDomains(t *testing.T) {
	wants(t, "two domains", judgeContexts(map[string][]string{"dc=a": {"x"}, "dc=b": {"y"}}), one{Error, "dc=a: x; dc=b: y", true})
	if got := judgeContexts(map[string][]string{"dc=a": {"x", "y"}}); got != nil {
		t.Errorf("one domain: %+v", got)
	}
	wants(t, "DNS knows nothing", judgeSRV("corp.example", []string{"x"}, records{err: errors.New("no such host")}), one{Note, "no such host", true})
	wants(t, "one of two", judgeSRV("corp.example", []string{"x"}, records{hosts: []string{"dc2.corp.example", "dc1.corp.example"}}), one{Warning, "2 domain controllers: dc1", true})
	wants(t, "all", judgeSRV("corp.example", []string{"x", "y"}, records{hosts: []string{"dc1", "dc2"}}), one{OK, "2 domain controllers", false})
	for base, want := range map[string]string{"DC=corp,DC=example": "corp.example", "dc=corp, dc=example ": "corp.example", "OU=x,DC=corp": "", "": "", "DC=": ""} {
		if got := domainOf(base); got != want {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		all  []Severity
		want Severity
	}{{nil, OK}, {[]Severity{OK, Note}, Note}, {[]Severity{Warning, Note}, Warning}, {[]Severity{Error, Warning, OK}, Error}} {
		var all []Finding
		for _, s := range c.all {
			all = append(all, Finding{Severity: s})
		}
		if got := Worst(all); got != c.want {
			t.Errorf("%v: %v", c.all, got)
		}
	}
}
