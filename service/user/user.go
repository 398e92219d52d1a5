package user

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Source says where a user comes from, and so who checks the password.
type Source string

// The sources.
const (
	Synced    Source = "synced"     // from a directory, which checks the password
	CloudOnly Source = "cloud-only" // made here, with a password hash here
)

// Role is what a user may do to the tenant.
type Role string

// Administrator may administer the tenant; the empty role is an ordinary user's.
const Administrator Role = "administrator"

// User is a person of one tenant.
type User struct {
	ID string
	// UPN is the name as it is written today; it is compared by [Key].
	UPN    string
	Source Source
	// DirectoryID is empty for a cloud-only user. Anchor is the objectGUID as a lower-case UUID, empty also for a synced
	// user made by hand who has not signed in yet.
	DirectoryID, Anchor                       string
	DisplayName, GivenName, FamilyName, Email string
	// SignInName is the other name that the directory was asked by, where the domain allows one (tenant.Domain.SignInAttribute), as it was last told; empty
	// for none. The UPN of another user goes before it, and of two users with the same one neither is found by it. It is a value of SignInAttribute, in
	// lower case, and was last told at SignInAt, to within ten minutes; [User.CalledBy] says whether it still holds.
	SignInName, SignInAttribute string
	SignInAt                    time.Time
	// Groups are the names of the groups that list a synced user directly, as of AttributesAt; for a cloud-only user what an
	// administrator wrote.
	Groups   []string
	Role     Role
	Disabled bool
	// AttributesAt is when the directory last told names and groups, to within ten minutes; zero if it never did.
	AttributesAt time.Time
	// ValidFrom ends what was signed in before it: sessions, refresh and access tokens. It moves when a password is set here,
	// when the user is disabled, and when somebody signs the user out everywhere; zero if none of that ever happened.
	ValidFrom        time.Time
	Created, Changed time.Time
}

// Admits reports whether a sign-in made at that time still counts: the user is enabled, and nothing has ended it since.
func (u User) Admits(signedIn time.Time) bool { return !u.Disabled && !signedIn.Before(u.ValidFrom) }

// Change is what may change of a user; nil fields stay as they are. What a directory tells at the next sign-in replaces
// the names and groups of a synced user again.
type Change struct {
	UPN, DisplayName, GivenName, FamilyName, Email *string
	Groups                                         *[]string
	Role                                           *Role
	Disabled                                       *bool
}

// apply is the pure part of Store.Change.
func (c Change) apply(u User, now time.Time) User {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&u.UPN, c.UPN)
	set(&u.DisplayName, c.DisplayName)
	set(&u.GivenName, c.GivenName)
	set(&u.FamilyName, c.FamilyName)
	set(&u.Email, c.Email)
	if c.Groups != nil {
		u.Groups = *c.Groups
	}
	if c.Role != nil {
		u.Role = *c.Role
	}
	if c.Disabled != nil {
		if *c.Disabled && !u.Disabled {
			u.ValidFrom = now // enabling the user again must not bring old sessions back
		}
		u.Disabled = *c.Disabled
	}
	return u
}

// Key returns the form in which names are compared: without surrounding space, in Unicode's NFC, lower case. It accepts
// anything, so that what strangers type can be looked up; only [Store.Create] and its like judge.
func Key(upn string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(upn))))
}

