// Package web is the frame around everything that a browser sees: the page with its style, the error page, security
// headers, cookies, the trace of a request, the address of its client, and the refusal of cross-site posts.
//
// It refuses to know what a page is about: no tenant, no journey, no rule. It sends no script, and its pages allow none.
//
// A handler of a public listener is wrapped like this, the outermost first:
//
//	web.Chain(routes,
//	    web.Trace,              every request gets a trace id of its own
//	    web.Client(proxies),    whose request it is, seen through trusted proxies only
//	    web.Recover(log),       a panic becomes a logged stack and an error page
//	    web.Secure,             headers
//	)
//
// and a door whose forms are its own adds web.SameOrigin around them. OpenID Connect endpoints that other sites post to by
// specification must stay outside of SameOrigin.
//
// # Content Security Policy
//
// Pages are sent with default-src 'none': no script, no image, no font, no frame, and styles only by the hash of their
// bytes. form-action is 'self', which is the last line of defence of a page that asks for a password: markup that somebody
// managed to smuggle in still could not post the form elsewhere.
//
// Chromium and Safari hold form-action against every redirect that follows a post, too (w3c/webappsec-csp#8, and a test of
// package signin with a real browser). A sign-in that went POST, 303, 303 to the application's own site would end there in
// a blocked navigation. Listing the application's origin would not do: its callback usually redirects further, to places
// we do not know. So a journey that leaves our origin after a post goes through a page that the browser fetches with GET
// and that sends it on with the Refresh header ([Page.Refresh]): a navigation of that page, no longer of the form. The page
// has a link, too, for browsers that were told not to follow Refresh.
//
// # Referrer
//
// Referrer-Policy is same-origin and not no-referrer: under no-referrer a browser sends "Origin: null" even with our own
// forms (Fetch §3.2), and browsers without Sec-Fetch-Site (Safari before 16.4) would be refused by [SameOrigin]. Other
// sites get no referrer under either.
//
// Callers: signin, oidc, admin, gateway, and the wiring.
package web
