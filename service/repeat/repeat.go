// Package repeat is the loop of whoever looks at something again and again: at an outbox, for agents that fell silent, for probes that are due.
//
//	interval ── look ── interval ── look ── … until ctx ends
//
// It refuses to look twice at once, to catch up on looks that were missed while one took long, and to decide what an error means: that is
// told, unless ctx has ended, and the next look comes all the same.
//
// Callers: fleet, notify and canary, in their Run.
package repeat

import (
	"context"
	"time"
)

// Every looks each interval until ctx ends; a look that is under way then is waited for. The first comes after an interval, too: a process
// that has just started has not heard from those whom it would miss. failed is told of an error; it must not be nil.
func Every(ctx context.Context, interval time.Duration, look func(context.Context) error, failed func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := look(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}
