package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestJudge(t *testing.T) {
	now := time.Now()
	dc := func(state string, us int64) ServerReport {
		return ServerReport{Address: "dc1:636", State: state, MedianUS: us}
	}
	well := Facts{State: Active, Reported: now.Add(-time.Minute), Report: Report{Servers: []ServerReport{dc("serving", 2000)}}}
	for name, c := range map[string]struct {
		change func(*Facts)
		want   Condition
		reason string
	}{
		"well":                        {func(*Facts) {}, Well, ""},
		"an agent that tells nothing": {func(f *Facts) { f.Report = Report{} }, Well, ""},
		"never attached":              {func(f *Facts) { f.Reported = time.Time{} }, Inactive, "never attached"},
		"away for a moment":           {func(f *Facts) { f.Gone = now.Add(-goneAfter + 1) }, Well, ""},
		"away":                        {func(f *Facts) { f.Gone = now.Add(-goneAfter) }, Inactive, "its stream ended"},
		"heard of in time":            {func(f *Facts) { f.Reported = now.Add(-silentAfter + 1) }, Well, ""},
		"silent":                      {func(f *Facts) { f.Reported = now.Add(-silentAfter) }, Inactive, "nothing was heard"},
		"draining":                    {func(f *Facts) { f.State, f.Report.InFlight = Drained, 2 }, Draining, "2 checks"},
		"drained":                     {func(f *Facts) { f.State = Drained }, DoneDraining, ""},
		"drained and away":            {func(f *Facts) { f.State, f.Gone = Drained, now.Add(-time.Hour) }, Inactive, "its stream ended"},
		"drained and ill":             {func(f *Facts) { f.State, f.Skew = Drained, time.Minute }, DoneDraining, ""},
		"quarantined, and away":       {func(f *Facts) { f.State, f.Gone = Quarantined, now.Add(-time.Hour) }, "quarantined", ""},
		"revoked":                     {func(f *Facts) { f.State = Revoked }, "revoked", ""},
		"a state of its own":          {func(f *Facts) { f.State = "pending" }, "pending", ""},
		"no domain controller":        {func(f *Facts) { f.Report.Servers = []ServerReport{dc("down", 1)} }, Degraded, "no domain controller answers: dc1:636"},
		"one of two is down":          {func(f *Facts) { f.Report.Servers = append(f.Report.Servers, dc("down", 1)) }, Degraded, "controllers down: dc1:636"},
		"not asked yet":               {func(f *Facts) { f.Report.Servers = []ServerReport{dc("untried", 0)} }, Well, ""},
		"slow":                        {func(f *Facts) { f.Report.Servers[0].MedianUS = slowServer.Microseconds() }, Degraded, "takes 1s"},
		"slow, but down":              {func(f *Facts) { f.Report.Servers = []ServerReport{dc("down", 9e6), dc("serving", 1)} }, Degraded, "down"},
		"nearly slow":                 {func(f *Facts) { f.Report.Servers[0].MedianUS = slowServer.Microseconds() - 1 }, Well, ""},
		"clock ahead":                 {func(f *Facts) { f.Skew = skewed }, Degraded, "clock is off by 10s"},
		"clock behind":                {func(f *Facts) { f.Skew = -skewed }, Degraded, "clock is off by -10s"},
		"clock nearly right":          {func(f *Facts) { f.Skew = skewed - 1 }, Well, ""},
		"one probe failed":            {func(f *Facts) { f.Probe = Probe{Code: wire.DirectoryTimeout, Failures: probesFailed - 1} }, Well, ""},
		"probes fail":                 {func(f *Facts) { f.Probe = Probe{Code: wire.DirectoryTimeout, Failures: probesFailed} }, Degraded, "probes fail: 80002"},
		"all at once": {func(f *Facts) { f.Skew, f.Report.Servers = time.Minute, []ServerReport{dc("down", 1)} }, Degraded,
			"no domain controller answers: dc1:636; its clock"},
	} {
		f := well
		f.Report.Servers = []ServerReport{well.Report.Servers[0]}
		c.change(&f)
		got, reason := Judge(f, now)
		if got != c.want || !strings.Contains(reason, c.reason) || (reason == "") != (c.reason == "") {
			t.Errorf("%s: %s (%s), want %s (%s)", name, got, reason, c.want, c.reason)
		}
	}
}

// The domain controller that is used first is the first that is not down.
func TestLatency(t *testing.T) {
	down, quick, slow := ServerReport{State: "down", MedianUS: 9e6}, ServerReport{State: "serving", MedianUS: 1000}, ServerReport{State: "serving", MedianUS: 5000}
	for _, c := range []struct {
		servers []ServerReport
		want    time.Duration
		serves  bool
	}{{nil, 0, true}, {[]ServerReport{down}, 0, false}, {[]ServerReport{down, quick, slow}, time.Millisecond, true}, {[]ServerReport{slow, quick}, 5 * time.Millisecond, true}} {
		r := Report{Servers: c.servers}
		if r.Latency() != c.want || r.Serves() != c.serves {
			t.Errorf("%+v: %v, %v", c.servers, r.Latency(), r.Serves())
		}
	}
}

func TestWhatIsToldOfConditions(t *testing.T) {
	for _, c := range []struct {
		before, after Condition
		want          bool
	}{
		{"", Well, false}, {"", Degraded, false}, {Well, Well, false}, {Well, Degraded, true}, {Degraded, Well, true}, {Well, Inactive, true},
		{Inactive, Well, true}, {Inactive, Degraded, true}, {Well, DoneDraining, false}, {DoneDraining, Well, false}, {Draining, DoneDraining, false},
		{Degraded, DoneDraining, false}, {Inactive, "quarantined", false},
	} {
		if got := told(c.before, c.after); got != c.want {
			t.Errorf("%q to %q: %v", c.before, c.after, got)
		}
	}
}
