package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

type clientKey struct{}

// ParseProxies reads addresses ("10.0.0.1") and networks ("10.0.0.0/8") of proxies to trust.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("web: %q is neither an address nor a network", s)
		}
		a = a.Unmap()
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out, nil
}

// Client finds out whose request it is, for [ClientAddress]: the peer of the connection, and where that is a trusted proxy, the
// nearest address in X-Forwarded-For that is not. Without trusted proxies the header is never looked at, since anybody can
// send it.
func Client(trusted []netip.Prefix) Middleware {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := clientAddress(r.RemoteAddr, r.Header.Values("X-Forwarded-For"), trusted)
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, a)))
		})
	}
}

// ClientAddress returns the client's IP address, without port and zone, as [Client] found it; outside of Client it is the
// connection's peer. It is "" only for requests that came over no network, as in tests.
func ClientAddress(r *http.Request) string {
	if a, ok := r.Context().Value(clientKey{}).(string); ok {
		return a
	}
	return clientAddress(r.RemoteAddr, nil, nil)
}

// clientAddress walks from the peer outwards, as long as the one before is trusted. What stands left of the first address that
// is not trusted, or of something that is no address, was written by strangers.
func clientAddress(remote string, forwarded []string, trusted []netip.Prefix) string {
	at, ok := parseAddress(remote)
	if !ok {
		return ""
	}
	rest := strings.Join(forwarded, ",")
	for range maxForwarded {
		if !isTrusted(at, trusted) || rest == "" {
			break
		}
		last := rest
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, last = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		next, ok := parseAddress(strings.TrimSpace(last))
		if !ok {
			break
		}
		at = next
	}
	return at.String()
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseAddress reads an address with or without a port: some proxies add one.
func parseAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// NameToken makes a short name of any text for places with a narrow alphabet: lower-case letters, digits and hyphens, at most
// 40, neither beginning nor ending with a hyphen; "x" when nothing is left.
func NameToken(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	if t := strings.Trim(b.String(), "-"); t != "" {
		return t
	}
	return "x"
}