// clean checks a user and brings every field into the form in which it is stored.
func (u User) clean() (User, error) {
	u.UPN = norm.NFC.String(strings.TrimSpace(u.UPN))
	if err := checkUPN(u.UPN); err != nil {
		return User{}, err
	}
	for _, f := range []struct {
		what string
		text *string
	}{{"display name", &u.DisplayName}, {"given name", &u.GivenName}, {"family name", &u.FamilyName}, {"mail address", &u.Email}} {
		*f.text = strings.TrimSpace(*f.text)
		if err := checkText(f.what, *f.text, maxText); err != nil {
			return User{}, err
		}
	}
	if u.SignInName = norm.NFC.String(strings.TrimSpace(u.SignInName)); u.SignInName != "" {
		if err := checkUPN(u.SignInName); err != nil {
			return User{}, err
		}
	}
	var err error
	if u.Groups, err = cleanGroups(u.Groups); err != nil {
		return User{}, err
	}
	switch u.Role {
	case "", Administrator:
	default:
		return User{}, fault.Newf(wire.BadRequest, "the role of a user is %q or empty, not %q", Administrator, clip(string(u.Role)))
	}
	switch u.Source {
	case Synced:
		if u.DirectoryID == "" {
			return User{}, fault.New(wire.BadRequest, "a synced user needs a directory")
		}
		if u.Anchor != "" {
			if u.Anchor, err = cleanAnchor(u.Anchor); err != nil {
				return User{}, err
			}
		}
	case CloudOnly:
		if u.DirectoryID != "" || u.Anchor != "" {
			return User{}, fault.New(wire.BadRequest, "a cloud-only user has neither a directory nor an anchor")
		}
	default:
		return User{}, fault.Newf(wire.BadRequest, "the source of a user is %q or %q, not %q", Synced, CloudOnly, clip(string(u.Source)))
	}
	return u, nil
}

// checkUPN wants name@domain: one @, no spaces, nothing invisible.
func checkUPN(upn string) error {
	name, domain, ok := strings.Cut(upn, "@")
	switch {
	case len(upn) > maxUPN:
		return fault.Newf(wire.BadRequest, "the user name must have at most %d bytes", maxUPN)
	case !ok || name == "" || domain == "" || strings.Contains(domain, "@"):
		return fault.Newf(wire.BadRequest, "the user name %q must have the form name@domain", clip(upn))
	case !utf8.ValidString(upn):
		return fault.New(wire.BadRequest, "the user name must be valid UTF-8")
	case strings.ContainsFunc(upn, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }):
		return fault.Newf(wire.BadRequest, "the user name %q must not hold spaces, control or invisible characters", clip(upn))
	}
	return nil
}

// unshowable reports whether a character could garble or forge what is written around a name: control characters, line
// and paragraph separators, and those that turn the direction of writing. Joiners stay: Persian and Indic names need them.
func unshowable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// tame makes a text that a directory told fit to be stored: a strange display name must not keep its owner out.
func tame(s string, most int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unshowable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most])
	}
	return s
}

// checkText wants showable characters, at most so many.
func checkText(what, s string, most int) error {
	switch {
	case !utf8.ValidString(s):
		return fault.Newf(wire.BadRequest, "the %s must be valid UTF-8", what)
	case utf8.RuneCountInString(s) > most:
		return fault.Newf(wire.BadRequest, "the %s must have at most %d characters", what, most)
	case strings.ContainsFunc(s, unshowable):
		return fault.Newf(wire.BadRequest, "the %s must not hold control characters", what)
	}
	return nil
}

// cleanGroups sorts, so that a directory that tells the same groups in another order changes nothing, and drops doubles.
func cleanGroups(groups []string) ([]string, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	if len(groups) > maxGroups {
		return nil, fault.Newf(wire.BadRequest, "a user can have at most %d groups, not %d", maxGroups, len(groups))
	}
	groups = slices.Clone(groups)
	for _, g := range groups {
		if g == "" {
			return nil, fault.New(wire.BadRequest, "the name of a group must not be empty")
		}
		if err := checkText("name of a group", g, maxGroup); err != nil {
			return nil, err
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// cleanAnchor wants a UUID in its one usual form.
func cleanAnchor(anchor string) (string, error) {
	id, err := uuid.Parse(anchor)
	if err != nil || len(anchor) != 36 || id == uuid.Nil {
		return "", fault.Newf(wire.BadRequest, "the anchor %q is not an objectGUID in the form of a UUID", clip(anchor))
	}
	return id.String(), nil
}

// clip shortens what was given before it is shown back.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
