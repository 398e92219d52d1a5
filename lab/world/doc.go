// Package world runs an installation of real processes for tests that kill, freeze and restart them: sallyport in one process
// or split over four, agents as processes of their own, and between all of them lines that tests can cut, freeze and watch.
//
//	visitors ══ front ══▶ signin-1, signin-2 ── broker line ──▶ broker (the test's)      PostgreSQL (the test's)
//	                                  gateway-1, gateway-2 ──┘
//	                                       ▲
//	              agent line, one for each ╪══ agent-1 … agent-n ──▶ directory (in the test's process, or a DC)
//
// With one process that does everything, signin-1 is all four boxes of the service, over SQLite and its own queue.
//
// Faults live here and not in the product: a process is frozen from outside when something was seen from outside. It decides
// nothing about sign-ins and judges nothing. It is called by tests alone.
package world
