package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestChoose(t *testing.T) {
	agent := func(id string, used, slots int, picked uint64, away bool) *attached {
		return &attached{id: id, load: load{used: used}, slots: slots, picked: picked, away: away}
	}
	for name, c := range map[string]struct {
		agents     []*attached
		exclude    []string
		best       string
		candidates int
	}{
		"nobody":                       {nil, nil, "", 0},
		"the only one":                 {[]*attached{agent("a", 0, 1, 0, false)}, nil, "a", 1},
		"excluded":                     {[]*attached{agent("a", 0, 1, 0, false)}, []string{"a"}, "", 0},
		"away":                         {[]*attached{agent("a", 0, 1, 0, true)}, nil, "", 0},
		"busy":                         {[]*attached{agent("a", 1, 1, 0, false)}, nil, "", 1},
		"least in flight":              {[]*attached{agent("a", 2, 9, 0, false), agent("b", 1, 2, 5, false)}, nil, "b", 2},
		"least recently of equals":     {[]*attached{agent("a", 1, 9, 7, false), agent("b", 1, 9, 3, false)}, nil, "b", 2},
		"the other when one is full":   {[]*attached{agent("a", 1, 1, 0, false), agent("b", 5, 9, 3, false)}, nil, "b", 2},
		"unproven ones are waited for": {[]*attached{{id: "a", slots: 9, held: true}}, nil, "", 1},
		"the proven one":               {[]*attached{{id: "a", slots: 9, held: true}, agent("b", 5, 9, 3, false)}, nil, "b", 2},
		"full ones are waited for":     {[]*attached{agent("a", 1, 1, 0, false), agent("b", 9, 9, 3, false)}, []string{"a"}, "", 1},
		"the one that is not ruled":    {[]*attached{agent("a", 0, 9, 0, false), agent("b", 5, 9, 3, false)}, []string{"a"}, "b", 1},
		"away ones are not waited on":  {[]*attached{agent("a", 1, 1, 0, true), agent("b", 1, 1, 0, true)}, nil, "", 0},
	} {
		got := choose(c.agents, c.exclude, 0, time.Now())
		id := ""
		if got.best != nil {
			id = got.best.id
		}
		if id != c.best || got.candidates != c.candidates {
			t.Errorf("%s: %q of %d, want %q of %d", name, id, got.candidates, c.best, c.candidates)
		}
	}
}

func TestTheLineIsServedInOrderOfAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &room{}
		a := &attached{id: "a", slots: 1, room: r}
		r.enter(a)
		now := time.Now()
		if got, err := r.reserve(t.Context(), nil, now, nil); err != nil || got.agent != a {
			t.Fatal(got, err)
		}
		served := make(chan int, 3)
		for _, i := range []int{2, 1, 3} { // the second to come was asked first
			go func() {
				waited := false
				if _, err := r.reserve(t.Context(), nil, now.Add(time.Duration(i)), func() { waited = true }); err != nil || !waited {
					t.Error(err, waited)
				}
				served <- i
			}()
			synctest.Wait()
		}
		for want := 1; want <= 3; want++ {
			r.free(a)
			if got := <-served; got != want {
				t.Errorf("served %d, want %d", got, want)
			}
		}
		if used, line := r.load(); used != 1 || line != 0 {
			t.Errorf("%d used, %d in line", used, line)
		}
	})
}

func TestOverloadAndDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &room{}
		a := &attached{id: "a", slots: 1, room: r}
		r.enter(a)
		if _, err := r.reserve(t.Context(), nil, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refused := make(chan error, maxLine)
		for range maxLine {
			go func() {
				_, err := r.reserve(ctx, nil, time.Now(), nil)
				refused <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		if _, err := r.reserve(t.Context(), nil, start, nil); !fault.Has(err, wire.Overloaded) || time.Since(start) != 0 {
			t.Errorf("a full line: %v after %s", err, time.Since(start))
		}
		for range maxLine {
			if err := <-refused; !fault.Has(err, wire.AgentsBusy) {
				t.Errorf("at the deadline: %v", err)
			}
		}
		if used, line := r.load(); used != 1 || line != 0 {
			t.Errorf("%d used, %d in line", used, line)
		}
		// The agent has answered nothing for a second: whoever would have to wait for more than one such second is told now, and not then.
		brief, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer stop()
		for range 2 {
			go func() {
				_, err := r.reserve(brief, nil, time.Now(), nil)
				refused <- err
			}()
			synctest.Wait()
		}
		start = time.Now()
		if _, err := r.reserve(brief, nil, start, nil); !fault.Has(err, wire.Overloaded) || time.Since(start) != 0 {
			t.Errorf("a hopeless ask: %v after %s", err, time.Since(start))
		}
		for range 2 {
			<-refused
		}
	})
}

func TestWhoWaitsForAnAgentThatGoesIsTold(t *testing.T) {
	for name, going := range map[string]func(r *room, a *attached){
		"gone":    func(r *room, a *attached) { r.leave(a, true) },
		"leaving": func(r *room, a *attached) { r.leave(a, false) },
		"closed":  func(r *room, a *attached) { r.close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &room{}
			a, b := &attached{id: "a", slots: 1, room: r}, &attached{id: "b", slots: 1, room: r}
			r.enter(a)
			r.enter(b)
			for range 2 {
				if _, err := r.reserve(t.Context(), nil, time.Now(), nil); err != nil {
					t.Fatal(err)
				}
			}
			told := make(chan error, 1)
			go func() {
				_, err := r.reserve(t.Context(), []string{"b"}, time.Now(), nil)
				told <- err
			}()
			synctest.Wait()
			going(r, a)
			if err := <-told; !fault.Has(err, wire.NoAgent) {
				t.Errorf("%s: %v", name, err)
			}
			if r.open() != (name != "closed") {
				t.Errorf("%s: open is %v", name, r.open())
			}
		})
	}
}

func TestAnAgentEndedBeforeItEnteredStaysOutside(t *testing.T) {
	r := &room{}
	a := &attached{id: "a", slots: 1, room: r}
	r.leave(a, true)
	r.enter(a)
	if r.open() {
		t.Error("an ended agent is offered")
	}
}

// Whatever happens: no agent has more checks than slots, and nobody waits while a slot is free that could be used.
func TestSlotsAreNeverOversoldNorWasted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &room{}
		agents := []*attached{{id: "a", slots: 2, room: r}, {id: "b", slots: 1, room: r}}
		for _, a := range agents {
			r.enter(a)
		}
		var held []*attached
		var line []*waiter
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 2).Draw(rt, "step") {
			case 0, 1:
				var exclude []string
				if rapid.Bool().Draw(rt, "picky") {
					exclude = []string{rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "not")}
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel() // a wait ends at once, so that this stays sequential
				if g, err := r.reserve(ctx, exclude, time.Now(), nil); err == nil {
					held = append(held, g.agent)
				} else if rapid.Bool().Draw(rt, "waits") {
					w := &waiter{exclude: exclude, got: make(chan grant, 1)}
					r.line = append(r.line, w)
					line = append(line, w)
				}
			case 2:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(rt, "which")
					r.free(held[i])
					held = append(held[:i], held[i+1:]...)
				}
			}
			for _, w := range line {
				select {
				case g := <-w.got:
					held = append(held, g.agent)
				default:
				}
			}
			count := map[*attached]int{}
			for _, a := range held {
				count[a]++
			}
			for _, a := range agents {
				if a.used != count[a] || a.used > a.slots {
					rt.Fatalf("%s: %d used, %d held, %d slots", a.id, a.used, count[a], a.slots)
				}
			}
			for _, w := range r.line {
				if c := choose(r.agents, w.exclude, r.clock, time.Now()); c.best != nil {
					rt.Fatalf("somebody waits while %s is free", c.best.id)
				}
			}
		}
	})
}
