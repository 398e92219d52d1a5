// Package approve is the page on which an administrator lets an agent in: one that registers without a token and shows a code at its
// host's terminal (RFC 8628), or one whose registration waits for an approval by the tenant's policy.
//
//	/t/{tenant}/register               type a code; which agents wait
//	/t/{tenant}/register/code/{code}   the facts of a code: approve or deny
//	/t/{tenant}/register/agent/{id}    the facts of an agent that waits: approve or deny
//
// Who comes here signs in by the ordinary journey, with a password typed not long ago, and must be an administrator of the tenant;
// before that no code is looked up. Guesses of codes are limited by administrator.
//
// Remote phishing (RFC 8628 §5.4): somebody starts a registration of a host of their own and sends the code or the link to an
// administrator. So the page says what a yes means, shows what the service knows of the host, and takes a yes only with the word that
// the fingerprint was compared with the one at the host's terminal, which whoever did not start the registration cannot see.
//
// It refuses to decide who may approve (fleet does), and to show anything to others than administrators.
//
// Callers: the wiring, which mounts [Door.Routes].
package approve
