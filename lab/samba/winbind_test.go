package samba_test

import (
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
)

// Two of them at once, each of which asks its own domain controller.
func TestWinbind(t *testing.T) {
	var all [2]*samba.Winbind
	var dcs [2]*samba.DC
	for i := range all {
		dcs[i] = sambatest.Start(t, samba.Options{}, people.Everybody("corp.example.com")[i])
		all[i] = sambatest.Winbind(t, dcs[i])
	}
	for i, w := range all {
		for j, sam := range []string{"alice", "bob"} {
			for k, password := range []string{people.RightPassword, people.WrongPassword} {
				want := []uint32{0, 0xC000006A}[k]
				if i != j {
					want = 0xC0000064 // nobody of this name
				}
				if status, err := w.Authenticate(t.Context(), sam, password); err != nil || status != want {
					t.Errorf("domain controller %d, %s, %s: 0x%08X, %v; want 0x%08X", i, sam, password, status, err, want)
				}
			}
		}
		if n, err := dcs[i].BadPwdCount(t.Context(), []string{"alice", "bob"}[i]); err != nil || n != 1 {
			t.Errorf("one wrong password counted %d, %v", n, err)
		}
	}
}
