package directory

import (
	"fmt"
	"slices"

	"github.com/sallyport-auth/sallyport/wire"
)

// KDC error numbers that are judgements by themselves, without an NTSTATUS beside them (RFC 4120 §7.5.9).
const (
	kdcNameExpired        = 1
	kdcUnknown            = 6
	kdcRevoked            = 18
	kdcWrongProof         = 24
	noStatus       uint32 = 0
)

// FromKDC reads a KDC's refusal: the number of its KRB-ERROR, and the NTSTATUS that came with it (MS-KILE 2.2.2), 0 if none did. ok is
// false when that is no verdict; then [KDCTroubleCode] says what it is.
//
// Where a number can mean several things the NTSTATUS decides, and without one nothing is guessed, but for 18: Samba gives it alone
// for a locked account and with an NTSTATUS for all others. 23 alone proves nothing, since KDCs differ on whether they look at the password first.
func FromKDC(number int, status uint32) (v wire.Verdict, ok bool) {
	reason := wire.Reason("")
	switch {
	case number == kdcWrongProof:
		reason = wire.BadPassword
	case number == kdcUnknown:
		reason = wire.NoSuchUser
	case status != noStatus:
		for _, e := range table {
			if e.Reason != "" && slices.Contains(e.NTStatus, status) && slices.Contains(e.Kerberos, number) {
				reason = e.Reason
				break
			}
		}
	case number == kdcNameExpired:
		reason = wire.AccountExpired
	case number == kdcRevoked:
		reason = wire.AccountLocked
	}
	for _, e := range table {
		if reason != "" && e.Reason == reason {
			return wire.Verdict{Reason: reason, Win32: e.Win32, Diagnostic: KDCWords(number, status)}, true
		}
	}
	return wire.Verdict{}, false
}

// KDCTroubleCode returns the number of a refusal that [FromKDC] does not take for a verdict.
func KDCTroubleCode(number int, status uint32) wire.Code {
	for _, e := range table {
		if e.Reason == "" && (slices.Contains(e.NTStatus, status) || status == noStatus && slices.Contains(e.Kerberos, number)) {
			return e.Code
		}
	}
	return wire.DirectoryUnusable
}

// KDCWords says which refusal it was: "KDC_ERR_CLIENT_REVOKED (18), NTSTATUS 0xC0000072".
func KDCWords(number int, status uint32) string {
	name := kerberosNames[number]
	if name == "" {
		name = "KRB-ERROR"
	}
	text := fmt.Sprintf("%s (%d)", name, number)
	if status != noStatus {
		text += fmt.Sprintf(", NTSTATUS 0x%08X", status)
	}
	return text
}
