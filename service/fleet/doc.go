// Package fleet knows a tenant's agents: how one joins (an enrolment token, used once or a few times), who is served
// (active, with the current certificate), and how one leaves (revoked, or removed).
//
//	token ──Enrol──▶ active ──Revoke──▶ revoked
//	                   │                   │
//	                   └──────Remove───────┴──▶ gone
//
// There is no way back from revoked: a revoked agent's keys are not trusted again, and the host is registered anew.
//
// It refuses to hold connections (gateway does), to tell others of a change (admin announces it through queue), and to
// believe an agent about anything that decides: tenant and directory come from the token, the certificate takes only the
// key from what the agent sent. A name is a name, for people.
//
// A token's secret is 256 random bits; only its SHA-256 is stored. Using it is one conditional UPDATE in the transaction that makes
// the agent, so of two that race for the last use exactly one joins.
//
// Callers: gateway (Enrol, Admit, Standing, Seen), password (ByID), admin (all the rest).
package fleet
