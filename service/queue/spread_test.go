package queue

import (
	"fmt"
	"testing"
	"time"
)

func TestNextGateway(t *testing.T) {
	now := time.Now()
	old := now.Add(-rememberFor)
	for name, c := range map[string]struct {
		known []share
		want  string
	}{
		"nothing known":    {nil, ""},
		"one gateway":      {[]share{{"a", 300, 0, now}}, ""},
		"the heavier":      {[]share{{"a", 100, 0, now}, {"b", 300, 0, now}}, "b"},
		"whose turn it is": {[]share{{"a", 100, .6, now}, {"b", 300, -.6, now}}, "a"},
		"one is forgotten": {[]share{{"a", 100, 0, now}, {"b", 300, 0, old}}, ""},
		"two of three":     {[]share{{"a", 100, 0, now}, {"b", 900, 1, old}, {"c", 200, 0, now}}, "c"},
	} {
		if got := next(c.known, now); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestGatewaysGetTheirShare: each gateway is asked as often as it weighs, also counting those asks that the broker sent anywhere.
func TestGatewaysGetTheirShare(t *testing.T) {
	var w weights
	now := time.Now()
	weigh := map[string]float64{"a": 200, "b": 100, "c": 100}
	w.learn("d", "a", weigh["a"], true, now)
	w.learn("d", "b", weigh["b"], true, now)
	got, byBroker := map[string]int{}, 0
	const n = 4000
	for range n {
		g := w.next("d", now)
		chosen := g == ""
		if chosen { // the broker's turn goes to c, which is found by that
			g = "c"
			byBroker++
		}
		got[g]++
		w.learn("d", g, weigh[g], chosen, now)
	}
	if byBroker != n/lookAround {
		t.Errorf("%d asks went anywhere", byBroker)
	}
	for g, weight := range weigh {
		if want := weight / 400 * n; float64(got[g]) < want*.98 || float64(got[g]) > want*1.02 {
			t.Errorf("%s got %d, want %.0f", g, got[g], want)
		}
	}
}

func TestWeightsAreBounded(t *testing.T) {
	var w weights
	now := time.Now()
	for i := range 2 * maxPlaces {
		w.learn(fmt.Sprint(i), "g", 1, false, now)
	}
	for i := range 10 * maxGateways {
		w.learn("0", fmt.Sprint(i), 1, true, now.Add(time.Duration(i)))
	}
	if len(w.of) > maxPlaces || len(w.of["0"]) != maxGateways {
		t.Errorf("%d places, %d gateways", len(w.of), len(w.of["0"]))
	}
	for i := range 10 * maxGateways {
		w.learn("0", fmt.Sprint(i), 0, false, now)
	}
	if _, there := w.of["0"]; there {
		t.Error("a place without gateways is kept")
	}
}
