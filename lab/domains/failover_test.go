package domains

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	// perSecond is how many people begin to sign in each second.
	perSecond = 30
	// regulars sign in again and again with the right password; mistypers once each with a wrong one, every fifth of those who come, so
	// that what the domain controllers count for an account is what became of one password.
	regulars, mistypers, mistypes = 40, 320, 5
	// before and after are how many people are told what their password is before a fault, and after it began.
	before, after = 30, 120
	// lost is how many packets of a hundred a lossy line loses, each way.
	lost = 10
)

// guest is one sign-in.
type guest struct {
	person people.Person
	wrong  bool
	began  time.Time
	took   time.Duration
	saw    visitor.Outcome
	err    error
}

// judged reports whether the page said what is right for what was typed.
func (g *guest) judged() bool {
	if g.wrong {
		return g.saw.Code == int(wire.InvalidPassword)
	}
	return g.saw.SignedIn == g.person.UPN
}

// untold reports whether the page said that nobody judged, or that nobody knows.
func (g *guest) untold() bool {
	return slices.Contains([]wire.Code{wire.DirectoryTimeout, wire.DirectoryUnreachable, wire.LostAfterFence, wire.IdentityUnproven, wire.TransientNetwork,
		wire.AgentsBusy, wire.AgentTooSlow, wire.Overloaded}, wire.Code(g.saw.Code))
}

// load lets people in at a steady rate until it ends.
type load struct {
	w      *world.World
	judged atomic.Int64
	last   atomic.Pointer[guest] // of those who were judged
	stop   context.CancelFunc
	done   chan struct{}
	guests []*guest // those who came; read when done
}

// crowds hands out people: the next to come, and whether they mistype.
type crowds struct {
	right, wrong         []people.Person
	came, rights, wrongs int
}

func (c *crowds) next() (p people.Person, wrong bool) {
	if c.came++; c.came%mistypes == 0 && c.wrongs < len(c.wrong) {
		c.wrongs++
		return c.wrong[c.wrongs-1], true
	}
	c.rights++
	return c.right[c.rights%len(c.right)], false
}

func begin(t *testing.T, w *world.World, c *crowds) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{w: w, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var visits sync.WaitGroup
		defer visits.Wait()
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p, wrong := c.next()
			g := &guest{person: p, wrong: wrong}
			l.guests = append(l.guests, g)
			visits.Go(func() { l.visit(t.Context(), g) })
		}
	}()
	return l
}

func (l *load) visit(ctx context.Context, g *guest) {
	typed := people.RightPassword
	if g.wrong {
		typed = people.WrongPassword
	}
	g.began = time.Now()
	g.saw, g.err = l.w.SignIn(ctx, g.person.UPN, typed)
	g.took = time.Since(g.began)
	if g.judged() {
		l.last.Store(g)
		l.judged.Add(1)
	}
}

// await waits until so many more people know what their password is.
func (l *load) await(t *testing.T, more int64) {
	t.Helper()
	wanted := l.judged.Load() + more
	noError(t, world.Await(t.Context(), fmt.Sprintf("%d more are told what their password is", more), func() bool { return l.judged.Load() >= wanted }))
}

// end lets nobody in any more, waits for those who are at it, and returns all who came.
func (l *load) end() []*guest {
	l.stop()
	<-l.done
	return l.guests
}

// fault is what happens to a domain controller, and how it ends.
type fault struct {
	name     string
	do, undo func(*samba.DC) error
}

