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

// TwoControllers starts two domain controllers of one domain, in a network, filled with the given people, whom both know when it
// returns. It takes about ten seconds, so a package should not do it often.
func TwoControllers(t testing.TB, o samba.Options, everybody ...people.Person) (first, second *samba.DC) {
	t.Helper()
	o.Network = network(t, false)
	first = Start(t, o, everybody...)
	o.Join = first
	second = Start(t, o)
	for _, way := range [][2]*samba.DC{{first, second}, {second, first}} {
		if err := way[0].AwaitReplicated(t.Context(), way[1]); err != nil {
			t.Fatal(err)
		}
	}
	return first, second
}

// TwoForests starts a domain controller each for the realms CORP.EXAMPLE.COM and PARTNER.TEST, in a network. They do not trust each
// other yet; [samba.DC.Trust] makes them.
func TwoForests(t testing.TB) (corp, partner *samba.DC) {
	t.Helper()
	o := samba.Options{Network: network(t, true), Trusts: true}
	corp = Start(t, o)
	o.Realm = "PARTNER.TEST"
	return corp, Start(t, o)
}

// network makes a network for one test.
func network(t testing.TB, trusts bool) *samba.Network {
	t.Helper()
	RequireNetwork(t, trusts)
	n, err := samba.NewNetwork(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// Require skips the test when no domain controller can be started here, or fails it when SALLYPORT_CI is 1.
func Require(t testing.TB) {
	t.Helper()
	err := samba.Available()
	if err != nil {
		refuse(t, err)
	}
}

// RequireNetwork does the same for a network, and with trusts for domain controllers that trust each other.
func RequireNetwork(t testing.TB, trusts bool) {
	t.Helper()
	if err := samba.NetworkAvailable(trusts); err != nil {
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
