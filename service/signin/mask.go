package signin

import "unicode/utf8"

// loggedName is the name as the log and the sign-in record keep it. People type their password into the name field and notice on
// the next page; such a "name" belongs to no domain of the tenant, and of those that are not known to do so the first letter alone is kept,
// whatever they look like and whatever came of them: a password can hold an @ and a dot.
func loggedName(typed string, known bool) string {
	if known || typed == "" {
		return typed
	}
	_, size := utf8.DecodeRuneInString(typed)
	return typed[:size] + "…"
}
