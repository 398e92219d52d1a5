package directory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sallyport-auth/sallyport/wire"
)

// Explanation is one situation in all the numbers that it has. Absent numbers are zero or nil.
type Explanation struct {
	// Name is Win32's name of it, or Kerberos', LDAP's or ours where there is no Win32 number.
	Name string
	// Win32 is the error number; in hexadecimal it is the sub-code of Active Directory's LDAP binds.
	Win32 int
	// NTStatus are the NTSTATUS (and SSPI) values of the situation, the usual one first.
	NTStatus []uint32
	// Kerberos are the KDC's error numbers that can come with it; one number can belong to several situations.
	Kerberos []int
	// LDAPResult is the LDAP result code, for situations that have one of their own.
	LDAPResult int
	// Reason is the verdict that it stands for; empty when nobody judged the password.
	Reason wire.Reason
	// Code is this product's number.
	Code wire.Code
	// Words and Remedy say to an administrator what happened and what to do.
	Words, Remedy string
}

// SubCode returns the number as an LDAP diagnostic writes it ("52e"), or "" if there is none.
func (e Explanation) SubCode() string {
	if e.Win32 == 0 {
		return ""
	}
	return strconv.FormatInt(int64(e.Win32), 16)
}

// String returns one line with every number.
func (e Explanation) String() string {
	parts := []string{e.Name}
	if e.Win32 != 0 {
		parts = append(parts, fmt.Sprintf("data %s, Win32 %d", e.SubCode(), e.Win32))
	}
	for _, s := range e.NTStatus {
		parts = append(parts, fmt.Sprintf("NTSTATUS 0x%08X", s))
	}
	for _, k := range e.Kerberos {
		parts = append(parts, fmt.Sprintf("Kerberos %d %s", k, kerberosNames[k]))
	}
	if e.LDAPResult != 0 {
		parts = append(parts, fmt.Sprintf("LDAP result %d", e.LDAPResult))
	}
	parts = append(parts, fmt.Sprintf("code %d", e.Code))
	return strings.Join(parts, ", ") + ": " + e.Words
}

// CodeOf returns this product's number for a verdict: 0 for Accepted, DirectoryUnusable for what is no known reason.
func CodeOf(r wire.Reason) wire.Code {
	if r == wire.Accepted {
		return 0
	}
	for _, e := range table {
		if r != "" && e.Reason == r {
			return e.Code
		}
	}
	return wire.DirectoryUnusable
}

