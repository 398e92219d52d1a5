package app

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// The algorithms that an application can have its ID tokens signed with (RFC 7518 §3.1).
const (
	ES256 = "ES256" // the default: small and fast
	RS256 = "RS256" // for relying parties that know nothing else
)

// App is a registered application.
type App struct {
	// ID is also the client_id of OpenID Connect.
	ID, Name string
	// RedirectURIs and PostLogoutURIs are compared character by character.
	RedirectURIs, PostLogoutURIs []string
	// Public apps (browser, mobile, desktop) have no secret. It never changes.
	Public bool
	// Algorithm is ES256 or RS256.
	Algorithm string
	// GroupClaims puts the names of the user's groups into tokens that ask for them.
	GroupClaims, Disabled bool
	Created, Changed      time.Time
}

// New is what an application begins with. An empty Algorithm is ES256.
type New struct {
	Name                         string
	RedirectURIs, PostLogoutURIs []string
	Public                       bool
	Algorithm                    string
	GroupClaims                  bool
}

// Change is what may change of an application; nil fields stay as they are.
type Change struct {
	Name                         *string
	RedirectURIs, PostLogoutURIs *[]string
	Algorithm                    *string
	GroupClaims, Disabled        *bool
}

// apply is the pure part of Store.Change.
func (c Change) apply(a App) App {
	if c.Name != nil {
		a.Name = *c.Name
	}
	if c.RedirectURIs != nil {
		a.RedirectURIs = *c.RedirectURIs
	}
	if c.PostLogoutURIs != nil {
		a.PostLogoutURIs = *c.PostLogoutURIs
	}
	if c.Algorithm != nil {
		a.Algorithm = *c.Algorithm
	}
	if c.GroupClaims != nil {
		a.GroupClaims = *c.GroupClaims
	}
	if c.Disabled != nil {
		a.Disabled = *c.Disabled
	}
	return a
}

// clean checks an application and brings every field into the form in which it is stored.
func (a App) clean() (App, error) {
	a.Name = strings.TrimSpace(a.Name)
	switch {
	case a.Name == "":
		return App{}, fault.New(wire.BadRequest, "the name of the app must not be empty")
	case !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return App{}, fault.New(wire.BadRequest, "the name of the app must be valid UTF-8 without control or invisible characters")
	case utf8.RuneCountInString(a.Name) > maxName:
		return App{}, fault.Newf(wire.BadRequest, "the name of the app must have at most %d characters", maxName)
	}
	if a.Algorithm == "" {
		a.Algorithm = ES256
	}
	if a.Algorithm != ES256 && a.Algorithm != RS256 {
		return App{}, fault.Newf(wire.BadRequest, "the algorithm of an app is %s or %s, not %q", ES256, RS256, clip(a.Algorithm))
	}
	if len(a.RedirectURIs) == 0 {
		return App{}, fault.New(wire.BadRequest, "the app needs at least one redirect address")
	}
	if err := cleanURIs("redirect addresses", a.RedirectURIs, a.Public); err != nil {
		return App{}, err
	}
	if len(a.PostLogoutURIs) == 0 {
		a.PostLogoutURIs = nil
	}
	return a, cleanURIs("addresses for after the sign-out", a.PostLogoutURIs, a.Public)
}
