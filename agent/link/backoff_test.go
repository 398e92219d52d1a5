package link

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures int
		u        float64
		want     time.Duration
	}{
		{0, 0.9, 0},
		{1, 0, backoffMin},
		{1, 0.5, 500 * time.Millisecond},
		{2, 0.5, time.Second},
		{5, 0.5, 8 * time.Second},
		{6, 0.5, 15 * time.Second},
		{7, 0.5, 15 * time.Second},
		{15, 0.5, 15 * time.Second},
		{1 << 40, 0.5, 15 * time.Second},
	} {
		if got := (Backoff{c.failures}).Delay(c.u); got != c.want {
			t.Errorf("delay after %d failures, u=%v: %s, want %s", c.failures, c.u, got, c.want)
		}
	}
	for _, c := range []struct {
		failures int
		lived    time.Duration
		want     int
	}{
		{0, 0, 1},
		{3, 0, 4},
		{3, forgiveAfter - 1, 4},
		{3, forgiveAfter, 1},
		{0, time.Hour, 1},
	} {
		if got := (Backoff{c.failures}).After(c.lived).Failures; got != c.want {
			t.Errorf("after %d failures and %s: %d, want %d", c.failures, c.lived, got, c.want)
		}
	}
}

func TestBackoffIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Backoff{rapid.IntRange(1, 1<<30).Draw(t, "failures")}.Delay(rapid.Float64Range(0, 0.999999).Draw(t, "u"))
		if d < backoffMin || d > backoffMax {
			t.Fatalf("delay %s out of bounds", d)
		}
	})
}
