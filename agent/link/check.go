package link

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// ErrNoGo says that a fence was not granted, or not in time: nothing may be bound.
var ErrNoGo = errors.New("link: the fence was not granted")

// check is one check in flight.
type check struct {
	s       *session
	request string
	ctx     context.Context
	cancel  context.CancelFunc
	granted chan []byte   // one Go; written by the stream's reader
	fencing chan struct{} // closed by the first fence; guarded by s.mu
}

// accept starts a check, or refuses it when it is one too many, a repetition, or comes while the agent leaves.
func (s *session) accept(m *linkpb.Check) {
	request := m.GetRequestId()
	s.mu.Lock()
	var refusal string
	code := wire.AgentsBusy
	switch {
	case s.leaving:
		refusal = "the agent is going away"
	case len(s.checks) >= s.l.c.Slots:
		refusal = "every slot of the agent is taken"
	case s.checks[request] != nil:
		code, refusal = wire.EnvelopeReplayed, "a check with this request id is in flight"
	}
	if refusal != "" {
		s.mu.Unlock()
		s.reply(request, Reply{Refused: code, Detail: refusal})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &check{s: s, request: request, ctx: ctx, cancel: cancel, granted: make(chan []byte, 1), fencing: make(chan struct{})}
	s.checks[request] = c
	s.tasks.Add(1)
	s.l.tasks.Add(1)
	inFlight := len(s.checks)
	s.counted(1, inFlight) // under the lock: a count must not overtake a later one
	s.mu.Unlock()
	go c.run(m)
}

func (c *check) run(m *linkpb.Check) {
	s := c.s
	defer s.l.tasks.Done()
	defer s.tasks.Done()
	defer c.cancel()
	reply := s.l.c.Handler.Check(c.ctx, m, c.fence)
	// Forget first: whoever reads the reply may send the next check at once.
	s.mu.Lock()
	delete(s.checks, c.request)
	inFlight := len(s.checks)
	s.counted(0, inFlight)
	s.mu.Unlock()
	s.reply(c.request, reply)
}

// counted shows how many checks are in flight, of the session that serves.
func (s *session) counted(begun uint64, inFlight int) {
	s.l.update(func(st *Status) {
		st.Checks += begun
		if !s.retired.Load() {
			st.InFlight = inFlight
		}
	})
}

// fence tells the gateway that the attempt is about to count and waits for the Go.
func (c *check) fence(ctx context.Context, nonce []byte) ([]byte, error) {
	c.s.mu.Lock()
	select {
	case <-c.fencing:
		c.s.mu.Unlock()
		return nil, fmt.Errorf("%w: asked twice", ErrNoGo)
	default:
		close(c.fencing)
	}
	c.s.mu.Unlock()
	if err := c.s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Fence{Fence: &linkpb.Fence{RequestId: c.request, Nonce: nonce}}}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	limit := time.NewTimer(goWithin)
	defer limit.Stop()
	select {
	case token := <-c.granted:
		if len(token) == 0 || c.ctx.Err() != nil || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: cancelled, or an empty Go", ErrNoGo)
		}
		return token, nil
	case <-limit.C:
		return nil, fmt.Errorf("%w: no Go within %s", ErrNoGo, goWithin)
	case <-c.ctx.Done():
		return nil, fmt.Errorf("%w: the check was cancelled or the stream lost", ErrNoGo)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNoGo, ctx.Err())
	}
}

// granted hands a Go to its check. A Go that nobody asked for, or a second one, is dropped.
func (s *session) granted(m *linkpb.Go) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.checks[m.GetRequestId()]
	if c == nil {
		return
	}
	select {
	case <-c.fencing:
	default:
		return
	}
	select {
	case c.granted <- m.GetToken():
	default:
	}
}

func (s *session) cancel(request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.checks[request]; c != nil {
		c.cancel()
	}
}

// abandon ends every check's context when the stream has ended.
func (s *session) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	for _, c := range s.checks {
		c.cancel()
	}
}

// reply sends the end of a check. A failure needs no word here: the gateway sees the stream end.
func (s *session) reply(request string, r Reply) {
	if len(r.Sealed) > 0 {
		_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: request, Sealed: r.Sealed}}})
		return
	}
	if r.Refused <= 0 {
		r.Refused = wire.AgentRefused
	}
	_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Refusal{Refusal: &linkpb.Refusal{
		RequestId: request, Code: uint32(r.Refused), Detail: clip(r.Detail)}}})
}

// hint adds what an administrator should think of first when the TLS handshake fails. gRPC hands the cause on as text only.
func hint(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "certificate signed by unknown authority"):
		return fmt.Errorf("%w (is there a proxy that inspects TLS on the way? It must let connections to the gateway through untouched)", err)
	case strings.Contains(text, "certificate has expired or is not yet valid"):
		return fmt.Errorf("%w (check this host's clock first)", err)
	}
	return err
}