// TestFailOver freezes, kills and cuts off the domain controller that serves, one after the other, while 30 people a second sign in; once with an agent
// that is given both, and once with one that finds them in DNS, where each of the two is a name server, as they are in most networks. The other
// one takes over, and what was broken serves again. Nobody is told anything wrong about their password, nobody's
// wrong password is counted twice, both domain controllers taken together, and everybody has a page: one that says so where nobody knows.
// How long that took and how many those were is printed for docs/benchmarks.md.
func TestFailOver(t *testing.T) {
	c := &crowds{right: crowd("right", "corp.example.com", regulars), wrong: crowd("wrong", "corp.example.com", mistypers)}
	first, second := sambatest.TwoControllers(t, samba.Options{}, append(slices.Clone(c.right), c.wrong...)...)
	reappear := func(dc *samba.DC) error { return dc.Reappear(t.Context()) }
	frozen := fault{"frozen", (*samba.DC).Pause, (*samba.DC).Resume}
	killed := fault{"killed", func(dc *samba.DC) error { dc.Kill(); return nil }, func(dc *samba.DC) error { return dc.Restart(t.Context()) }}
	silent := fault{"silent", func(dc *samba.DC) error { return dc.Mute(t.Context()) }, reappear}
	cut := fault{"cut", func(dc *samba.DC) error { return dc.Vanish(t.Context()) }, reappear}
	lossy := fault{"lossy", func(dc *samba.DC) error { return dc.Lose(t.Context(), lost) }, reappear}
	inDNS := of(t, first, second)
	inDNS.Addresses, inDNS.NameServers = nil, []string{first.Addr, second.Addr}
	var everybody []*guest
	for _, way := range []struct {
		name      string
		directory world.Directory
		faults    []fault
	}{
		{"given", of(t, first, second), []fault{frozen, silent, cut, lossy, killed}},
		{"in-DNS", inDNS, []fault{frozen, cut, killed}},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := start(t, 1, way.directory)
			for _, f := range way.faults {
				t.Run(f.name, func(t *testing.T) { everybody = append(everybody, underFault(t, w, c, first, second, f)...) })
			}
			awaitBoth(t, w)
		})
	}
	one, two := countsOf(t, first), countsOf(t, second)
	if len(one.wrong) == 0 || len(two.wrong) == 0 {
		t.Errorf("%d wrong passwords are counted at one domain controller and %d at the other: nothing failed over", len(one.wrong), len(two.wrong))
	}
	typed, told := map[string]int{}, map[string]int{}
	for _, g := range everybody {
		if g.err != nil || !g.judged() && !g.untold() {
			t.Errorf("%s (wrong: %t) saw %+v, %v", g.person.SAM, g.wrong, g.saw, g.err)
		}
		if g.saw.Posted {
			typed[g.person.UPN]++
		}
		if g.judged() {
			told[g.person.UPN]++
		}
	}
	for _, p := range append(c.right, c.wrong...) {
		typed, told := typed[p.UPN], told[p.UPN]
		if asked := one.asked[p.UPN] + two.asked[p.UPN]; asked > typed || asked < told {
			t.Errorf("%s typed %d passwords and was told of %d; the domain controllers were asked about %d and %d", p.SAM, typed, told, one.asked[p.UPN], two.asked[p.UPN])
		}
		if strings.HasPrefix(p.SAM, "right") {
			typed, told = 0, 0
		}
		if counted := one.wrong[p.SAM] + two.wrong[p.SAM]; counted > typed || counted < told {
			t.Errorf("%s typed %d wrong passwords and was told of %d; counted are %d and %d", p.SAM, typed, told, one.wrong[p.SAM], two.wrong[p.SAM])
		}
	}
}

// underFault lets people in while the domain controller that serves breaks and is mended, and returns them when all have gone.
func underFault(t *testing.T, w *world.World, c *crowds, first, second *samba.DC, f fault) []*guest {
	awaitBoth(t, w)
	l := begin(t, w, c)
	l.await(t, before)
	victim := first
	if dc := serving(t, l); dc == at(second) || dc == second.Host+":636" {
		victim = second
	}
	t.Logf("%s serves", victim.Host)
	broke := time.Now()
	noError(t, f.do(victim))
	l.await(t, after)
	noError(t, f.undo(victim))
	guests := l.end()
	report(t, strings.TrimPrefix(t.Name(), "TestFailOver/"), guests, broke)
	return guests
}

var serves = regexp.MustCompile(`(?m)^sallyport_agent_domain_controller_serving\{.*\} 1$`)

// awaitBoth waits until both domain controllers serve, as the agent sees it.
func awaitBoth(t *testing.T, w *world.World) {
	t.Helper()
	noError(t, world.Await(t.Context(), "both domain controllers serve", func() bool {
		metrics, err := w.Agents[0].Metrics(t.Context())
		return err == nil && len(serves.FindAllString(metrics, -1)) == 2
	}))
}

// counts is what one domain controller knows: how often it was asked about a name, and how many of the last passwords of an account were wrong.
type counts struct{ asked, wrong map[string]int }

func countsOf(t *testing.T, dc *samba.DC) (c counts) {
	t.Helper()
	var err error
	c.wrong, err = dc.BadPwdCounts(t.Context())
	noError(t, err)
	c.asked, err = dc.Attempts()
	noError(t, err)
	return c
}

// serving is the domain controller that judged last, as the sign-in log has it.
func serving(t *testing.T, l *load) string {
	t.Helper()
	var dc string
	noError(t, world.Await(t.Context(), "the record of who was judged last", func() bool {
		records, err := l.w.Records(t.Context(), l.last.Load().person.UPN)
		noError(t, err)
		if len(records) > 0 {
			dc = records[0].DC
		}
		return dc != ""
	}))
	return dc
}

// report prints how people fared who were not told yet when a fault began, or came after it, in the form of a benchmark.
func report(t *testing.T, name string, guests []*guest, fault time.Time) {
	t.Helper()
	var took []time.Duration
	untold, slow := 0, 0
	gap, last := time.Duration(0), fault
	ends := []time.Time{}
	for _, g := range guests {
		if g.began.Add(g.took).Before(fault) {
			continue
		}
		took = append(took, g.took)
		if g.took > time.Second {
			slow++
		}
		if g.judged() {
			ends = append(ends, g.began.Add(g.took))
		} else {
			untold++
		}
	}
	if len(took) == 0 {
		t.Fatal("nobody came")
	}
	slices.Sort(took)
	slices.SortFunc(ends, time.Time.Compare)
	for _, end := range ends {
		gap, last = max(gap, end.Sub(last)), end
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	fmt.Printf("BenchmarkFailOver/%s-%d 1 %d sign-ins %d untold %d over-1s %.0f p50-ms %.0f p99-ms %.0f longest-ms %.0f gap-ms\n", name, runtime.GOMAXPROCS(0), len(took), untold, slow,
		ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]), ms(gap))
}
