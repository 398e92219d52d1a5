package oidc

import (
	"net/http"
	"net/url"
	"strings"
)

// withParameters appends parameters, given as name, value, name, value …, to a registered address. The address itself stays
// as it was registered, byte for byte, with its own query (RFC 6749 §3.1.2); registered addresses have no fragment. Pairs
// without a value are left out.
func withParameters(address string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(address)
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
		if strings.HasSuffix(address, "?") || strings.HasSuffix(address, "&") {
			separator = ""
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		b.WriteString(separator + url.QueryEscape(pairs[i]) + "=" + url.QueryEscape(pairs[i+1]))
		separator = "&"
	}
	return b.String()
}

// redirect sends the browser on with a GET, whatever it came with: 303, never 307, which would post a form on
// (RFC 9700 §4.12). The address is not remembered and not told to the next site. A redirect has no page to isolate: with an opener
// policy it would cut a popup off from the application that opened it.
func redirect(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Del("Cross-Origin-Opener-Policy")
	h.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
