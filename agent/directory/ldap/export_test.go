package ldap

import (
	"context"
	"net"
	"strconv"
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

// AgeReader makes the reader's idle connections silent for longer.
func (v *Validator) AgeReader(d time.Duration) {
	v.guard.mu.Lock()
	defer v.guard.mu.Unlock()
	for _, pool := range v.guard.pools {
		for _, c := range pool.idle {
			c.seen = c.seen.Add(-d)
		}
	}
}

// Ports are our ends' of idle connections for binds.
func (v *Validator) Ports() (all []string) {
	for _, s := range v.servers() {
		s.mu.Lock()
		for _, c := range s.idle {
			all = append(all, strconv.Itoa(c.raw.LocalAddr().(*net.TCPAddr).Port))
		}
		s.mu.Unlock()
	}
	return all
}

// Bench has a server that is down wait for long until it is looked at in the background.
func (v *Validator) Bench(i int) {
	s := v.servers()[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breaker.failures, s.breaker.probeAt, s.refused = 10, time.Now().Add(time.Hour), time.Now().Add(-reviveAfter)
}

// Rebase has a server speak of another part of its directory as the domain's: people elsewhere are then of another domain for the validator.
func (v *Validator) Rebase(i int, edit func(base string) string) {
	s := v.servers()[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = edit(s.base)
}

// Refresh has the guard read policies as the background does.
func (v *Validator) Refresh(ctx context.Context) error { return v.guard.refresh(ctx, v.firstServing()) }

// Maintain does what the background does at a tick.
func (v *Validator) Maintain(ctx context.Context) {
	for _, s := range v.servers() {
		s.maintain(ctx, time.Now())
	}
}
