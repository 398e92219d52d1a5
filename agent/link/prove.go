package link

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// prove shows the service which domain the agent speaks for, at once and then regularly, until ctx or the stream ends.
func (s *session) prove(ctx context.Context) {
	prover := s.l.c.Prover
	if prover == nil {
		return
	}
	if !s.proves {
		prover.Proven(nil)
		return
	}
	for {
		pause := proveAgain
		if s.proveOnce(ctx, prover) {
			pause = proveEvery
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.l.reprove:
			timer.Stop()
		case <-s.stream.Context().Done():
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// proveOnce reports whether a proof was accepted.
func (s *session) proveOnce(ctx context.Context, prover Prover) bool {
	asking, cancel := context.WithTimeout(ctx, proveWithin)
	proof := prover.Prove(asking)
	cancel()
	select { // of an answer that came too late for the proof before
	case <-s.proven:
	default:
	}
	if s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Proof{Proof: proof}}) != nil {
		return false
	}
	limit := time.NewTimer(provenWithin)
	defer limit.Stop()
	select {
	case answer := <-s.proven:
		prover.Proven(answer)
		return answer.GetAccepted()
	case <-limit.C:
	case <-s.stream.Context().Done():
	case <-ctx.Done():
	}
	return false
}
