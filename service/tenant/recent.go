package tenant

import (
	"context"
	"sync"
	"time"
)

// recent remembers tenants that were looked up a moment ago.
type recent struct {
	mu     sync.RWMutex
	byName map[string]sighting
}

// sighting is a tenant as it was read.
type sighting struct {
	tenant Tenant
	at     time.Time
}

// RecentTenant finds a tenant as [Store.TenantByName] does, but its answer may be a second old: for the doors that browsers use, where each
// sign-in is eight requests and each names its tenant. Nothing hangs on that second: of a tenant that is gone every other row is gone, too,
// and a new look is seen at once where it was set.
func (s *Store) RecentTenant(ctx context.Context, name string, now time.Time) (Tenant, error) {
	s.recent.mu.RLock()
	seen, ok := s.recent.byName[name]
	s.recent.mu.RUnlock()
	if age := now.Sub(seen.at); ok && 0 <= age && age < recentFor {
		return seen.tenant, nil
	}
	t, err := s.TenantByName(ctx, name)
	if err != nil {
		return Tenant{}, err // not remembered: strangers can make up any number of names
	}
	s.recent.mu.Lock()
	defer s.recent.mu.Unlock()
	if s.recent.byName == nil || len(s.recent.byName) >= recentLimit {
		s.recent.byName = map[string]sighting{}
	}
	s.recent.byName[name] = sighting{t, now}
	return t, nil
}

// forget makes the next look-up of every tenant a fresh one.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.byName)
}
