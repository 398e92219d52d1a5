package password

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// breakGlass makes the administrator whose password is checked here.
func (w *world) breakGlass(t *testing.T, upn string) user.User {
	t.Helper()
	u, err := w.users.Create(t.Context(), w.a, user.User{UPN: upn, Source: user.CloudOnly, Role: user.Administrator}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	phc, err := Hash(t.Context(), secret(right))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.users.SetPasswordHash(t.Context(), w.a, u.ID, phc, time.Now()); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestNobodyElsewhereLocksTheAdministratorOut guesses until the account is locked, and again whenever the lock ends.
func TestNobodyElsewhereLocksTheAdministratorOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := context.Background()
		for _, upn := range []string{"admin@cloud.example", "admin@corp.example"} {
			u := w.breakGlass(t, upn)
			for _, elsewhere := range []string{"198.51.100.7", "2001:db8:1:2::3"} {
				for range w.guard.Policy().Threshold + 1 {
					if _, err := w.checkFrom(t, ctx, w.a, elsewhere, upn, wrong); err != nil {
						t.Fatal(err)
					}
				}
				got, err := w.checkFrom(t, ctx, w.a, elsewhere, upn, right)
				if err != nil {
					t.Fatal(err)
				}
				wantShown(t, "from the guesser's network", got, wire.AccountLockedOut, wire.InvalidPassword)
			}
			// The guesser's other addresses of one IPv6 site are one network.
			got, err := w.checkFrom(t, ctx, w.a, "2001:db8:1:ffff::9", upn, right)
			if err != nil {
				t.Fatal(err)
			}
			wantShown(t, "from the same site", got, wire.AccountLockedOut, wire.InvalidPassword)
			for _, own := range []string{home, "2001:db8:2::1"} {
				if got, err := w.checkFrom(t, ctx, w.a, own, upn, right); err != nil || !got.Right {
					t.Errorf("%s from %s: %+v, %v", upn, own, got, err)
				}
			}
			// Unlocking ends all locks.
			if err := w.guard.Clear(ctx, w.a, u.ID); err != nil {
				t.Fatal(err)
			}
			if got, err := w.checkFrom(t, ctx, w.a, "198.51.100.7", upn, right); err != nil || !got.Right {
				t.Errorf("%s after unlocking: %+v, %v", upn, got, err)
			}
		}
		// What a directory counts everywhere, we count everywhere.
		w.agent(t, w.a, w.dirA, w.ad.Agent)
		for range w.guard.Policy().Threshold {
			if _, err := w.checkFrom(t, ctx, w.a, "198.51.100.7", name, wrong); err != nil {
				t.Fatal(err)
			}
		}
		wantShown(t, "a directory's user", w.must(t, w.a, name, right), wire.AccountLockedOut, wire.InvalidPassword)
	})
}

func TestNetwork(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{"192.0.2.1", "192.0.2.1/32"}, {"::ffff:192.0.2.1", "192.0.2.1/32"}, {"2001:db8:1:2:3::4", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::/48"}, {"", ""}, {"pipe", ""},
	} {
		if got := network(test.address, lockoutPrefix); got != test.want {
			t.Errorf("%q: %q, want %q", test.address, got, test.want)
		}
	}
	if lockout.At("a", "") != "a" || lockout.At("a", "x") == lockout.At("a", "y") {
		t.Error("networks are not kept apart")
	}
}
