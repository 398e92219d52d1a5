package signin

import (
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/wire"
)

// loggedName is the name as the log and the sign-in record keep it. People type their password into the name field and notice on
// the next page; such a "name" belongs to no domain of the tenant, and of those the first letter alone is kept, whatever they
// look like: a password can hold an @ and a dot.
func loggedName(typed string, code wire.Code) string {
	if code != wire.DomainUnknown || typed == "" {
		return typed
	}
	_, size := utf8.DecodeRuneInString(typed)
	return typed[:size] + "…"
}
