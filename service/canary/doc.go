// Package canary finds out whether agents work, and whether they lie, by asking them: about once a minute each agent is given a
// password of an account that an administrator named for its directory, on the way that every sign-in goes. So "healthy" means that a
// check came through to a domain controller and back a moment ago, and not that a connection stands.
//
//	            due? (fleet) ──claimed──▶ a password: wrong, made up at random; or, with a password in store, that one
//	                                          │ password.Probe: ask (that agent alone) ─ seal ─ deliver ─ bind
//	                                          ▼
//	wrong, yes ──▶ Lied: the agent is quarantined at once, everybody told        [Judge] is the rule
//	right, no  ──▶ Refused: degraded at once
//	no verdict ──▶ Failed: degraded when it repeats
//	else       ──▶ Fine
//
// An agent must not recognise a probe, or it would be honest with it alone. Nothing in the envelope or beside it tells: names,
// passwords of the lengths and kinds that people have, request ids, traces and the wish for attributes are those of sign-ins, and the
// moments are random. What an agent can learn is the names, since they come back; several names, and one that people use too, make that
// harder. A probe is no sign-in: lockout, records and the times of wrong answers do not hear of it.
//
// It refuses to probe drained agents, to guess real people's passwords (an administrator names the accounts), and to let a right
// password out of the service but sealed to an agent: in the database it is sealed under the key at rest.
//
// Several processes may run a [Prober]; a row in the fleet says whose turn it is. Callers: admin (the store), the wiring.
package canary
