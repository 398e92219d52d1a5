package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestHealthOf(t *testing.T) {
	now := time.Now()
	s := Status{Version: "1.2", Written: now, Started: now.Add(-time.Minute), Link: Link{Slots: 32},
		Servers: []Server{{Address: "dc1:636", State: "serving", Latency: &Latency{MedianMS: 2.5}}, {Address: "dc2:636", State: "down", LastError: "no route", LastErrorAt: now.Add(-time.Hour)}},
		Recent:  []Finished{{At: now, Outcome: Wrong, Reason: "bad_password"}, {At: now.Add(-2 * time.Hour), Outcome: Trouble, Reason: "directory-timeout", Code: wire.DirectoryTimeout}}}
	h := healthOf(s)
	if h.GetAgentVersion() != "1.2" || h.GetUptimeMs() != 60_000 || h.GetSlots() != 32 || len(h.GetServers()) != 2 || h.GetServers()[0].GetAddress() != "dc1:636" || h.GetServers()[0].GetMedianUs() != 2500 ||
		h.GetServers()[1].GetState() != "down" || h.GetServers()[1].GetMedianUs() != 0 {
		t.Errorf("%v", h)
	}
	if h.GetLastError() != "dc2:636: no route" || h.GetLastErrorUnixMs() != now.Add(-time.Hour).UnixMilli() {
		t.Errorf("last error %q", h.GetLastError())
	}
	s.DNS = &DNS{Domain: "corp.example", LastError: "no such host", LastErrorAt: now.Add(-time.Minute)}
	if h := healthOf(s); h.GetLastError() != "DNS of corp.example: no such host" {
		t.Errorf("last error %q", h.GetLastError())
	}
	s.Recent[1].At = now
	if h := healthOf(s); h.GetLastError() != "80002 directory-timeout" {
		t.Errorf("last error %q", h.GetLastError())
	}
	for _, code := range []wire.Code{wire.LockoutSpared, wire.AccountProtected, wire.NameAmbiguous, wire.AccountLockedOut} { // about a person
		s.Recent[0] = Finished{At: now.Add(time.Second), Outcome: Trouble, Reason: "of somebody", Code: code}
		if h := healthOf(s); h.GetLastError() != "80002 directory-timeout" {
			t.Errorf("last error %q", h.GetLastError())
		}
	}
	for i := range 2 * maxServersTold {
		s.Servers = append(s.Servers, Server{Address: fmt.Sprint(i)})
	}
	if h := healthOf(s); len(h.GetServers()) != maxServersTold {
		t.Errorf("%d domain controllers", len(h.GetServers()))
	}
	if h := healthOf(Status{}); h.GetLastError() != "" || h.GetLastErrorUnixMs() != 0 {
		t.Errorf("%v", h)
	}
	s.Guard = &Guard{State: ldap.GuardPartial, Reader: "reader@corp.example", Reserve: 1, Domain: &LockoutPolicy{Source: "the domain", Threshold: 10, WindowMS: 600_000},
		Strictest: &LockoutPolicy{Source: "strict", Threshold: 3}, Objects: 2, Missing: slices.Repeat([]string{"a thing"}, 2*maxMissingTold), Spared: 5, Protected: 6}
	g := healthOf(s).GetGuard()
	if g.GetState() != "partial" || !g.GetKnown() || g.GetThreshold() != 10 || g.GetWindowMs() != 600_000 || g.GetStrictestThreshold() != 3 || g.GetStrictest() != "strict" ||
		g.GetObjects() != 2 || len(g.GetMissing()) != maxMissingTold || strings.Contains(g.String(), "reader@") {
		t.Errorf("%v", g)
	}
	if g.GetReserve() != 1 {
		t.Errorf("a reserve of %d", g.GetReserve())
	}
	s.Guard.LastErrorAt = now.Add(time.Hour)
	if h := healthOf(s); h.GetLastError() != "80002 directory-timeout" {
		t.Errorf("the time of no error: %q", h.GetLastError())
	}
	s.Guard.LastError = "the reader is refused"
	if h := healthOf(s); h.GetLastError() != "the reader is refused" {
		t.Errorf("last error %q", h.GetLastError())
	}
	strictest := s.Guard.Strictest
	s.Guard.Strictest = nil
	if g := healthOf(s).GetGuard(); g.GetKnown() {
		t.Errorf("without the strictest policy: %v", g)
	}
	s.Guard.Strictest = strictest
	// Whoever has a gateway does not learn from the counts whose names they were.
	before := g.String()
	s.Guard.Spared, s.Guard.Protected = 50, 60
	if after := healthOf(s).GetGuard().String(); after != before {
		t.Errorf("told %s, and with other counts %s", before, after)
	}
	s.Guard.Domain = nil
	if g := healthOf(s).GetGuard(); g.GetKnown() || g.GetStrictestThreshold() != 0 {
		t.Errorf("what was not read: %v", g)
	}
}
