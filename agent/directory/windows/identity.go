package windows

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/wire"
)

// names are what a domain controller calls an account (MS-DRSR 4.1.4, DS_NAME_FORMAT). Empty where the account has none.
type names struct {
	unique  string // "{4fa050f0-f561-11cf-bdd9-00aa003a77b6}", the objectGUID
	upn     string
	account string // CORP\alice
	display string
}

// attributes makes what the service wants to know of the names: the objectGUID, without which there is nothing to hold on to, and the names. Mail
// address, parts of the name and groups are left to LDAP.
func (n names) attributes(m Member) (*wire.Attributes, error) {
	id, err := uuid.Parse(n.unique) // which takes other forms too, and looks at no brace
	if err != nil || !strings.EqualFold(n.unique, "{"+id.String()+"}") || id == uuid.Nil {
		return nil, fmt.Errorf("a domain controller told no objectGUID but %.60q", n.unique)
	}
	a := &wire.Attributes{Anchor: id.String(), UPN: n.upn}
	if a.UPN == "" { // the implicit one (MS-ADTS 5.1.1.1.1)
		_, user, ok := strings.Cut(n.account, `\`)
		if !ok || user == "" {
			return nil, errors.New("a domain controller told neither userPrincipalName nor account name")
		}
		a.UPN = user + "@" + m.DNS
	}
	if len(a.UPN) > maxText || !utf8.ValidString(a.UPN) {
		return nil, errors.New("the userPrincipalName cannot be used")
	}
	if len(n.display) <= maxText && utf8.ValidString(n.display) {
		a.DisplayName = n.display
	}
	return a, nil
}
