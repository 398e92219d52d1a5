package ldap

import (
	"context"
	"time"
)

// Age makes idle connections older, as if nothing had happened on them for so long.
func (v *Validator) Age(d time.Duration) {
	for _, s := range v.servers() {
		s.mu.Lock()
		for _, c := range s.idle {
			c.seen, c.used = c.seen.Add(-d), c.used.Add(-d)
		}
		s.mu.Unlock()
	}
}

// Maintain does what the background does at a tick.
func (v *Validator) Maintain(ctx context.Context) {
	for _, s := range v.servers() {
		s.maintain(ctx, time.Now())
	}
}
