package app

import (
	"net/url"
	"strings"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// checkURI says what is wrong with an address to which answers are to be sent.
func checkURI(raw string, public bool) error {
	refuse := func(why string) error {
		return fault.Newf(wire.BadRequest, "the address %q cannot be registered: %s", clip(raw), why)
	}
	if len(raw) > maxURI {
		return refuse("it is longer than 2000 characters")
	}
	// Outside of printable ASCII, and in a few places within, browsers and servers disagree about what an address means.
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\\\"<>^`{|}*", r) }) {
		return refuse("it holds a space, a character outside of ASCII (write it as a %-escape), or one of \\ \" < > ^ ` { | } *")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return refuse("it is malformed")
	case u.Scheme == "":
		return refuse("it must be absolute, like https://app.example/callback")
	case strings.Contains(raw, "#"):
		return refuse("it must not have a fragment (#)")
	case u.User != nil:
		return refuse("it must not hold a user name or a password")
	case u.Opaque != "":
		return refuse("a slash must follow the scheme")
	}
	switch scheme := u.Scheme; {
	case scheme == "https" && u.Hostname() != "":
		return nil
	case scheme == "http" && loopback(u.Hostname()):
		return nil
	case scheme == "https":
		return refuse("it has no host")
	case scheme == "http":
		return refuse("use https; http is allowed only to 127.0.0.1, [::1] and localhost")
	case !strings.Contains(scheme, "."):
		return refuse("a scheme of one's own must be a reversed domain name, like com.example.app (RFC 8252 §7.1)")
	case !public:
		return refuse("a scheme of one's own is for public apps: any program on the device can claim it, so no secret can make it safe")
	}
	return nil
}

// loopback reports whether a host is this very computer (RFC 8252 §7.3; localhost is added because developers use it).
func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// cleanURIs checks a list and refuses doubles, which are always a mistake.
func cleanURIs(what string, uris []string, public bool) error {
	if len(uris) > maxURIs {
		return fault.Newf(wire.BadRequest, "an app can have at most %d %s, not %d", maxURIs, what, len(uris))
	}
	seen := make(map[string]bool, len(uris))
	for _, uri := range uris {
		if err := checkURI(uri, public); err != nil {
			return err
		}
		if seen[uri] {
			return fault.Newf(wire.BadRequest, "the address %q is listed twice", clip(uri))
		}
		seen[uri] = true
	}
	return nil
}

// clip shortens what was given before it is shown back.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
