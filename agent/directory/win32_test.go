package directory_test

import (
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestFromWin32(t *testing.T) {
	for _, c := range []struct {
		number  uint32
		verdict wire.Reason // "" for none
		win32   int
		words   string
		trouble wire.Code
	}{
		{1326, wire.BadPassword, 1326, "ERROR_LOGON_FAILURE (1326)", 0},
		{1323, wire.BadPassword, 1323, "ERROR_WRONG_PASSWORD (1323)", 0},
		{1909, wire.AccountLocked, 1909, "ERROR_ACCOUNT_LOCKED_OUT (1909)", 0},
		{0xC0000234, wire.AccountLocked, 1909, "ERROR_ACCOUNT_LOCKED_OUT (0xC0000234)", 0},
		{1311, "", 0, "ERROR_NO_LOGON_SERVERS (1311)", wire.DirectoryUnreachable},
		{0x80090322, "", 0, "ERROR_WRONG_TARGET_NAME (0x80090322)", wire.DirectoryUnusable},
		{0x8009033E, "", 0, "SEC_E_SMARTCARD_LOGON_REQUIRED (0x8009033E)", wire.DirectoryUnusable},
		{0xFFFF, "", 0, "a Windows error that is not known here (65535)", wire.DirectoryUnusable},
		{0x10000, "", 0, "a Windows error that is not known here (0x00010000)", wire.DirectoryUnusable},
		{0, "", 0, "a Windows error that is not known here (0)", wire.DirectoryUnusable}, // no row without a Win32 number answers for it
	} {
		v, ok := directory.FromWin32(c.number)
		if ok != (c.verdict != "") || v.Reason != c.verdict || v.Win32 != c.win32 || ok && v.Diagnostic != c.words {
			t.Errorf("%#x: %+v, %v", c.number, v, ok)
		}
		if words := directory.Win32Words(c.number); words != c.words {
			t.Errorf("%#x: %q, want %q", c.number, words, c.words)
		}
		if code := directory.Win32TroubleCode(c.number); !ok && code != c.trouble {
			t.Errorf("%#x: %d, want %d", c.number, code, c.trouble)
		}
	}
	if code := directory.Win32TroubleCode(1326); code != wire.DirectoryUnusable {
		t.Errorf("a verdict is the trouble %d", code)
	}
}
