package agent

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestMemory(t *testing.T) {
	m := newMemory(2)
	for _, step := range []struct {
		what    string
		id      string
		expires time.Duration
		now     time.Duration
		want    sighting
	}{
		{"new", "a", 10 * time.Second, 0, firstSeen},
		{"again", "a", 10 * time.Second, 1 * time.Second, replayed},
		{"again with a later expiry", "a", 90 * time.Second, 2 * time.Second, replayed},
		{"another", "b", 20 * time.Second, 3 * time.Second, firstSeen},
		{"full: a live one is never forgotten", "c", 20 * time.Second, 4 * time.Second, memoryFull},
		{"still known when full", "a", 10 * time.Second, 5 * time.Second, replayed},
		{"at its very expiry it still lives", "a", 10 * time.Second, 10 * time.Second, replayed},
		{"after the first has died there is room", "c", 30 * time.Second, 11 * time.Second, firstSeen},
		{"full again", "d", 30 * time.Second, 12 * time.Second, memoryFull},
		{"the refused one was not remembered", "d", 40 * time.Second, 21 * time.Second, firstSeen},
	} {
		if got := m.see(step.id, noon.Add(step.expires), noon.Add(step.now)); got != step.want {
			t.Fatalf("%s: got %d, want %d", step.what, got, step.want)
		}
	}
	if m.size() != 2 {
		t.Fatalf("%d remembered, want 2", m.size())
	}
}

// One of many goroutines that bring the same id wins, whatever the order.
func TestMemoryConcurrently(t *testing.T) {
	m := newMemory(1000)
	var wins atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				if m.see(fmt.Sprint((i+g*13)%100), noon.Add(time.Minute), noon) == firstSeen {
					wins.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if wins.Load() != 100 {
		t.Fatalf("%d first sightings of 100 ids", wins.Load())
	}
}

// Against a model that forgets nothing: never "first" for a live id, and never more entries than the limit.
func TestMemoryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 5
		m := newMemory(limit)
		alive := map[string]time.Time{}
		now := noon
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "pause")) * time.Second)
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id"))
			expires := now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "life")) * time.Second)
			for k, at := range alive {
				if at.Before(now) {
					delete(alive, k)
				}
			}
			_, known := alive[id]
			want := firstSeen
			switch {
			case known:
				want = replayed
			case len(alive) == limit:
				want = memoryFull
			default:
				alive[id] = expires
			}
			if got := m.see(id, expires, now); got != want {
				t.Fatalf("id %s at %v: got %d, want %d", id, now, got, want)
			}
			if m.size() != len(alive) {
				t.Fatalf("%d remembered, want %d", m.size(), len(alive))
			}
		}
	})
}
