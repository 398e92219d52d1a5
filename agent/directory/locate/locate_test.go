package locate_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
)

const (
	domain = "corp.example"
	all    = "_ldap._tcp.dc._msdcs.corp.example"
	berlin = "_ldap._tcp.Berlin._sites.dc._msdcs.corp.example"
)

func srv(target string, priority, weight uint16) *net.SRV {
	return &net.SRV{Target: target, Port: 389, Priority: priority, Weight: weight}
}

func hosts(f locate.Found) (out []string) {
	for _, t := range f.Targets {
		out = append(out, t.Host)
	}
	return out
}

// lowest draws the smallest number always, highest the largest.
func lowest(int) int    { return 0 }
func highest(n int) int { return n - 1 }

func TestPick(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		name      string
		near, all []*net.SRV
		known     []string
		random    func(int) int
		want      []string
		foreign   []string
	}{
		{"priority goes before weight", nil, []*net.SRV{srv("b.corp.example.", 1, 100), srv("a.corp.example.", 0, 1)}, nil, highest, []string{"a.corp.example", "b.corp.example"}, nil},
		{"weight zero is drawn by the smallest number", nil, []*net.SRV{srv("a.corp.example", 0, 9), srv("b.corp.example", 0, 0)}, nil, lowest, []string{"b.corp.example", "a.corp.example"}, nil},
		{"weight is drawn by any other", nil, []*net.SRV{srv("b.corp.example", 0, 0), srv("a.corp.example", 0, 9)}, nil, highest, []string{"a.corp.example", "b.corp.example"}, nil},
		{"known ones go first", nil, []*net.SRV{srv("a.corp.example", 0, 9), srv("b.corp.example", 0, 1)}, []string{"b.corp.example"}, highest, []string{"b.corp.example", "a.corp.example"}, nil},
		{"but not before a better priority", nil, []*net.SRV{srv("a.corp.example", 0, 9), srv("b.corp.example", 1, 1)}, []string{"b.corp.example"}, highest, []string{"a.corp.example", "b.corp.example"}, nil},
		{"the site goes before the domain, and nobody comes twice", []*net.SRV{srv("b.corp.example", 5, 1)}, []*net.SRV{srv("a.corp.example", 0, 1), srv("b.corp.example", 0, 1)}, nil, lowest, []string{"b.corp.example", "a.corp.example"}, nil},
		{"the better of two records of a host", nil, []*net.SRV{srv("a.corp.example", 7, 1), srv("b.corp.example", 3, 1), srv("A.corp.example.", 1, 1)}, nil, lowest, []string{"a.corp.example", "b.corp.example"}, nil},
		{"a record that comes twice is one", nil, []*net.SRV{srv("a.corp.example", 1, 1), srv("a.corp.example", 1, 1), srv("b.corp.example", 2, 1)}, nil, lowest, []string{"a.corp.example", "b.corp.example"}, nil},
		{"not available", nil, []*net.SRV{srv(".", 0, 0)}, nil, lowest, nil, nil},
		{"outside of the domain", nil, []*net.SRV{srv("dc1.evil.example", 0, 0), srv("evilcorp.example", 0, 0), srv("corp.example", 0, 0), srv("corp.example.evil.example", 0, 0)}, nil, lowest, nil,
			[]string{"dc1.evil.example", "evilcorp.example", "corp.example"}},
		{"of foreign names three, each once", nil, []*net.SRV{srv("a.example", 0, 0), srv("A.example.", 0, 0), srv("b.example", 0, 0), srv("c.example", 0, 0), srv("d.example", 0, 0)}, nil, lowest, nil,
			[]string{"a.example", "b.example", "c.example"}},
		{"no names of hosts", nil, []*net.SRV{srv("a b.corp.example", 0, 0), srv(long+".corp.example", 0, 0), srv("..corp.example", 0, 0)}, nil, lowest, nil,
			[]string{"a b.corp.example", long + ".corp.example", "..corp.example"}},
		{"port zero", nil, []*net.SRV{{Target: "a.corp.example"}}, nil, lowest, nil, []string{"a.corp.example"}},
	} {
		f := locate.Pick(domain, c.near, c.all, c.known, c.random)
		if d := cmp.Diff(c.want, hosts(f)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if d := cmp.Diff(c.foreign, f.Foreign); d != "" {
			t.Errorf("%s: refused %s", c.name, d)
		}
	}
}

// Of many only a few are taken, and again those that are in use.
func TestPickTakesAFew(t *testing.T) {
	var many []*net.SRV
	for i := range 5000 {
		many = append(many, srv(fmt.Sprintf("dc%d.corp.example", i), 0, 1))
	}
	f := locate.Pick(domain, nil, many, nil, highest)
	if len(f.Targets) != locate.MaxTargets || f.Records != 5000 || f.Beyond != 1024-locate.MaxTargets {
		t.Errorf("%d targets, %d records, %d beyond", len(f.Targets), f.Records, f.Beyond)
	}
	again := locate.Pick(domain, nil, many, hosts(f), lowest)
	one, two := hosts(f), hosts(again)
	slices.Sort(one)
	slices.Sort(two)
	if d := cmp.Diff(one, two); d != "" {
		t.Error(d)
	}
}

// Over many draws each of equal priority is first as often as its weight says.
func TestWeightsShareOut(t *testing.T) {
	records := []*net.SRV{srv("a.corp.example", 0, 1), srv("b.corp.example", 0, 3)}
	first := map[string]int{}
	n := 0
	for range 500 {
		// Every number that can be drawn, in turn.
		f := locate.Pick(domain, nil, records, nil, func(top int) int { n++; return n % top })
		first[f.Targets[0].Host]++
	}
	if a, b := first["a.corp.example"], first["b.corp.example"]; a == 0 || b <= a {
		t.Errorf("first: %v", first)
	}
}

