package identity

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRenewAtIsSpread: a fleet whose certificates were made in one moment renews evenly over a sixth of their life, each certificate at
// one moment whatever is asked and how often.
func TestRenewAtIsSpread(t *testing.T) {
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	end := begin.Add(30 * 24 * time.Hour)
	const agents, tenths = 10_000, 10
	var buckets [tenths]int
	for range agents {
		var serial [20]byte
		_, _ = rand.Read(serial[:])
		s := hex.EncodeToString(serial[:])
		at := RenewAt(begin, end, s)
		if at != RenewAt(begin, end, s) {
			t.Fatal("two moments for one certificate")
		}
		after := at.Sub(begin)
		if after < 20*24*time.Hour || after >= 25*24*time.Hour {
			t.Fatalf("after %v", after)
		}
		buckets[(after-20*24*time.Hour)*tenths/(5*24*time.Hour)]++
	}
	for i, n := range buckets {
		if n < agents/tenths*8/10 || n > agents/tenths*12/10 { // six standard deviations
			t.Errorf("%d of %d agents in the tenth %d: %v", n, agents, i, buckets)
		}
	}
}

func TestCounterRisesOverRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := Save(dir, newIdentity(t), false); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for range 3 {
		k, err := OpenKeeper(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, n, err := k.Show()
			if err != nil || n <= last {
				t.Fatalf("%d after %d, %v", n, last, err)
			}
			last = n
		}
		if _, err := OpenKeeper(dir); !errors.Is(err, ErrInUse) {
			t.Errorf("a second one on the folder: %v", err)
		}
		k.Close()
	}
	if _, n, err := KeepInMemory(newIdentity(t)).Show(); n != 0 || err != nil {
		t.Errorf("in memory: %d, %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(dir, counterFile), []byte("-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeeper(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("a counter that is none: %v", err)
	}
}

func FuzzCounter(f *testing.F) {
	f.Add([]byte("00000000000000000042\n"))
	f.Add([]byte("18446744073709551615"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, err := parseCounter(text); err == nil && int64(n) < 0 {
			t.Errorf("%q is %d, which the service cannot keep", text, n)
		}
	})
}

// TestKeysAreKeptForAWhile: what was sealed to a replaced key a moment ago can be opened, and later not.
func TestKeysAreKeptForAWhile(t *testing.T) {
	ca, key := newAuthority(t), newKey(t)
	id, err := New(goodFacts(), key, chainFor(t, ca, key.Public()), newEnvelopeKey(t))
	if err != nil {
		t.Fatal(err)
	}
	k, now := KeepInMemory(id), time.Now()
	fresh, err := k.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	cert := ca.issue(t, fresh.keys.TLS.Public(), nil)
	if err := k.Accept(fresh, [][]byte{cert.Raw, ca.cert.Raw}, now); err != nil {
		t.Fatal(err)
	}
	old, next := id.EnvelopeKey().Public().ID(), fresh.EnvelopeKey().ID()
	opens := func(id string, at time.Time) bool { _, ok := k.EnvelopeKey(id, at); return ok }
	if !opens(old, now) || !opens(next, now) || opens("x", now) {
		t.Error("before it is confirmed")
	}
	if renewed, err := k.Confirmed(cert.SerialNumber.Text(16), now); !renewed || err != nil {
		t.Fatal(renewed, err)
	}
	if !opens(old, now.Add(keysKept-time.Second)) || opens(old, now.Add(keysKept)) || !opens(next, now.Add(24*time.Hour)) {
		t.Error("after it was confirmed")
	}
	if renewed, _ := k.Confirmed(cert.SerialNumber.Text(16), now); renewed {
		t.Error("renewed twice")
	}
}

// TestAcceptRefuses: a certificate for another key, or of another agent, changes nothing.
func TestAcceptRefuses(t *testing.T) {
	k := KeepInMemory(newIdentity(t))
	fresh, err := k.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	for name, chain := range map[string][][]byte{"none": nil, "another key's": {newAuthority(t).issue(t, newKey(t).Public(), nil).Raw}, "not one": {[]byte("x")}} {
		if err := k.Accept(fresh, chain, time.Now()); !errors.Is(err, ErrAnswer) || k.Pending() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
