package directory

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/sallyport-auth/sallyport/wire"
)

// LDAP result codes of a bind (RFC 4511 §4.1.9, appendix A) that mean more than "something else".
const (
	resultSuccess            = 0
	resultInvalidCredentials = 49
)

// FromDiagnostic reads a directory's answer to a bind: the LDAP result code and the diagnostic text of Active Directory, such
// as
//
//	80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v4563
//
// of which only the hexadecimal number after "data" matters; identifiers and versions differ from one server to the next, and the text may end
// in NUL. ok is false when the answer is no verdict: any result code but success and invalidCredentials, or a number that
// is not known to be a judgement. Then [TroubleCode] says what it is.
//
// invalidCredentials without any number is what directories other than AD say of a wrong name or password (RFC 4511 §A.1.3),
// and is taken for that.
func FromDiagnostic(ldapResultCode int, text string) (v wire.Verdict, ok bool) {
	if ldapResultCode == resultSuccess {
		return wire.Verdict{Reason: wire.Accepted}, true
	}
	if ldapResultCode != resultInvalidCredentials {
		return wire.Verdict{}, false
	}
	win32, found := subCode(text)
	if !found {
		return wire.Verdict{Reason: wire.BadPassword, Diagnostic: Shown(text)}, true
	}
	for _, e := range table {
		if e.ldap && e.Win32 == win32 && e.Reason != "" {
			return wire.Verdict{Reason: e.Reason, Win32: win32, Diagnostic: Shown(text)}, true
		}
	}
	return wire.Verdict{}, false
}

// TroubleCode returns the number of an answer that [FromDiagnostic] does not take for a verdict.
func TroubleCode(ldapResultCode int, text string) wire.Code {
	if ldapResultCode == resultInvalidCredentials {
		if win32, found := subCode(text); found {
			for _, e := range table {
				if e.Win32 == win32 && e.Reason == "" {
					return e.Code
				}
			}
		}
		return wire.DirectoryUnusable
	}
	for _, e := range table {
		if e.LDAPResult == ldapResultCode && ldapResultCode != 0 {
			return e.Code
		}
	}
	return wire.DirectoryUnusable
}

// subCode finds the number after the first "data " that one follows.
func subCode(text string) (win32 int, found bool) {
	cut := len(text) > maxDiagnostic
	if cut {
		text = text[:maxDiagnostic]
	}
	for {
		_, after, ok := strings.Cut(text, "data ")
		if !ok {
			return 0, false
		}
		digits := 0
		for digits < len(after) && isHex(after[digits]) {
			digits++
		}
		ends := digits < len(after) && !goesOn(after[digits]) || digits == len(after) && !cut
		if digits > 0 && digits <= maxSubCode && ends {
			n, err := strconv.ParseUint(after[:digits], 16, 32)
			return int(n), err == nil
		}
		text = after
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// goesOn reports whether what follows hexadecimal digits makes them part of a word.
func goesOn(c byte) bool {
	return c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z' || c == '_'
}

// Shown shortens what a directory said and takes out whatever is not printable, so that it can go into logs and records.
func Shown(text string) string {
	if len(text) > maxDiagnostic {
		text = text[:maxDiagnostic]
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			continue
		}
		if n++; n > maxShown {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
