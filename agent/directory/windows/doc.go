// Package windows lets the Windows host, a member of the domain, judge passwords: one LogonUserW of the network kind for each check.
//
//	Validate ─▶ name, slot, a domain controller is known ─▶ Fence ─▶ LogonUserW ─▶ whose token? ─▶ verdict
//	                  │ nothing was sent                                │ number       │ not of the domain, or Guest's
//	                  ▼                                                 ▼              ▼
//	                error                                        verdict or error    error
//
// The host's own trust with its domain (Netlogon, Kerberos) proves the domain controller; neither certificates nor a keytab are needed. Which domain
// that is, the host knows since it was joined: that is what [Validator.Prove] tells.
//
// LogonUserW says yes in more places than the domain does. So the user of the token must be of the domain and not its Guest; names that could mean
// an account of this computer are refused before anything is sent; and before the first check Windows has to refuse a
// made-up name with a made-up password ([Validator.SelfCheck]). A host that accepts it, as one does that has Guest enabled, and as Wine does, checks nobody.
//
// Windows does not say whether it looked at the password before it says that an account is disabled, has expired, or may not log on here or now: Kerberos
// looks at the account first. Such verdicts are handed on as account_restricted, with their number in the diagnostic text.
//
// A call that Windows does not answer cannot be stopped. It keeps one of a few slots until it returns; checks wait for a slot for a moment, and never
// start a call that nobody counts.
//
// The package refuses to call LogonUserW twice for one check. Everything but the calls themselves is portable and tested on every system;
// on others than Windows [New] returns [ErrElsewhere].
//
// Package agent makes one for each agent.
package windows
