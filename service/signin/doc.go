// Package signin leads a person from "who are you" to "here is your result": the journey, its pages and the browser's session.
//
//	             Begin                        POST name           POST password
//	application ───────▶ name ──────────────────▶ password ──────────────────────▶ done ───▶ Finish
//	  (by oidc)            ▲  │ impossible name     │  ▲ │ wrong, nobody could tell   ▲        (by oidc)
//	                       │  └──┐                  │  └─┤                            │
//	                       ├─────┘                  │    │ too many wrong             │
//	                       └────────────────────────┘    ▼                            │
//	                         another name              failed          a session that suffices
//
// A journey is a row, so any process may take the next request; it lives fifteen minutes and ends in one result, which is
// taken once. It belongs to the browser that began it: a cookie holds 256 random bits, the row their SHA-256. A link to
// somebody else's journey leads to an error page, so nobody can be led to sign in as another, or on behalf of another.
//
// Two steps, no script. The name step says nothing about a name but that it cannot be one (empty, too long, control
// characters): whether a name, its domain or its user exist is not to be learned there. All that must look alike at the
// password step comes from package password as one number; the page shows its words from the catalogue.
//
// # Status codes
//
// Every post answers 303, and the page behind it is fetched with GET; so reloading never posts again. A form that is shown
// again is 200 whatever it says, also when no agent could be asked: the page itself was served, and proxies replace the
// body of 5xx answers, which would hide the very words the person needs. Only the error page, which ends a journey, has another
// status: 400 journey unknown or malformed form, 403 cross-site, 404 no such tenant, 429 too many posts (with Retry-After).
//
// # One typed password, one check
//
// A password form carries the number of the attempt that it is for. The first post of a number claims it by a conditional
// UPDATE; a second post of the same form (a double click, a resent request) waits for the first one's result and shows that. So
// two clicks are one attempt at the directory. The number's mere age decides what a late post of an old form is (the back
// button): see repeatWithin.
//
// # Leaving
//
// After the last post the browser fetches …/continue, which sends it to the application's door with the Refresh header and a link:
// package web explains why a redirect would be blocked by form-action.
//
// # Session
//
// The session cookie's secret is new after every sign-in, so a planted cookie never becomes a session. If the same person
// signs in again, the session keeps its id (applications know it as sid) and gets a new secret; anybody else gets a new
// session and the old one ends. A session is good as long as its user exists and is not disabled.
//
// It refuses to check a password (package password does), to know OpenID Connect or SAML (a door's Ask carries a path to
// return to, the result waits for [Service.Finish]), and to log what was typed as a password.
//
// Callers: oidc, and the wiring, which mounts [Service.Routes] and runs [Service.Run].
package signin
