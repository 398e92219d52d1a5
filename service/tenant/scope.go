package tenant

import "errors"

// Scope says on whose behalf a query runs. Every query of every store takes one; the zero Scope fails closed with
// [ErrNoScope], so that forgetting it can never show one tenant's rows to another.
type Scope struct{ id string }

// ErrNoScope is returned by every store that was handed the zero [Scope].
var ErrNoScope = errors.New("tenant: no scope: refusing to look across tenants")

// ScopeOf returns the scope of a tenant's id that has been proven already: read from a tenant's row, from a verified
// certificate, or from a row that was itself found under a scope. An empty id gives the zero Scope.
func ScopeOf(id string) Scope { return Scope{id: id} }

// ID returns the tenant's id, or [ErrNoScope].
func (s Scope) ID() (string, error) {
	if s.id == "" {
		return "", ErrNoScope
	}
	return s.id, nil
}

// Zero reports whether s is the zero Scope.
func (s Scope) Zero() bool { return s.id == "" }

// String returns the tenant's id for logs, "(none)" for the zero Scope.
func (s Scope) String() string {
	if s.id == "" {
		return "(none)"
	}
	return s.id
}
