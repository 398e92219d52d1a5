package directory_test

import (
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestFromKDC(t *testing.T) {
	for _, c := range []struct {
		number int
		status uint32
		want   wire.Reason
		win32  int
	}{
		{24, 0, wire.BadPassword, 1326}, {24, 0xC000006A, wire.BadPassword, 1326}, {6, 0, wire.NoSuchUser, 1317},
		{18, 0xC0000072, wire.AccountDisabled, 1331}, {18, 0xC0000193, wire.AccountExpired, 1793}, {18, 0xC0000234, wire.AccountLocked, 1909},
		{18, 0xC000006F, wire.LogonHours, 1328}, {18, 0, wire.AccountLocked, 1909}, {1, 0, wire.AccountExpired, 1793},
		{23, 0xC0000071, wire.PasswordExpired, 1330}, {23, 0xC0000224, wire.MustChange, 1907},
		{12, 0xC0000070, wire.Workstation, 1329}, {12, 0xC000006E, wire.AccountRestricted, 1327},
		// No verdicts: 23 and 12 alone, numbers and an NTSTATUS that do not belong together, and everything unknown.
		{23, 0, "", 0}, {12, 0, "", 0}, {18, 0xC0000071, "", 0}, {37, 0xC0000072, "", 0}, {18, 0xC0FFEE00, "", 0}, {0, 0, "", 0}, {99, 0, "", 0}, {25, 0, "", 0},
	} {
		v, ok := directory.FromKDC(c.number, c.status)
		if ok != (c.want != "") || v.Reason != c.want || v.Win32 != c.win32 || ok == (v.Diagnostic == "") {
			t.Errorf("%d, %#x: %+v, %v", c.number, c.status, v, ok)
		}
	}
	for _, c := range []struct {
		number int
		status uint32
		want   wire.Code
	}{
		{37, 0, wire.ClockSkew}, {37, 0xC0000133, wire.ClockSkew}, {29, 0, wire.DirectoryUnreachable}, {68, 0, wire.DirectoryUnreachable}, {14, 0, wire.DirectoryUnusable},
		{12, 0, wire.DirectoryUnusable}, {12, 0xC0000413, wire.DirectoryUnusable}, {23, 0, wire.DirectoryUnusable}, {99, 0, wire.DirectoryUnusable}, {18, 0xC0000192, wire.DirectoryUnreachable},
		{18, 0xC0000071, wire.DirectoryUnusable}, {37, 0xC0FFEE00, wire.DirectoryUnusable}, {29, 0xC0FFEE00, wire.DirectoryUnusable}, {18, 0, wire.DirectoryUnusable},
	} {
		if got := directory.KDCTroubleCode(c.number, c.status); got != c.want {
			t.Errorf("%d, %#x: %d, want %d", c.number, c.status, got, c.want)
		}
	}
	for want, got := range map[string]string{
		"KDC_ERR_CLIENT_REVOKED (18)":                      directory.KDCWords(18, 0),
		"KDC_ERR_CLIENT_REVOKED (18), NTSTATUS 0xC0000072": directory.KDCWords(18, 0xC0000072),
		"KRB-ERROR (99), NTSTATUS 0x00000001":              directory.KDCWords(99, 1),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
