package agent

import (
	"container/heap"
	"crypto/sha256"
	"sync"
	"time"
)

// sighting is what the memory says of a request id.
type sighting int

const (
	firstSeen  sighting = iota // never seen before, and remembered from now on
	replayed                   // seen before, and its envelope could still be opened
	memoryFull                 // unknown, but there is no room to remember it: it must not be worked on
)

// memory remembers the request ids of opened envelopes for as long as an envelope could be opened again, so that none is
// worked on twice. It never forgets one that is still alive to make room: when it is full, new work is refused, because a
// forgotten id is a replay that succeeds. Safe for concurrent use.
//
// It does not survive a restart; what holds then is madeBefore: an agent takes no envelope that is older than its memory. And
// whatever the clocks say, each fence has a nonce of its own, so that a go of before says nothing to it.
type memory struct {
	limit int

	mu    sync.Mutex
	known map[[sha256.Size]byte]struct{}
	dying deadlines
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, known: make(map[[sha256.Size]byte]struct{})}
}

// see tells whether id is new at now, and remembers it until expires. Ids are kept as hashes, so that an entry has one size.
func (m *memory) see(id string, expires, now time.Time) sighting {
	key := sha256.Sum256([]byte(id))
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.dying) > 0 && m.dying[0].at.Before(now) {
		delete(m.known, heap.Pop(&m.dying).(deadline).key)
	}
	if _, ok := m.known[key]; ok {
		return replayed
	}
	if len(m.dying) >= m.limit {
		return memoryFull
	}
	m.known[key] = struct{}{}
	heap.Push(&m.dying, deadline{key: key, at: expires})
	return firstSeen
}

// size returns how many ids are remembered.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.dying)
}

type deadline struct {
	key [sha256.Size]byte
	at  time.Time
}

// deadlines is a heap, the soonest first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}
