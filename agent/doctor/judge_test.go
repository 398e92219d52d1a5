package doctor

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
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
		"well":               {well, []one{{OK, "dc1.corp.example of DC=corp,DC=example", false}, {OK, "Corp CA", false}, {OK, "agree to 1s", false}}},
		"slow":               {with(func(e *ldap.Examination) { e.Took = 3 * time.Second }), []one{{Warning, "in 3s", true}}},
		"a certificate ends": {with(func(e *ldap.Examination) { e.Chain = chain("Corp CA", 5*24*time.Hour) }), []one{{Warning, "ends in 120h", true}}},
		"a clock drifts":     {with(func(e *ldap.Examination) { e.ClockSkew = -30 * time.Second }), []one{{Warning, "30s behind", true}}},
		"a clock is wrong":   {with(func(e *ldap.Examination) { e.ClockSkew = 6 * time.Minute }), []one{{Error, "6m0s ahead of", true}}},
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
	wants(t, "issued by somebody else", judgeService("https://s.example", reply{foreign: true, chain: chain("Corp Web Filter", time.Hour)}),
		one{Note, "not the installation's own", true})
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

func TestFoundInDNS(t *testing.T) {
	found := locate.Found{Targets: []locate.Target{{Host: "dc1.corp.example"}, {Host: "dc2.corp.example"}}, Records: 3}
	one1 := locate.Found{Targets: found.Targets[:1]}
	wants(t, "two", judgeFound("corp.example", "", 0, found, nil), one{OK, "2 domain controllers: dc1.corp.example, dc2.corp.example", false})
	wants(t, "one", judgeFound("corp.example", "", 0, one1, nil), one{Warning, "1 domain controllers", true})
	wants(t, "one beside a given one", judgeFound("corp.example", "", 1, one1, nil), one{OK, "1 domain controllers", false})
	wants(t, "none", judgeFound("corp.example", "", 0, locate.Found{}, errors.New("no such host")), one{Error, "_ldap._tcp.dc._msdcs.corp.example: no such host", true})
	wants(t, "none beside given ones", judgeFound("corp.example", "", 2, locate.Found{}, errors.New("no such host")), one{Warning, "no such host", true})
	found.Beyond, found.SiteUnknown, found.Foreign = 4, true, []string{"dc.evil.example"}
	wants(t, "too many, no site, a stranger", judgeFound("corp.example", "Rome", 0, found, nil), one{OK, "4 more are not needed", false}, one{Warning, "no domain controllers of the site Rome", true},
		one{Warning, "not used: dc.evil.example", true})
}

func TestPreference(t *testing.T) {
	all := []ldap.Examination{{Address: "dc1:636", Err: errors.New("down")}, {Address: "dc2:636", Took: 9 * time.Millisecond}, {Address: "dc3:636", Took: time.Millisecond}}
	wants(t, "equals", judgePreference(all, []int{0, 1, 1}), one{OK, "the fastest of 2 of equal rank; then dc2:636", false})
	wants(t, "in order", judgePreference(all, []int{0, 1, 2}), one{OK, "1 before it are down; then dc3:636", false})
	if got := judgePreference(all[:1], []int{0}); len(got) != 0 {
		t.Errorf("nobody is well: %+v", got)
	}
}

// A real domain controller is found and examined by its domain.
func TestExamineByDomain(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{})
	dns := locatetest.Start(t)
	dns.Host(dc.Host, net.ParseIP(dc.Addr))
	dns.Services("_ldap._tcp.dc._msdcs.corp.example.com", locatetest.SRV{Port: 389, Target: dc.Host + "."}, locatetest.SRV{Port: 389, Target: "dc.evil.example."})
	for startTLS, how := range map[bool]string{false: "LDAPS", true: "StartTLS"} {
		all := Examine(t.Context(), Config{State: t.TempDir(), Domain: "corp.example.com", StartTLS: startTLS, Resolver: dns.Resolver(), RootCAs: dc.CAPool})
		wants(t, how, all, one{Warning, "1 domain controllers: " + dc.Host, true}, one{Warning, "dc.evil.example", true}, one{OK, "over " + how, false}, one{OK, "is asked first: the only one", false})
	}
	all := Examine(t.Context(), Config{State: t.TempDir(), Servers: []string{"ldaps://127.0.0.1:1", dc.LDAPS()}, Domain: "other.example", Resolver: dns.Resolver(), RootCAs: dc.CAPool})
	wants(t, "another domain", all, one{Warning, "_ldap._tcp.dc._msdcs.other.example", true}, one{OK, "is asked first: the only one that is not down", false})
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

func TestRights(t *testing.T) {
	e := ldap.Examination{Address: "dc1:636"}
	wants(t, "closed", []Finding{judgeStrangers(e)}, one{OK, "only the root entry", false})
	e.Rights.Domain = true
	wants(t, "half open", []Finding{judgeStrangers(e)}, one{Warning, "the domain's entry without", true})
	e.Rights.People = true
	wants(t, "open", []Finding{judgeStrangers(e)}, one{Warning, "entries of people", true})
	wants(t, "an account", []Finding{judgeAccount("dc1:636", ldap.Rights{Domain: true, People: true}, nil)}, one{OK, "ordinary account", false})
	wants(t, "a poor account", []Finding{judgeAccount("dc1:636", ldap.Rights{Domain: true}, nil)}, one{Warning, "reads no entries of people", true})
	wants(t, "half an account", []Finding{judgeAccount("dc1:636", ldap.Rights{People: true}, nil)}, one{Note, "not the domain's own", false})
	wants(t, "no account", []Finding{judgeAccount("dc1:636", ldap.Rights{}, errors.New("bad_password"))}, one{Warning, "bad_password", true})
}

