package web

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
)

// tokenLength is the length of a [NewToken]: 32 bytes in base64url without padding.
const tokenLength = 43

// NewToken returns 256 random bits as text for a cookie. Stores keep its SHA-256 only.
func NewToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Cookie returns the token in the cookie __Host-<name>. It is "" when the request has no such cookie, has several (somebody
// planted one, and which is ours cannot be told), or has one that no [NewToken] ever was.
func Cookie(r *http.Request, name string) string {
	found := r.CookiesNamed("__Host-" + name)
	if len(found) != 1 || len(found[0].Value) != tokenLength {
		return ""
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(found[0].Value); err != nil {
		return ""
	}
	return found[0].Value
}

// SetCookie sets the cookie __Host-<name>, which ends with the browser. The prefix makes browsers refuse it from subdomains,
// from plain HTTP and with a narrower path (RFC 6265bis §4.1.3.2). SameSite is Lax and not Strict: a sign-in begins with a
// link or redirect from the application's site, and the cookies must come along.
func SetCookie(w http.ResponseWriter, name, token string) {
	http.SetCookie(w, &http.Cookie{Name: "__Host-" + name, Value: token, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode})
}

// ClearCookie removes the cookie __Host-<name>.
func ClearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: "__Host-" + name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode})
}
