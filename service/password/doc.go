// Package password answers one question: is this the password of this name? [Checker.Check] is the only function of the
// service that does; lockout, the answer's timing and the wiping of the secret are inside it, so that no caller can forget
// them.
//
// It refuses to show a page, to begin a session, to write the sign-in log (it returns what belongs in it), and to guess: an
// outage is a fault with a number, never a wrong password. [Checker.Probe] goes the same way to see how an agent does, and lets nobody in.
//
//	Check ── unusable password? ── who, which domain? ── locked? ──┬─ pass-through: assign, seal, deliver (passthrough.go)
//	                                                               └─ cloud: Argon2id (cloud.go)
//	                                  settle lockout ◀── verdict ──┘
//
// A pass-through check asks the queue for an agent, looks it up in the fleet, seals name and password to that agent alone, and
// delivers. What happens when a try fails is one pure function, [Next]:
//
//	                ┌────────────── again: another agent, while tries and time last ─────────────────┐
//	                ▼                                                                                │
//	ask ─▶ offer ─▶ seal ─▶ deliver ─┬─ refused, lost before the fence, trouble before the fence ────┤
//	                                 ├─ lost after the fence ── only if the lockout budget allows ───┘
//	                                 ├─ trouble after the fence, forged ──▶ fault
//	                                 ├─ an agent's guard spends no attempt, or the account that the agent found is held
//	                                 │    back under another of its names (whose.go) ──▶ looks like a wrong password, and counts here as one
//	                                 └─ answered ──▶ verdict
//
// One typed password is at most one bind that may count at the directory; a second happens only when the first one's answer was
// lost and the account is far from being locked.
//
// # What a stranger can see
//
// Unknown domain, unknown user, wrong password, disabled, locked: all show 50126. Those that were decided here wait for as long as a recent
// real wrong answer took, and then all of them, until more time has passed than nearly all recent ones took ([hold]): directories are
// faster with some reasons than with others. The true number is in [Answer.Code], for the log, and the stop "done" says when it was known.
//
// # What the caller can break off
//
// When a browser goes away, an ask is given up; a delivery is not. Else somebody who guesses could hang up before each answer,
// and no wrong password would ever be counted.
//
// Callers: signin (Check), canary (Probe), admin and the wiring (ValidateNew, Hash).
package password
