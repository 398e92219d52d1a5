package main

import (
	"fmt"
	"strings"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

type explainCommand struct {
	Code []string `arg:"" help:"A number or sub-code: 1328, 0xC000006E, 52e, 50126, 90020; or what a directory said."`
}

// Help is printed below the flags.
func (explainCommand) Help() string {
	return `Examples:
  sallyport-agent explain 1328          a Win32 error of a logon
  sallyport-agent explain 52e           what an LDAP bind says behind "data"
  sallyport-agent explain 0xC0000234    an NTSTATUS
  sallyport-agent explain kerberos 24   a KDC error; by its name too: KDC_ERR_PREAUTH_FAILED
  sallyport-agent explain 90020         a number on Sallyport's error page
  sallyport-agent explain "KDC_ERR_CLIENT_REVOKED (18), NTSTATUS 0xC0000072"     what stands in a log`
}

// Run is called by kong.
func (e *explainCommand) Run(term *terminal) error {
	asked := strings.Join(e.Code, " ")
	found := directory.Explain(asked)
	if len(found) == 0 {
		return fmt.Errorf("nothing is known of %q: numbers of Win32, NTSTATUS, Kerberos, LDAP binds, Entra and Sallyport are", asked)
	}
	for i, x := range found {
		if i > 0 {
			fmt.Fprintln(term.out)
		}
		fmt.Fprintf(term.out, "%s\n", x)
		if x.Remedy != "" {
			fmt.Fprintf(term.out, "  what to do: %s\n", x.Remedy)
		}
		if entry, ok := wire.Lookup(x.Code); ok {
			fmt.Fprintf(term.out, "  %d %s; the person sees: %s\n", entry.Code, entry.Name, entry.Public)
		}
	}
	return nil
}
