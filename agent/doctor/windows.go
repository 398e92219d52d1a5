package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/wire"
)

// hostLook is what Windows answers to questions that concern nobody.
type hostLook struct {
	none   error // there is no validator
	check  error // of a made-up name
	domain directory.Domain
	nobody error // no domain controller is known
}

func lookAtWindows(ctx context.Context, c windows.Config) (l hostLook) {
	v, err := windows.New(c)
	if err != nil {
		return hostLook{none: err}
	}
	ctx, cancel := context.WithTimeout(ctx, windowsFor)
	defer cancel()
	l.check = v.SelfCheck(ctx)
	l.domain, l.nobody = v.Prove(ctx)
	return l
}

// judgeWindows says whether this host may judge passwords.
func judgeWindows(l hostLook) []Finding {
	const check = "windows"
	if l.none != nil {
		return []Finding{{Error, check, "", l.none.Error(), "Use --validator ldap or kerberos."}}
	}
	var all []Finding
	switch {
	case errors.Is(l.check, windows.ErrCredulous):
		entry, _ := wire.Lookup(wire.HostCredulous)
		all = append(all, Finding{Error, check, "self-check", l.check.Error(), entry.Remedy})
	case l.check != nil:
		all = append(all, Finding{Error, check, "self-check", l.check.Error(), "Have the host find and reach its domain controllers: nltest /dsgetdc and nltest /sc_verify."})
	default:
		all = append(all, Finding{OK, check, "self-check", "a made-up name is refused", ""})
	}
	if l.nobody != nil {
		return append(all, Finding{Error, check, "domain", l.nobody.Error(), "Have the host find and reach its domain controllers: nltest /dsgetdc and nltest /sc_verify."})
	}
	return append(all, Finding{OK, check, "domain", fmt.Sprintf("this computer is a member of %s; Windows named %s", l.domain, l.domain.DC), ""})
}
