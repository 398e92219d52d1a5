package kerberos

import (
	"errors"
	"strings"
)

// account is a typed name, taken apart: user@domain, or DOMAIN\user.
type account struct{ user, domain string }

var errName = errors.New(`the name is neither user@domain nor DOMAIN\user, and Kerberos knows no others`)

// parseName reads a typed name. Spaces around it are ignored, as directories do; other blanks are characters of the name to them.
func parseName(typed string) (account, error) {
	typed = strings.Trim(typed, " ")
	if domain, user, ok := strings.Cut(typed, `\`); ok && domain != "" && user != "" && !strings.ContainsAny(user, `@\`) {
		return account{user, domain}, nil
	}
	if i := strings.LastIndexByte(typed, '@'); i > 0 && i < len(typed)-1 && !strings.Contains(typed, `\`) {
		return account{typed[:i], typed[i+1:]}, nil
	}
	return account{}, errName
}

// enterprise is the one string of an NT-ENTERPRISE principal (RFC 6806 §5). AD looks it up as it does a UPN, explicit or implicit,
// and takes the domain's short name after the @ too.
func (a account) enterprise() string { return a.user + "@" + a.domain }

// owner is whom a ticket says it was given to.
type owner struct {
	// user and realm are the client's name in the ticket: AD writes the sAMAccountName there.
	user, realm string
	// upn and short are from its PAC, empty without one: the userPrincipalName and the domain's short name.
	upn, short string
}

// owns reports whether a typed name is a name of the owner: the implicit or the explicit userPrincipalName, or one with the domain's short name.
// The KDC's word for it is needed because the request, in which the name stands, is not authenticated.
func (o owner) owns(a account) bool {
	if strings.EqualFold(a.user, o.user) && (strings.EqualFold(a.domain, o.realm) || o.short != "" && strings.EqualFold(a.domain, o.short)) {
		return true
	}
	return o.upn != "" && strings.EqualFold(a.enterprise(), o.upn)
}
