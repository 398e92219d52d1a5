package evaluation

import (
	"context"
	"time"
)

// Delay makes every later bind wait before it is judged; 0 ends that.
func (s *Server) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// Hang makes binds wait, as they do on a host that stands still: they are read, and judged only after Hang(false). Searches are
// still answered.
func (s *Server) Hang(on bool) {
	if on {
		gate := make(chan struct{})
		s.gate.CompareAndSwap(nil, &gate)
		return
	}
	if gate := s.gate.Swap(nil); gate != nil {
		close(*gate)
	}
}

// Held returns how many binds Hang keeps waiting: they have arrived, whatever becomes of who sent them.
func (s *Server) Held() int { return int(s.held.Load()) }

// Disconnect closes all connections at once, whatever is under way on them, and returns how many there were. New ones are served.
func (s *Server) Disconnect() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	return len(s.conns)
}

// DropAfterBind makes the server judge (and count) later binds and close their connection in place of an answer: the worst moment
// to lose a domain controller.
func (s *Server) DropAfterBind(on bool) { s.dropAfterBind.Store(on) }

// misbehave waits as tests have ordered. Its error ends the connection.
func (s *Server) misbehave(ctx context.Context) error {
	if gate := s.gate.Load(); gate != nil {
		s.held.Add(1)
		defer s.held.Add(-1)
		select {
		case <-*gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if d := time.Duration(s.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
