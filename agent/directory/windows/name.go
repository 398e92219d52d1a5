package windows

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

// Member says which domain this computer is a member of, and under which names it knows itself and the domain.
type Member struct {
	directory.Domain
	// DNS and NetBIOS are the domain's names: "corp.example" and "CORP".
	DNS, NetBIOS string
	// Computer has this host's names.
	Computer []string
}

// account is a typed name as LogonUserW takes it: a userPrincipalName without a domain, or both apart.
type account struct{ user, domain string }

var (
	errName  = errors.New(`the name is neither user@domain nor DOMAIN\user of this host's domain`)
	errLocal = errors.New("the name means an account of this computer, or could")
	errUTF8  = errors.New("not valid UTF-8, in which Windows could see another text")
)

// parseName reads a typed name. Spaces around it are ignored, as directories do. Whatever could mean an account of this computer is refused, since
// a wrong password would count there; so are bare names, which Windows looks for there first.
func parseName(typed string, m Member) (account, error) {
	typed = strings.TrimSpace(typed)
	is := func(name string, of ...string) bool {
		return slices.ContainsFunc(of, func(o string) bool { return o != "" && strings.EqualFold(name, o) })
	}
	if !utf8.ValidString(typed) {
		return account{}, errUTF8
	}
	if domain, user, ok := strings.Cut(typed, `\`); ok {
		if !is(domain, m.DNS, m.NetBIOS) || user == "" || strings.ContainsAny(user, `@\`) {
			return account{}, errName
		}
		return account{user, domain}, nil
	}
	i := strings.LastIndexByte(typed, '@')
	if i <= 0 || i == len(typed)-1 {
		return account{}, errName
	}
	if suffix := typed[i+1:]; is(suffix, append([]string{".", "localhost"}, m.Computer...)...) {
		return account{}, errLocal
	}
	return account{user: typed}, nil
}

// wide turns a password into what Windows takes: UTF-16 with a NUL after it. The slice is the caller's to wipe, and no other copy is made.
func wide(password []byte) ([]uint16, error) {
	if !utf8.Valid(password) {
		return nil, errUTF8
	}
	w := make([]uint16, 0, len(password)+1) // UTF-16 has never more units than UTF-8 has bytes
	for len(password) > 0 {
		r, n := utf8.DecodeRune(password)
		w, password = utf16.AppendRune(w, r), password[n:]
	}
	return append(w, 0), nil
}

// belongs reports whether a security identifier is that of an account of the domain, other than its Guest.
func belongs(sid, domain string) bool {
	rid, ok := strings.CutPrefix(sid, domain+"-")
	return ok && domain != "" && rid != "" && rid != guest && strings.Trim(rid, "0123456789") == ""
}

// namingContext turns corp.example into DC=corp,DC=example; "" for no name.
func namingContext(dns string) string {
	if dns == "" {
		return ""
	}
	return "DC=" + strings.ReplaceAll(strings.TrimSuffix(dns, "."), ".", ",DC=")
}
