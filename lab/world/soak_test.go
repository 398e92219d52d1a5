package world

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

const (
	// soakFor is how long the soak lasts unless SALLYPORT_SOAK says otherwise ("10m").
	soakFor = 30 * time.Second
	// soakWarm comes before the first look at memory: pools, caches and prepared statements fill.
	soakWarm = 8 * time.Second
	// mishap is after how many sign-ins, in the mean, something is killed.
	mishap = 100
)

// mishaps are what is killed at random.
var mishaps = []string{"an agent", "a gateway's streams", "the directory's connections"}

// TestSoak lets people sign in while, once in a hundred sign-ins, an agent is killed, the streams of one are cut, or the directory's
// connections are. Nobody is lost but those who are honestly told that nothing is known, no password is bound more often than it may be, and
// when all is quiet again each process has the goroutines and the memory of before.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("a soak takes its time")
	}
	length := soakFor
	if s := os.Getenv("SALLYPORT_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	count := int((length + 10*time.Second).Seconds()) * perSecond
	w := split(t, 4, append(crowd("w", int(soakWarm.Seconds()+5)*perSecond), crowd("s", count)...))
	w.Directory.Delay(slowBind)
	// The first agent lives through all of it, so that what it gathers shows.
	processes := append(append(append([]*Node{}, w.Signins...), w.Gateways...), w.Agents[0])

	warm := begin(t, w, "w", int(soakWarm.Seconds()+5)*perSecond, perSecond)
	awaitFor(t, "the warming up", soakWarm+time.Minute, after(soakWarm))
	warm.end()
	before := settled(t, w, processes, nil)

	l := begin(t, w, "s", count, perSecond)
	done := map[string]int{}
	over := after(length)
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for !over() {
		<-tick.C
		if rand.N(mishap) != 0 {
			continue
		}
		what := mishaps[rand.N(len(mishaps))]
		done[what]++
		switch n := w.Agents[1+rand.N(len(w.Agents)-1)]; what {
		case mishaps[0]:
			n.Kill()
			noError(t, n.Start(t.Context()))
		case mishaps[1]:
			w.Agents[rand.N(len(w.Agents))].Line.Cut()
		default:
			w.Directory.Disconnect()
		}
		noError(t, w.AwaitAgents(t.Context(), len(w.Agents))) // or all would be away at once, which is another story
	}
	guests := l.end()
	told := map[string]int{}
	twice := 0
	for _, g := range guests {
		for _, end := range g.ends {
			code, _, page := strings.Cut(end, " ")
			if !page || len(code) != 5 {
				code = end
			}
			told[code]++
			if honest := slices.Contains([]string{wire.LostAfterFence.String(), wire.DirectoryTimeout.String(), wire.DirectoryUnreachable.String(), wire.IdentityUnproven.String()}, code); !honest {
				t.Errorf("%s was told %s", g.name, end)
			}
		}
		if !g.judged() {
			t.Errorf("%s was never told: %q", g.name, g.ends)
		}
		binds := w.Directory.Binds(g.name)
		if binds > g.posts {
			twice++
		}
		if binds < 1 || binds > 2*g.posts {
			t.Errorf("%s: %d binds for a password that was sent %d times", g.name, binds, g.posts)
		}
		if bad := w.Directory.BadPwdCount(g.name); !g.wrong && bad != 0 || g.wrong && bad != binds {
			t.Errorf("%s: %d binds, a badPwdCount of %d", g.name, binds, bad)
		}
	}
	if len(guests) == count {
		t.Error("the load ended before the soak did")
	}
	after := settled(t, w, processes, before)
	t.Logf("%d people in %s; killed: %v; told that it is not known, and began again: %v; bound once more than typed: %d", len(guests), length, done, told, twice)
	// In the form of a benchmark, for the page of figures.
	fmt.Printf("BenchmarkSoak/people-%d 1 %d sign-ins %d killed %d unknown %d bound-twice\n", runtime.GOMAXPROCS(0), len(guests), done[mishaps[0]]+done[mishaps[1]]+done[mishaps[2]],
		sum(told), twice)
	for _, n := range processes {
		fmt.Printf("BenchmarkSoak/%s-%d 1 %d goroutines-before %d goroutines-after %.1f MB-before %.1f MB-after\n", n.Name, runtime.GOMAXPROCS(0), before[n.Name].goroutines,
			after[n.Name].goroutines, before[n.Name].memory/1e6, after[n.Name].memory/1e6)
	}
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// after returns a condition that holds from d on.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// size is what a process holds when nothing happens.
type size struct {
	goroutines int
	memory     float64 // bytes of heap at which it collects next
}

// The room that a process has over what it held before: connections to others are kept for a while, and the counts of metrics grow with what
// they have met.
const (
	moreGoroutines = 25
	moreMemory     = 12e6
)

// settled waits until processes are as small as before, and returns what they hold; without a before it takes the second of two equal
// looks.
func settled(t *testing.T, w *World, of []*Node, before map[string]size) map[string]size {
	t.Helper()
	now := map[string]size{}
	last := ""
	holds := func() bool {
		small, text := true, ""
		for _, n := range of {
			s := sizeOf(t, n)
			now[n.Name] = s
			b, known := before[n.Name]
			small = small && (!known || s.goroutines <= b.goroutines+moreGoroutines && s.memory <= b.memory+moreMemory)
			text += fmt.Sprintf("%s %d ", n.Name, s.goroutines)
		}
		if before == nil {
			same := text == last
			last = text
			return same
		}
		return small
	}
	deadline := after(3 * time.Minute) // the longest that an idle connection is kept
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for !holds() {
		<-tick.C
		if deadline() {
			t.Errorf("with nobody signing in the processes hold %+v; before it were %+v", now, before)
			break
		}
	}
	return now
}

var gauge = regexp.MustCompile(`(?m)^(go_goroutines|go_memstats_next_gc_bytes) (\S+)$`)

// sizeOf asks a process's metrics. The size at which the next collection begins is a multiple of what the last one left, so garbage is not in it.
func sizeOf(t *testing.T, n *Node) size {
	t.Helper()
	status, body, err := n.probe(t.Context(), "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %v", n.Name, status, err)
	}
	values := map[string]float64{}
	for _, m := range gauge.FindAllStringSubmatch(body, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		noError(t, err)
		values[m[1]] = v
	}
	if len(values) != 2 {
		t.Fatalf("%s shows %v", n.Name, values)
	}
	return size{int(values["go_goroutines"]), values["go_memstats_next_gc_bytes"]}
}
