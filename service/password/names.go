package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// The forms in which names are typed, for the log. Only a user principal name says which domain is meant.
const (
	formUPN       = "upn"        // ada@corp.example
	formDownLevel = "down-level" // CORP\ada
	formBare      = "bare"       // ada
	formUnusable  = "unusable"   // nothing, too long, not text, or with what no name has: see unfit and otherForms
)

// nameOf takes a typed name apart. name is what is looked up and sent: as it was typed, but for space around it and the domain,
// which has the one form that domains are stored in, if it is one. domain is empty unless the form is formUPN. A name that is
// unusable is never asked about; see [unfit] and [otherForms].
func nameOf(typed string) (name, form, domain string) {
	name = strings.TrimSpace(typed)
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, unfit) || strings.Count(name, "@") > 1 {
		return "", formUnusable, ""
	}
	local, domain, ok := strings.Cut(name, "@")
	switch {
	case ok && strings.ContainsAny(local, otherForms):
		return "", formUnusable, ""
	case local != "" && domain != "":
		if normal, err := tenant.DomainName(domain); err == nil {
			domain = normal
		}
		return local + "@" + domain, formUPN, domain
	case strings.Contains(name, `\`):
		return name, formDownLevel, ""
	}
	return name, formBare, ""
}

// unusable reports whether a password is refused before anything else happens with it. An empty one would succeed at
// directories that take it for an anonymous bind (RFC 4513 §5.1.2); a NUL ends it for some of them and not for others.
func unusable(s wire.Secret) bool {
	if s.Len() == 0 || s.Len() > maxPassword {
		return true
	}
	for _, b := range s.Reveal() {
		if b == 0 {
			return true
		}
	}
	return false
}

// text makes a line for people of what an agent said: printable, at most maxText bytes.
func text(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			c = ' '
		}
		if b.Len()+utf8.RuneLen(c) > maxText {
			break
		}
		b.WriteRune(c)
	}
	return strings.TrimSpace(b.String())
}
