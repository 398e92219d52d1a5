package web

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// basePolicy allows nothing at all; pages add the hashes of their styles and, if they post, form-action.
const basePolicy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"

// Secure sets the headers that every answer carries; a handler may still change them. Pages tighten nothing later: what is set
// here already allows nothing.
func Secure(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", basePolicy+"; form-action 'none'")
		header.Set("X-Frame-Options", "DENY") // for browsers that know no frame-ancestors
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin") // see the package comment
		header.Set("Cache-Control", "no-store")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
		if r.TLS != nil && !local(r.Host) {
			// Subdomains belong to others; they are left out (RFC 6797 §6.1.2).
			header.Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(strictTransport.Seconds())))
		}
		h.ServeHTTP(w, r)
	})
}

// local reports whether a host is this very machine or a bare address. There, insisting on HTTPS would bind every other
// program that a developer runs on another port of localhost.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// SameOrigin refuses posts that another site's page made the browser send, with the error page of [wire.CrossSite]. The browser
// itself says where a post comes from (Sec-Fetch-Site, else Origin against Host), so no hidden token is needed. Programs
// that send neither pass: they have no cookies of a person that could be abused.
func SameOrigin(log *slog.Logger) Middleware {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(h http.Handler) http.Handler {
		guard := http.NewCrossOriginProtection()
		guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log.Info("cross-site post refused", "path", r.URL.Path, "origin", r.Header.Get("Origin"),
				"site", r.Header.Get("Sec-Fetch-Site"), "host", r.Host, "address", ClientAddress(r), "trace", TraceID(r.Context()))
			Error(w, r, fault.New(wire.CrossSite, ""))
		}))
		return guard.Handler(h)
	}
}