func TestFind(t *testing.T) {
	dns := locatetest.Start(t)
	dns.Services(all, locatetest.SRV{Weight: 100, Port: 389, Target: "DC2.corp.example."}, locatetest.SRV{Weight: 100, Port: 389, Target: "dc1.corp.example."},
		locatetest.SRV{Port: 389, Target: "dc1.evil.example."})
	dns.Services(berlin, locatetest.SRV{Weight: 100, Port: 3389, Target: "dc1.corp.example."})
	f, err := locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain, Site: "Berlin"}, nil)
	want := []locate.Target{{Host: "dc1.corp.example", Port: 3389, Near: true, Weight: 100}, {Host: "dc2.corp.example", Port: 389, Weight: 100}}
	if d := cmp.Diff(want, f.Targets); err != nil || d != "" || f.Records != 4 || f.SiteUnknown || len(f.Foreign) != 1 {
		t.Errorf("%v, %+v, %s", err, f, d)
	}

	f, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain, Site: "Rome"}, nil)
	if err != nil || !f.SiteUnknown || len(f.Targets) != 2 || f.Targets[0].Near {
		t.Errorf("a site without domain controllers: %v, %+v", err, f)
	}
	if _, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: "other.example"}, nil); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("an unknown domain: %v", err)
	}
	dns.Services(all, locatetest.SRV{Port: 389, Target: "dc1.evil.example."})
	if _, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain}, nil); err == nil || !strings.Contains(err.Error(), "dc1.evil.example is outside of corp.example") {
		t.Errorf("none of the domain: %v", err)
	}
	dns.Services(all, locatetest.SRV{Target: "."})
	if _, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain}, nil); err == nil || strings.Contains(err.Error(), "outside") {
		t.Errorf("none at all: %v", err)
	}
	// Records of the site that the resolver cannot use are not the same as no records: it is not known who is near.
	dns.Services(all, locatetest.SRV{Port: 389, Target: "dc1.corp.example."})
	dns.Services(berlin, locatetest.SRV{Port: 389, Target: "dc 1.corp.example."})
	if f, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain, Site: "Berlin"}, nil); err == nil {
		t.Errorf("an answer about the site that is none: %+v", f)
	}
	dns.Fail(dnsmessage.RCodeServerFailure)
	if _, err = locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain}, nil); err == nil {
		t.Error("a failure is no answer")
	}
	dns.Fail(dnsmessage.RCodeSuccess)
	swallowed := dns.Silence()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-swallowed; cancel() }()
	if _, err = locate.Find(ctx, dns.Resolver(), locate.Query{Domain: domain}, nil); err == nil {
		t.Error("silence is no answer")
	}
}

// An answer larger than a datagram comes over TCP.
func TestFindOverTCP(t *testing.T) {
	dns := locatetest.Start(t)
	var records []locatetest.SRV
	for i := range 200 {
		records = append(records, locatetest.SRV{Priority: uint16(i), Port: 389, Target: fmt.Sprintf("dc%03d.corp.example.", i)})
	}
	dns.Services(all, records...)
	f, err := locate.Find(t.Context(), dns.Resolver(), locate.Query{Domain: domain}, nil)
	if err != nil || f.Records != 200 || len(f.Targets) != locate.MaxTargets || f.Targets[0].Host != "dc000.corp.example" || dns.Asked("tcp", all) == 0 {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestRanks(t *testing.T) {
	for _, c := range []struct {
		targets []locate.Target
		want    []int
	}{
		{nil, []int{}},
		{[]locate.Target{{Near: true}, {Near: true, Weight: 9}, {Near: true, Priority: 5}, {Priority: 5}, {Priority: 5}, {}}, []int{3, 3, 4, 5, 5, 6}},
	} {
		if d := cmp.Diff(c.want, locate.Found{Targets: c.targets}.Ranks(3)); d != "" {
			t.Error(d)
		}
	}
	dc := locate.Target{Host: "dc1.corp.example", Port: 3389}
	if plain, start := dc.URL(false), dc.URL(true); plain != "ldaps://dc1.corp.example" || start != "ldap://dc1.corp.example:3389" {
		t.Errorf("%s, %s", plain, start)
	}
}

func TestQuery(t *testing.T) {
	for _, q := range []locate.Query{{}, {Domain: "corp"}, {Domain: "corp..example"}, {Domain: "corp.example."}, {Domain: "corp.example", Site: "a.b"},
		{Domain: "corp.example", Site: "a b"}, {Domain: "-corp.example"}, {Domain: "corp-.example"}, {Domain: strings.Repeat("a.", 127)}, {Domain: strings.Repeat("a.", 126) + "bc"},
		{Domain: strings.Repeat("a", 64) + ".example"}, {Domain: "corp{.example"}, {Domain: "corp[.example"}, {Domain: "corp`.example"}, {Domain: "corp@.example"},
		{Domain: "corp:.example"}, {Domain: "corp/.example"}, {Domain: "cörp.example"}} {
		if err := q.Check(); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
	for _, q := range []locate.Query{{Domain: "corp.example", Site: "Default-First-Site-Name"}, {Domain: "AZ.az_09.example"},
		{Domain: strings.Repeat("a.", 126) + "b", Site: strings.Repeat("a", 63)}} {
		if err := q.Check(); err != nil {
			t.Error(err)
		}
	}
}
