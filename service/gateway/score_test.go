package gateway

import (
	"slices"
	"testing"
	"time"
)

func TestCosts(t *testing.T) {
	now := time.Now()
	ms := time.Millisecond
	measured := func(times ...time.Duration) (all []load) {
		for _, d := range times {
			all = append(all, load{measured: d})
		}
		return all
	}
	for name, c := range map[string]struct {
		all  []load
		want []time.Duration
	}{
		"nobody":                       {nil, []time.Duration{}},
		"nothing known":                {measured(0, 0), []time.Duration{ms, ms}},
		"as measured":                  {measured(10*ms, 12*ms, 90*ms), []time.Duration{10 * ms, 12 * ms, 90 * ms}},
		"an unknown one is ordinary":   {measured(0, 20*ms, 20*ms), []time.Duration{20 * ms, 20 * ms, 20 * ms}},
		"too good to be true":          {measured(1, 20*ms, 20*ms), []time.Duration{10 * ms, 20 * ms, 20 * ms}},
		"below the network's own":      {measured(1, 2, 3), []time.Duration{ms, ms, ms}},
		"so slow, and still tried":     {measured(10*ms, 10*ms, time.Minute), []time.Duration{10 * ms, 10 * ms, 320 * ms}},
		"by its own word at first":     {[]load{{told: 30 * ms}, {told: 9 * ms, measured: 60 * ms}}, []time.Duration{30 * ms, 60 * ms}},
		"one that answers no more":     {[]load{{measured: 10 * ms, used: 1, stalled: now.Add(-50 * ms)}, {measured: 10 * ms}, {measured: 10 * ms}}, []time.Duration{50 * ms, 10 * ms, 10 * ms}},
		"what is idle does not stall":  {[]load{{measured: 10 * ms, stalled: now.Add(-time.Hour)}}, []time.Duration{10 * ms}},
		"what has just begun does not": {[]load{{measured: 10 * ms, used: 3, stalled: now}}, []time.Duration{10 * ms}},
	} {
		if got := costs(c.all, now); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestScore(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		l          load
		cost, room time.Duration
		want       time.Duration
	}{
		"its own clock":              {load{clock: 70 * ms}, 10 * ms, 70 * ms, 70 * ms},
		"a new one saves up nothing": {load{}, 10 * ms, 70 * ms, 60 * ms},
		"what is in flight counts":   {load{clock: 70 * ms, used: 3}, 10 * ms, 70 * ms, 100 * ms},
	} {
		if got := score(c.l, c.cost, c.room); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHopeless(t *testing.T) {
	for _, c := range []struct {
		ahead, slots int
		cost, left   time.Duration
		want         bool
	}{{0, 1, time.Hour, 0, false}, {9, 10, time.Hour, 0, false}, {10, 10, time.Second, time.Second, false}, {20, 10, time.Second, time.Second, true},
		{100, 10, 0, 0, false}, {5, 0, time.Second, 0, false}} {
		if got := hopeless(c.ahead, c.slots, c.cost, c.left); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// shares plays checks one after the other, as a tenant with few sign-ins has them, and returns how many each agent got.
func shares(n int, times ...time.Duration) []int {
	r := &room{}
	got := make([]int, len(times))
	for i := range times {
		r.enter(&attached{id: string(rune('a' + i)), slots: 8, room: r})
	}
	for range n {
		c := choose(r.agents, nil, r.clock, time.Now())
		r.take(c, time.Now())
		i := slices.Index(r.agents, c.best)
		r.took(c.best, times[i])
		r.free(c.best)
		got[i]++
	}
	return got
}

// TestSharesOfFewChecks: equal agents get equal parts, slow ones less in proportion, and one that is too fast to be true not everything.
func TestSharesOfFewChecks(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		times []time.Duration
		want  []float64
	}{
		"three equal ones":    {[]time.Duration{5 * ms, 5 * ms, 5 * ms}, []float64{1. / 3, 1. / 3, 1. / 3}},
		"one ten times slow":  {[]time.Duration{5 * ms, 5 * ms, 50 * ms}, []float64{10. / 21, 10. / 21, 1. / 21}},
		"one twice as slow":   {[]time.Duration{5 * ms, 5 * ms, 10 * ms}, []float64{.4, .4, .2}},
		"one that is stolen":  {[]time.Duration{1, 20 * ms, 20 * ms}, []float64{.5, .25, .25}},
		"one that hangs":      {[]time.Duration{5 * ms, 5 * ms, time.Minute}, []float64{32. / 65, 32. / 65, 1. / 65}},
		"the network is fast": {[]time.Duration{ms / 9, ms / 2, ms / 3}, []float64{1. / 3, 1. / 3, 1. / 3}},
	} {
		const n = 3000
		for i, got := range shares(n, c.times...) {
			if share := float64(got) / n; share < c.want[i]*.9-.002 || share > c.want[i]*1.1+.002 {
				t.Errorf("%s: agent %d got %.3f, want %.3f", name, i, share, c.want[i])
			}
		}
	}
}

// TestAilingAgentsComeLast: one that could only fail is asked when nobody else is there.
func TestAilingAgentsComeLast(t *testing.T) {
	r := &room{}
	ill, well := &attached{id: "ill", slots: 1, room: r}, &attached{id: "well", slots: 1, room: r}
	r.enter(ill)
	r.hear(ill, 0, true)
	if got := choose(r.agents, nil, 0, time.Now()).best; got != ill {
		t.Errorf("alone: %v", got)
	}
	r.enter(well)
	well.used = 1
	if c := choose(r.agents, nil, 0, time.Now()); c.best != nil || c.candidates != 1 {
		t.Errorf("beside a busy one: %v", c.best)
	}
	if got := choose(r.agents, []string{"well"}, 0, time.Now()).best; got != ill {
		t.Errorf("the other ruled out: %v", got)
	}
	r.hear(ill, 0, false)
	if got := choose(r.agents, nil, 0, time.Now()).best; got != ill {
		t.Errorf("recovered: %v", got)
	}
}
