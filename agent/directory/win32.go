package directory

import (
	"fmt"
	"slices"

	"github.com/sallyport-auth/sallyport/wire"
)

// FromWin32 reads what Windows says of a logon that it refused: an error number (MS-ERREF 2.2), or an NTSTATUS or HRESULT where Windows has no other.
// ok is false when that is no verdict; then [Win32TroubleCode] says what it is.
func FromWin32(number uint32) (v wire.Verdict, ok bool) {
	e, _ := byWin32(number)
	if e.Reason == "" {
		return wire.Verdict{}, false
	}
	return wire.Verdict{Reason: e.Reason, Win32: e.Win32, Diagnostic: Win32Words(number)}, true
}

// Win32TroubleCode returns the number of a refusal that [FromWin32] does not take for a verdict.
func Win32TroubleCode(number uint32) wire.Code {
	if e, known := byWin32(number); known && e.Reason == "" {
		return e.Code
	}
	return wire.DirectoryUnusable
}

// Win32Words says which error it was: "ERROR_LOGON_FAILURE (1326)".
func Win32Words(number uint32) string {
	name := "a Windows error that is not known here"
	if e, known := byWin32(number); known {
		name = e.Name
	}
	if number > maxWin32 {
		return fmt.Sprintf("%s (0x%08X)", name, number)
	}
	return fmt.Sprintf("%s (%d)", name, number)
}

// maxWin32 is the largest Win32 number (MS-ERREF 2.2); NTSTATUS and HRESULT of failures have the top bit set.
const maxWin32 = 0xffff

func byWin32(number uint32) (Explanation, bool) {
	for _, e := range table {
		if number != 0 && (uint32(e.Win32) == number || slices.Contains(e.NTStatus, number)) {
			return e.Explanation, true
		}
	}
	return Explanation{}, false
}