// Explain finds what a number or name means, in any spelling that an administrator meets: "52e", "data 52e", a whole diagnostic
// text, "1326", "0xC000006D", "C000006D", "-1073741715", "50126", "AADSTS50126", "KDC_ERR_PREAUTH_FAILED", "Kerberos 24",
// "LDAP 51", MIT's "KRB5KDC_ERR_PREAUTH_FAILED", or a line of a log with one of them in it, such as this product's own. A spelling can have
// several meanings ("532" is an LDAP sub-code, "18" a KDC error with many causes), and all of them are returned, the likeliest first; none, if
// the number is unknown. The slice is the caller's.
func Explain(question string) []Explanation {
	if len(question) > maxQuestion {
		return nil
	}
	q := strings.ToLower(strings.Trim(question, " \t\r\n\x00\"'.,:;"))
	found, kind := explain(q)
	if len(found) > 0 || kind {
		return found
	}
	words := strings.FieldsFunc(q, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' && c != '-' })
	for _, tells := range []func(string) bool{isStatus, isTelling} { // an NTSTATUS is one situation, where the number beside it is of many
		for _, w := range words {
			if !tells(w) {
				continue
			}
			some, _ := explain(w)
			for _, e := range some {
				if !slices.ContainsFunc(found, func(f Explanation) bool { return f.Name == e.Name }) {
					found = append(found, e)
				}
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// isStatus reports whether a word of a line has the form of an NTSTATUS or HRESULT.
func isStatus(word string) bool {
	return len(word) == len("0xc000006d") && strings.HasPrefix(word, "0x")
}

// isTelling reports whether a word of a line is a number or a name that means something there: words of a sentence, and numbers below a hundred, may
// be anything.
func isTelling(word string) bool {
	digits := strings.ContainsAny(word, "0123456789")
	return strings.HasPrefix(word, "0x") || digits && len(word) >= 3 || strings.ContainsAny(word, "_-")
}

// explain is [Explain] for one spelling, in lower case. kind is true if it says which kind of number it is, and so nothing else.
func explain(q string) (found []Explanation, kind bool) {
	q = mitNames.Replace(q)
	add := func(match func(Explanation) bool) {
		for _, e := range table {
			if match(e.Explanation) && !slices.ContainsFunc(found, func(f Explanation) bool { return f.Name == e.Name }) {
				found = append(found, e.Explanation)
			}
		}
	}
	byWin32 := func(n int) { add(func(e Explanation) bool { return n != 0 && e.Win32 == n }) }
	byKerberos := func(n int) { add(func(e Explanation) bool { return slices.Contains(e.Kerberos, n) }) }
	byStatus := func(n uint32) {
		add(func(e Explanation) bool { return slices.Contains(e.NTStatus, n) })
		// 0x8007xxxx is a Win32 number inside an HRESULT (MS-ERREF 2.1.2).
		if n>>16 == 0x8007 {
			byWin32(int(n & 0xffff))
		}
	}
	byLDAP := func(n int) { add(func(e Explanation) bool { return n != 0 && e.LDAPResult == n }) }
	byCode := func(n int) {
		first := len(found)
		add(func(e Explanation) bool { return e.Code == wire.Code(n) })
		if c, ok := wire.Lookup(wire.Code(n)); ok && len(found)-first != 1 { // what it says of itself, before all that it can stand for
			found = slices.Insert(found, first, Explanation{Name: c.Name, Code: c.Code, Words: c.Meaning, Remedy: c.Remedy})
		}
	}

	// A spelling that says which kind of number it is has one meaning.
	if n, ok := subCode(q); ok {
		byWin32(n)
		return found, true
	}
	for prefix, by := range map[string]func(int){"aadsts": byCode, "kerberos": byKerberos, "krb": byKerberos, "kdc": byKerberos, "kdc_err": byKerberos, "win32": byWin32, "ldap": byLDAP,
		"ldap result": byLDAP, "ldap result code": byLDAP, "ldap error": byLDAP, "code": byCode} {
		if rest, ok := strings.CutPrefix(q, prefix); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(rest)); err == nil {
				by(n)
				return found, true
			}
		}
	}
	if digits, ok := strings.CutPrefix(q, "0x"); ok {
		if n, err := strconv.ParseUint(digits, 16, 32); err == nil {
			byStatus(uint32(n))
			byWin32(int(n))
			byKerberos(int(n)) // Windows' event log writes KDC errors like this
		}
		return found, false
	}
	if n, err := strconv.ParseInt(q, 10, 64); err == nil {
		if n < 0 {
			if n >= -1<<31 {
				byStatus(uint32(n))
			}
			return found, false
		}
		if n <= 1<<31 {
			byWin32(int(n))
			byKerberos(int(n))
			byLDAP(int(n))
			byCode(int(n))
		}
	}
	if n, err := strconv.ParseUint(q, 16, 32); err == nil {
		byStatus(uint32(n))
		byWin32(int(n))
	}
	if q != "" {
		add(func(e Explanation) bool { return strings.EqualFold(e.Name, q) || string(e.Reason) == q })
		for _, c := range wire.Catalogue() {
			if c.Name == q {
				byCode(int(c.Code))
			}
		}
		for name, status := range statusNames {
			if strings.EqualFold(name, q) {
				byStatus(status)
			}
		}
		for n, name := range kerberosNames {
			if strings.EqualFold(name, q) {
				byKerberos(n)
			}
		}
	}
	return found, false
}

// mitNames are the beginnings of MIT's names of KDC errors, which go on as RFC 4120's.
var mitNames = strings.NewReplacer("krb5kdc_err_", "kdc_err_", "krb5krb_", "krb_")
