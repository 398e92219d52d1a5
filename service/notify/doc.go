// Package notify tells administrators what they should hear of without looking: that an agent registered, waits for an approval, was let
// in, turned away or frozen.
//
//	change ──Put, in its transaction──▶ outbox ──Run──▶ log, webhook, mail ──▶ gone
//	                                      ▲              │ failed
//	                                      └── backoff ◀──┘ for three days; each failure has one number (90086)
//
// Delivery is at least once: a row goes when every channel has taken it, so a process that is killed in between delivers some twice, and
// loses none. Receivers tell repetitions by the event's id. Several processes may run it over one database: each claims a row before it
// delivers.
//
// A webhook is a POST of JSON ([Message]) with the header Sallyport-Signature: "t=UNIX,v1=HEX", where HEX is the HMAC-SHA-256 under the
// shared secret of the time's digits, a full stop and the body. Mail goes over SMTP with STARTTLS (RFC 3207), which only a server on this
// machine may lack.
//
// It refuses to decide what is worth telling (who changes something calls [Put]), to follow redirects, and to send a mail in the open.
//
// Callers: fleet and admin (Put), and the wiring, which runs it in processes with the sign-in role.
package notify
