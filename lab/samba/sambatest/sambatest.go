// Package sambatest gives tests a real Active Directory domain controller each. It refuses to pretend: where none can be
// started, the test is skipped with the sentence that says why, and with SALLYPORT_CI=1 in the environment it fails instead.
package sambatest

import (
	"os"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
)

// Start starts a domain controller for one test, filled with the given people, and stops it when the test is over.
func Start(t testing.TB, o samba.Options, everybody ...people.Person) *samba.DC {
	t.Helper()
	Require(t)
	dc, err := samba.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dc.Stop)
	if len(everybody) > 0 {
		if err := dc.Fill(t.Context(), everybody); err != nil {
			t.Fatal(err)
		}
	}
	return dc
}

// Require skips the test when no domain controller can be started here, or fails it when SALLYPORT_CI is 1.
func Require(t testing.TB) {
	t.Helper()
	err := samba.Available()
	if err != nil {
		refuse(t, err)
	}
}

func refuse(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("SALLYPORT_CI") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// Winbind starts winbind beside a domain controller and stops it when the test is over. Where that cannot be, the test is skipped as by
// [Require].
func Winbind(t testing.TB, dc *samba.DC) *samba.Winbind {
	t.Helper()
	if err := samba.WinbindAvailable(); err != nil {
		refuse(t, err)
	}
	w, err := dc.Winbind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}
