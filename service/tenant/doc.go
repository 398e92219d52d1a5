// Package tenant keeps the customer organisations, their directories and their domains, and hands out the [Scope] that every
// query of every store needs.
//
//	tenant "contoso" ──┬── directory "corp"  (one AD forest or domain; agents belong to it)
//	                   │        ▲
//	                   ├── domain "contoso.example"  pass-through ─┘  its users' passwords are checked there
//	                   └── domain "cloud.contoso.example"  cloud      its users' passwords are kept here
//
// It refuses to guess: names, domains and colours are validated strictly and stored in one form, and a directory that
// anything still refers to is not removed. Failures that a caller can do something about are faults: wire.NotFound,
// wire.Conflict and wire.BadRequest, with a detail for administrators; all stores keep to this.
//
// Callers: signin and password (which domain is this name's?), admin, the wiring; and every store, for Scope.
package tenant
