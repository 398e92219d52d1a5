// Package lockout slows down guessing at one account. The rule is [Next], a pure function of a stored state, an event and the
// time; [Guard] keeps the states and does nothing but load, ask Next, and store, in one transaction.
//
//	            wrong                wrong, the 4th              the time is over
//	┌───────┐ ────────▶ ┌──────────┐ ───────────────▶ ┌────────┐ ────────────────▶ ┌───────────┐
//	│ clear │           │ counting │                  │ locked │                   │ probation │
//	└───────┘ ◀──────── └──────────┘                  └────────┘ ◀──────────────── └───────────┘
//	    ▲      right, or                                  │        wrong, at once:       │
//	    │      30 quiet minutes                           │ right  twice as long         │ right, or a quiet day
//	    └─────────────────────────────────────────────────┴──────────────────────────────┘
//
// The same as a table, which the test reads:
//
//	from       event  to
//	clear      asked  clear
//	clear      right  clear
//	clear      wrong  counting
//	counting   asked  counting
//	counting   right  clear
//	counting   wrong  counting, locked
//	locked     asked  locked
//	locked     right  clear
//	locked     wrong  locked
//	probation  asked  probation
//	probation  right  clear
//	probation  wrong  locked
//
// Counting leads to locked with the wrong password that reaches the threshold. While an account is locked nobody's password
// is checked, so "locked, right" and "locked, wrong" happen only to checks that were under way when the lock fell: a wrong
// one is counted but does not make the lock longer, a right one proves its owner and ends it.
//
// Only a directory's (or our own) word that the password is wrong is an event, and what has to look like it to a stranger: a name of no domain,
// and an attempt that an agent's guard holds back. An outage, a timeout, an expired or
// disabled account is none: nothing calls [Guard.Settle] for "don't know", so an outage never locks anybody out. The numbers
// are meant for a directory behind it: see defaults.go.
//
// It refuses to know what an account is: the caller names it, by the user's id, or when there is no user by the typed name and by the directory's entry,
// so that a stranger cannot tell them apart by when they lock. A password that we keep is counted for each network apart
// ([At]): no directory stands behind it that would lock, and a stranger must not keep the break-glass administrator out.
//
// Callers: password (Allow, Settle, Budget), admin (State, Clear), the wiring (Run).
package lockout
