package oidc

import (
	"net/http"
	"strconv"
)

// open lets scripts of any origin call an endpoint, without credentials (Fetch standard, CORS protocol). The endpoints behind it
// look at no cookie and at no client certificate: all authority comes in the request itself, from whoever has it.
func (p *Provider) open(methods string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", methods)
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Access-Control-Max-Age", strconv.Itoa(int(preflightAge.Seconds())))
		}
		next.ServeHTTP(w, r)
	})
}

// preflight answers a browser's question whether it may ask.
func preflight(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
