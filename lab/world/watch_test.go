package world

import (
	"sync"
	"testing"
	"time"
)

// stop is a place on the path of a check where a fault can happen, as it shows on an agent's line from outside, by the lengths of
// what is encrypted there: a check is over a kilobyte, a fence holds an id, a go an id and a token; all else is shorter.
type stop string

const (
	atCheck  stop = "the check goes down"  // the agent has not got it
	atFence  stop = "the fence goes up"    // the service has not heard of it
	atGo     stop = "the go goes down"     // the service has granted; the agent has not heard of it
	atBind   stop = "the bind has arrived" // the directory has not judged it yet
	atAnswer stop = "the answer goes up"   // the directory has judged
)

const (
	leastCheck  = 1000
	leastFence  = 70
	leastGo     = 90
	leastAnswer = 100
)

// sighting follows the next check on the line of one agent.
type sighting struct {
	mu   sync.Mutex
	next stop
}

// sees takes a chunk and returns the stop that it is; "" for none.
func (s *sighting) sees(c Chunk) stop {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.next == atCheck && !c.Up && c.Bytes >= leastCheck:
		s.next = atFence
		return atCheck
	case s.next == atFence && c.Up && c.Bytes >= leastFence:
		s.next = atGo
		return atFence
	case s.next == atGo && !c.Up && c.Bytes >= leastGo:
		s.next = atAnswer
		return atGo
	case s.next == atAnswer && c.Up && c.Bytes >= leastAnswer:
		s.next = ""
		return atAnswer
	}
	return ""
}

// trap does something to the first agent whose check comes to a stop, at that very moment and once, and tells which it was.
func trap(t *testing.T, w *World, at stop, do func(*Node)) <-chan *Node {
	t.Helper()
	caught := make(chan *Node, 1)
	wanted := at
	if at == atBind {
		wanted = atGo
		w.Directory.Hang(true)
		t.Cleanup(func() { w.Directory.Hang(false) })
	}
	var once sync.Once
	for _, n := range w.Agents {
		s := &sighting{next: atCheck}
		n.Line.Watch(func(c Chunk) {
			if s.sees(c) != wanted {
				return
			}
			once.Do(func() {
				if at != atBind {
					do(n)
					caught <- n
					return
				}
				// The go must go on its way first.
				go func() {
					if err := Await(t.Context(), string(atBind), func() bool { return w.Directory.Held() > 0 }); err != nil {
						t.Error(err)
					}
					do(n)
					w.Directory.Hang(false)
					caught <- n
				}()
			})
		})
	}
	return caught
}

// sprung waits for a trap.
func sprung(t *testing.T, trap <-chan *Node) *Node {
	t.Helper()
	select {
	case n := <-trap:
		return n
	case <-time.After(startTimeout):
		t.Fatal("no check came to the trap")
		return nil
	}
}

// untrap ends watching.
func untrap(w *World) {
	for _, n := range w.Agents {
		n.Line.Watch(nil)
	}
}
