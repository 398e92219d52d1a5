package agent

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiterPerName(t *testing.T) {
	l := newLimiter(Limits{NamePerMinute: 6, NameBurst: 2, PerSecond: -1}, 100)
	for _, step := range []struct {
		what string
		name string
		now  time.Duration
		want admission
	}{
		{"first", "anna@corp.example", 0, admitted},
		{"second", "anna@corp.example", 0, admitted},
		{"third is too much", "anna@corp.example", 0, nameLimit},
		{"another spelling is the same name", " ANNA@Corp.Example ", 0, nameLimit},
		{"accents do not make another name", "ánna@corp.example", 0, nameLimit},
		{"nor does width", "ａｎｎａ@corp.example", 0, nameLimit},
		{"somebody else is free", "bert@corp.example", 0, admitted},
		{"a token every ten seconds", "anna@corp.example", 10 * time.Second, admitted},
		{"and no more", "anna@corp.example", 10 * time.Second, nameLimit},
	} {
		if got := l.admit(step.name, noon.Add(step.now)); got != step.want {
			t.Errorf("%s: got %d, want %d", step.what, got, step.want)
		}
	}
}

func TestLimiterOverall(t *testing.T) {
	l := newLimiter(Limits{PerSecond: 2, Burst: 3}, 100)
	for i := range 3 {
		if got := l.admit(fmt.Sprint("user", i), noon); got != admitted {
			t.Fatalf("check %d: %d", i, got)
		}
	}
	if got := l.admit("user9", noon); got != totalLimit {
		t.Fatalf("over the burst: %d", got)
	}
	if got := l.admit("user9", noon.Add(500*time.Millisecond)); got != admitted {
		t.Fatalf("half a second later: %d", got)
	}
}

// A guesser at one name is stopped by the name's limit and leaves the others their share.
func TestOneNameDoesNotUseUpTheWhole(t *testing.T) {
	l := newLimiter(Limits{NamePerMinute: 1, NameBurst: 1, PerSecond: 1, Burst: 2}, 100)
	for range 50 {
		l.admit("victim", noon)
	}
	if got := l.admit("other", noon); got != admitted {
		t.Fatalf("got %d", got)
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(Limits{NamePerMinute: 60, NameBurst: 1, PerSecond: -1}, 3)
	for i := range 3 {
		if got := l.admit(fmt.Sprint(i), noon); got != admitted {
			t.Fatalf("name %d: %d", i, got)
		}
	}
	if got := l.admit("3", noon); got != namesLimit {
		t.Fatalf("a fourth name while three are limited: %d", got)
	}
	if got := l.admit("0", noon); got != nameLimit {
		t.Fatalf("a limited name was forgotten: %d", got)
	}
	for i := range 1000 {
		now := noon.Add(time.Duration(i+1) * 2 * time.Second)
		if got := l.admit(fmt.Sprint("later", i), now); got != admitted {
			t.Fatalf("name %d: %d", i, got)
		}
		if len(l.names) > 3 || l.order.Len() != len(l.names) {
			t.Fatalf("%d names watched", len(l.names))
		}
	}
}

// Who was asked about again is not the least recently used, and whoever is idle makes room, even if nobody is left then.
func TestLimiterForgetsWhoIsIdle(t *testing.T) {
	l := newLimiter(Limits{NamePerMinute: 60, NameBurst: 1, PerSecond: -1}, 2)
	for i, c := range []struct {
		name string
		at   time.Duration
		want admission
	}{{"a", 0, admitted}, {"b", 0, admitted}, {"a", time.Minute, admitted}, {"c", time.Minute, admitted}, {"a", time.Minute, nameLimit}, {"b", time.Minute, namesLimit}} {
		if got := l.admit(c.name, noon.Add(c.at)); got != c.want {
			t.Errorf("%d, %s: %d, want %d", i, c.name, got, c.want)
		}
	}
	one := newLimiter(Limits{NamePerMinute: 60, NameBurst: 1, PerSecond: -1}, 1)
	if a, b := one.admit("a", noon), one.admit("b", noon.Add(time.Minute)); a != admitted || b != admitted || len(one.names) != 1 {
		t.Errorf("%d, %d, %d names", a, b, len(one.names))
	}
}

func TestLimitsZeroAndNegative(t *testing.T) {
	got := Limits{}.withDefaults()
	want := Limits{NamePerMinute: defaultNamePerMinute, NameBurst: defaultNameBurst, PerSecond: defaultPerSecond, Burst: defaultBurst}
	if got != want {
		t.Errorf("defaults: %+v", got)
	}
	l := newLimiter(Limits{NamePerMinute: -1, PerSecond: -1}, 1)
	for range 10_000 {
		if got := l.admit("x", noon); got != admitted {
			t.Fatalf("no limits, and yet %d", got)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := newLimiter(Limits{NamePerMinute: 1 << 30, PerSecond: 1 << 30}, 1000)
	for b.Loop() {
		l.admit("anna.andersson@corp.example", time.Now())
	}
}