func TestLockout(t *testing.T) {
	policy := func(threshold int) *ldap.LockoutPolicy {
		return &ldap.LockoutPolicy{Threshold: threshold, Duration: time.Hour, Window: 30 * time.Minute}
	}
	for what, c := range map[string]struct {
		policy    *ldap.LockoutPolicy
		threshold int
		want      one
	}{
		"not told":              {nil, 0, one{Note, "not told without an account", true}},
		"never":                 {policy(0), 0, one{OK, "never locks", false}},
		"early, default":        {policy(3), 0, one{Warning, "after 3 wrong passwords within 30m0s, for 1h0m0s; compared with the service's default, 4", true}},
		"the same, default":     {policy(4), 0, one{Warning, "after 4", true}},
		"one later":             {policy(5), 0, one{Note, "after 5", true}},
		"later":                 {policy(10), 0, one{OK, "after 10", false}},
		"early, known":          {policy(10), 10, one{Warning, "compared with the service's 10", true}},
		"later, known":          {policy(10), 3, one{OK, "compared with the service's 3", false}},
		"for ever":              {&ldap.LockoutPolicy{Threshold: 10, Window: time.Hour}, 3, one{OK, "as long as nobody unlocks", false}},
		"lower than any number": {policy(1), 0, one{Warning, "after 1 wrong", true}},
	} {
		wants(t, what, []Finding{judgeLockout("dc1:636", c.policy, c.threshold)}, c.want)
	}
}

func TestDomainOfHost(t *testing.T) {
	for address, want := range map[string]string{"dc1.Corp.example:636": "corp.example", "dc1:636": "", "10.0.0.1:636": "", "[2001:db8::1]:636": "", "x": ""} {
		if got := domainOfHost(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestGuardFindings(t *testing.T) {
	domain := &guard.Policy{Threshold: 10}
	for what, c := range map[string]struct {
		status ldap.GuardStatus
		err    error
		want   one
	}{
		"none":       {ldap.GuardStatus{State: ldap.GuardOff}, nil, one{Note, "no reader account", true}},
		"refused":    {ldap.GuardStatus{State: ldap.GuardRefused, LastError: "data 52e"}, nil, one{Warning, "data 52e", true}},
		"partial":    {ldap.GuardStatus{State: ldap.GuardPartial, Domain: domain, Missing: []string{"password settings objects"}}, nil, one{Warning, "password settings objects", true}},
		"nothing":    {ldap.GuardStatus{State: ldap.GuardUntried, LastError: "timeout"}, nil, one{Warning, "timeout", true}},
		"unreached":  {ldap.GuardStatus{}, errors.New("no route"), one{Warning, "no route", true}},
		"everything": {ldap.GuardStatus{State: ldap.GuardReading, Domain: domain, Objects: 2, Reserve: 1}, nil, one{OK, "2 password settings objects", false}},
	} {
		wants(t, what, []Finding{judgeGuard("dc1:636", c.status, c.err)}, c.want)
	}
}

func TestValidator(t *testing.T) {
	wants(t, "ldap", []Finding{judgeValidator("ldap", "no keytab", nil, nil)}, one{OK, "no keytab", false})
	wants(t, "unproven", []Finding{judgeValidator("kerberos", "WITHOUT PROOF", &kerberos.Config{Unproven: true}, nil)}, one{Warning, "WITHOUT PROOF", true})
	wants(t, "refused", []Finding{judgeValidator("kerberos", "asked for", &kerberos.Config{}, errors.New("no realm"))}, one{Error, "no realm", true})
	wants(t, "a KDC in order", judgeKDC(kerberos.Look{Address: "dc1:88", Took: time.Millisecond}), one{OK, "answers in 1ms", false}, one{OK, "agree", false})
	wants(t, "a KDC by UDP, too", judgeKDC(kerberos.Look{Address: "dc1:88", Took: 9 * time.Millisecond, UDPTook: 2 * time.Millisecond}),
		one{OK, "answers in 9ms, by UDP in 2ms", false}, one{OK, "agree", false})
	wants(t, "a KDC behind a firewall", judgeKDC(kerberos.Look{Address: "dc1:88", UDPTook: time.Second, UDPErr: errors.New("no answer")}), one{OK, "answers", false}, one{OK, "agree", false},
		one{Warning, "UDP is of no use: no answer", true})
	wants(t, "a KDC that is not there", judgeKDC(kerberos.Look{Address: "dc1:88", Err: errors.New("refused")}), one{Error, "refused", true})
	wants(t, "a KDC of another time", judgeKDC(kerberos.Look{Address: "dc1:88", ClockSkew: 6 * time.Minute}), one{OK, "answers", false}, one{Error, "6m0s ahead", true})
}

func TestWindows(t *testing.T) {
	corp := directory.Domain{NamingContext: "DC=corp,DC=example", GUID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", DC: "dc1.corp.example"}
	wants(t, "elsewhere", judgeWindows(lookAtWindows(t.Context(), windows.Config{})), one{Error, "works on Windows only", true})
	wants(t, "in order", judgeWindows(hostLook{domain: corp}), one{OK, "a made-up name is refused", false}, one{OK, "Windows named dc1.corp.example", false})
	wants(t, "yes to anybody", judgeWindows(hostLook{check: windows.ErrCredulous, domain: corp}), one{Error, "90120", true}, one{OK, "member of DC=corp", false})
	wants(t, "without a domain controller", judgeWindows(hostLook{check: errors.New("nobody judged"), nobody: errors.New("no domain controller")}),
		one{Error, "nobody judged", true}, one{Error, "no domain controller", true})
}
