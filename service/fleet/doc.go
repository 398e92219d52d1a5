// Package fleet knows a tenant's agents: how one joins (an enrolment token, used once or a few times), who is served
// (active, with the current certificate), and how one leaves (revoked, or removed).
//
//	token, code ──▶ (pending ──Approve──▶) active ⋯ as below; pending ──Deny──▶ revoked
//
//	token ──Enrol──▶ active ◀──Resume── drained        revoked ◀──Revoke── any state
//	                  │ ▲    ──Drain──▶   │
//	        Quarantine│ │Enrol with       │Quarantine
//	                  ▼ │Former           ▼
//	                 quarantined ◀────────┘              gone ◀──Remove── any state
//
// [Next] is the rule. An agent comes back ([Enrolment.Former]) with fresh keys, by the word of its former key and a token of its
// directory; from revoked and quarantined, whose keys are not believed, only with a token made for it by [Store.Release].
//
// An agent's certificate and envelope key change together, when it first connects with the ones that [Store.Renew] has certified
// ([Store.Connect]); until then both certificates are admitted. Each connection has a number higher than any before: a used one is of an
// older state of the agent, and refused.
//
// It refuses to hold connections (gateway does), to tell others of a change (admin announces it through queue), and to
// believe an agent about anything that decides: tenant and directory come from the token, the certificate takes only the
// key from what the agent sent. A name is a name, for people.
//
// How an agent does is another question than whether it is served: [Judge] makes a condition of its state, of what it says of itself
// ([Report]) and of when it was last heard of. There is one row an agent, written by the gateway about once a minute ([Store.Seen],
// [Store.Left]); [Store.Run] notices silence.
//
// A token's secret is 256 random bits; only its SHA-256 is stored. Using it is one conditional UPDATE in the transaction that makes
// the agent, so of two that race for the last use exactly one joins.
//
// Callers: gateway (Enrol, Admit, Connect, Renew, Standing, Quarantine, Suspect, Seen, Left, Revocations), password (ByID), canary (DueProbes, Claim, Probed, Quarantine), admin (all the
// rest).
package fleet
