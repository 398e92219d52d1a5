package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLatency(t *testing.T) {
	upTo := func(n int) (all []float64) {
		for i := range n {
			all = append(all, float64(n-i))
		}
		return all
	}
	for _, c := range []struct {
		times []float64
		want  *Latency
	}{
		{nil, nil},
		{upTo(1), &Latency{1, 1, 1}},
		{upTo(2), &Latency{2, 1, 2}},
		{upTo(3), &Latency{3, 2, 3}},
		{upTo(20), &Latency{20, 10, 19}},
		{upTo(100), &Latency{100, 50, 95}},
		{upTo(200), &Latency{200, 100, 190}},
	} {
		if got := latencyOf(c.times); !cmp.Equal(got, c.want) {
			t.Errorf("%d times: %+v", len(c.times), got)
		}
	}
}

// The newest are kept, and those without an answer of the directory say nothing about its speed.
func TestLedgerForgetsTheOldest(t *testing.T) {
	var l ledger
	for i := range maxRecent + 5 {
		l.add(Finished{TookMS: float64(i), DC: "dc1"})
	}
	got := l.newest()
	if len(got) != maxRecent || got[0].TookMS != maxRecent+4 || got[maxRecent-1].TookMS != 5 {
		t.Errorf("%+v", got)
	}
	if l.latency("dc1") != nil {
		t.Error("a latency without an answer")
	}
	for i := range maxBindTimes + 100 {
		l.add(Finished{DC: "dc1", BindMS: float64(i + 1)})
	}
	if got := l.latency("dc1"); got.Answers != maxBindTimes || got.MedianMS != 200 || got.P95MS != 290 {
		t.Errorf("%+v", got)
	}
	if l.latency("dc2") != nil {
		t.Error("a latency of nobody")
	}
}
