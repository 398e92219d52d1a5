// Package ldap checks passwords by simple binds at Active Directory domain controllers, always over verified TLS.
//
// One check is one bind on one kept connection. The name goes as it was typed; the password is sent at most once, whatever
// happens: a connection that dies before the fence is replaced, one that dies after the bind was written is an error that says
// so, and nothing is tried again, since every try can count towards the account's lockout.
//
// Servers are those of the settings, in their order, and after them those that DNS names for a domain, by site and priority (package locate). DNS is
// asked again in the background; a question that fails changes nothing, and a server that is named no more finishes its binds. Among equals the
// fastest is chosen, by a harmless question that the background asks, and kept until another is clearly faster. DNS is not
// believed: whom it names must have a certificate for that name and serve that domain.
//
// A check takes a connection of the chosen server. If that lets it wait, the next is tried beside it, and the first connection is the one
// on which the fence is asked and the password sent, once; one that comes too late is kept for others:
//
//	0 ms              400 ms               4 s
//	 │ chosen ─── ping, or dial ───────────▶│ nobody: 80007, nothing was sent
//	 │                 │ the next ─────────▶│
//
// Each has a pool of connections, opened a few at a time, and a breaker. A server that hangs holds its own connections, and none of another's:
//
//	           reached                       cannot be reached, or three binds in a row unanswered
//	untried ─────────────▶ serving ────────────────────────────────────────────────────▶ down
//	   │                      ▲                                                           │ │
//	   └── cannot be reached ─┼──────────────────────────────▶ down      a probe answered │ │ a probe failed:
//	                          └───────────────────────────────────────────────────────────┘ └▶ wait longer
//
// A check never waits for a server that is down; [Validator.Run] probes it in the background. A kept connection that has been
// silent for a moment is asked a harmless question before the fence, so that a domain controller that lost its power costs
// a moment and not somebody's attempt. A bind that is given up is taken back as far as it was not delivered.
//
// A new connection does not need DNS any more once it has named the server ([locate.Book]): the certificate says who answers.
//
// Before the fence the guard, if it has a reader account, looks the account up on a connection of its own to the same server, and spends no
// attempt that would lock it there or that asks about a protected account; see [Guard].
//
// The package refuses: connections without TLS or without verification (a private CA is trusted by giving the CA), following
// referrals, empty passwords and NUL (see [directory.Check.Refuse]), and inventing a verdict. Its log names servers and
// causes, never the names that people typed: a password typed into the wrong field would be among them.
//
// Package agent makes one for each agent. Names of third parties stay inside.
package ldap
