package password

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/wire"
)

func secret(s string) wire.Secret { return wire.NewSecret([]byte(s)) }

func TestHashAndVerify(t *testing.T) {
	// "é" once as one character and once as two: the same password from two keyboards.
	const typed, decomposed = "Caf\u00e9 au lait", "Cafe\u0301 au lait"
	phc, err := Hash(t.Context(), secret(typed))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=47104,t=1,p=1$") {
		t.Error(phc)
	}
	again, err := Hash(t.Context(), secret(typed))
	if err != nil || again == phc {
		t.Errorf("two hashes of one password are equal, %v", err)
	}
	for _, test := range []struct {
		phc, password string
		want          bool
	}{
		{phc, typed, true}, {phc, decomposed, true}, {again, typed, true},
		{phc, "Cafe au lait", false}, {phc, typed + " ", false}, {phc, "", false}, {"", typed, false}, {"", "", false},
		{"", strings.Repeat("\x00", hashSize), false},
	} {
		if ok, err := verify(test.phc, secret(test.password)); ok != test.want || err != nil {
			t.Errorf("%q: %v, %v", test.password, ok, err)
		}
	}
}

// The vector is from the test suite of the reference implementation (phc-winner-argon2, test.c): password "password", salt "somesalt".
func TestKnownHash(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := verify(phc, secret("password")); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestUnreadableHashesMatchNothing(t *testing.T) {
	good, err := Hash(t.Context(), secret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, "$")
	change := func(i int, s string) string {
		c := append([]string(nil), parts...)
		c[i] = s
		return strings.Join(c, "$")
	}
	for name, phc := range map[string]string{
		"plain text": "correct horse", "another algorithm": change(1, "argon2i"), "another version": change(2, "v=16"), "bcrypt": "$2b$10$abcdefghijklmnopqrstuv",
		"too much memory": change(3, "m=99999999,t=1,p=1"), "no memory": change(3, "m=0,t=1,p=1"), "too slow": change(3, "m=47104,t=1000000,p=1"),
		"no lanes": change(3, "m=47104,t=1,p=0"), "missing": change(3, "m=47104,t=1"), "swapped": change(3, "t=1,m=47104,p=1"), "negative": change(3, "m=-1,t=1,p=1"),
		"short salt": change(4, "AAAA"), "bad salt": change(4, "!"), "short hash": change(5, "AAAA"), "padded": change(5, parts[5]+"="), "endless": good + strings.Repeat("A", maxHashString),
	} {
		if _, _, _, err := parsePHC(phc); !errors.Is(err, errPHC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ok, err := verify("correct horse", secret("correct horse")); ok || !errors.Is(err, errPHC) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestTurns(t *testing.T) {
	turns := newTurns(3, 1)
	var leaves []func()
	for range 2 {
		leave, ok := turns.try()
		if !ok {
			t.Fatal("no place is free")
		}
		leaves = append(leaves, leave)
	}
	if _, ok := turns.try(); ok {
		t.Error("a name that nobody has took the last place")
	}
	leave, err := turns.wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// All places are taken now. One stands in line, and the next is told at once.
	inLine, result := make(chan struct{}), make(chan error, 1)
	go func() {
		close(inLine)
		leave, err := turns.wait(t.Context())
		if err == nil {
			leave()
		}
		result <- err
	}()
	<-inLine
	for len(turns.line) == 0 {
		runtime.Gosched()
	}
	if _, err := turns.wait(t.Context()); !fault.Has(err, wire.TooManyRequests) {
		t.Errorf("behind a full line: %v", err)
	}
	leave()
	if err := <-result; err != nil {
		t.Errorf("who stood in line: %v", err)
	}
	if leave, err = turns.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.wait(ctx); !fault.Has(err, wire.TooManyRequests) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	leave()
	for _, leave := range leaves {
		leave()
	}
	if _, ok := turns.try(); !ok {
		t.Error("the places were not given back")
	}
}

// TestStrangersLeaveHashesToTheAdministrator takes every place that made-up names can take.
func TestStrangersLeaveHashesToTheAdministrator(t *testing.T) {
	w := newWorld(t)
	u := w.breakGlass(t, "admin@cloud.example")
	for leave, ok := hashes.try(); ok; leave, ok = hashes.try() {
		defer leave()
	}
	wantShown(t, "a made-up name", w.must(t, w.a, "nobody@cloud.example", wrong), wire.UserNotFound, wire.InvalidPassword)
	if n := w.failures(t, w.a, lockout.At("nobody@cloud.example", here)); n != 1 {
		t.Errorf("%d failures of the made-up name", n)
	}
	if got := w.must(t, w.a, "admin@cloud.example", right); !got.Right || got.User.ID != u.ID {
		t.Errorf("the administrator: %+v", got)
	}
}

// TestNetworksHaveABudgetOfHashes: beyond it every name of a cloud domain is refused alike, from that network alone, and a cloud-only
// name among a directory's goes on, since it alone would stand out.
func TestNetworksHaveABudgetOfHashes(t *testing.T) {
	w := newWorld(t)
	w.breakGlass(t, "admin@cloud.example")
	w.breakGlass(t, "admin@corp.example")
	now := time.Now().Add(time.Minute) // ahead of the checks below, which so find nothing refilled
	for range hashBurst {
		if !w.budget.allow(network(home, budgetPrefix), now) {
			t.Fatal("less than the burst")
		}
	}
	for _, name := range []string{"admin@cloud.example", "nobody@cloud.example"} {
		_, err := w.check(t, w.a, name, right)
		wantFault(t, name, err, wire.TooManyRequests)
	}
	if got := w.must(t, w.a, "admin@corp.example", right); !got.Right {
		t.Errorf("among a directory's names: %+v", got)
	}
	if got, err := w.checkFrom(t, t.Context(), w.a, "2001:db8::1", "admin@cloud.example", right); err != nil || !got.Right {
		t.Errorf("another network: %+v, %v", got, err)
	}
	if !w.budget.allow(network(home, budgetPrefix), now.Add(time.Second/hashesPerSecond)) {
		t.Error("the budget does not refill")
	}
	for i := range 3 * maxNetworks {
		w.budget.allow(strconv.Itoa(i), now)
	}
	if n := len(w.budget.young) + len(w.budget.old); n > 2*maxNetworks {
		t.Errorf("%d networks are remembered", n)
	}
}

func TestValidateNew(t *testing.T) {
	for _, test := range []struct {
		password string
		ok       bool
	}{
		{"correct horse", true}, {"Grüße-8", false}, {"Grüße-18", true}, {"1234567", false}, {"", false}, {"aaaaaaaaaaaa", false}, {"éééééééééé", false},
		{"with\x00nul-and-more", false}, {"with\nnewline", false}, {"bad\xffutf8-----", false}, {strings.Repeat("ab", 128), true}, {strings.Repeat("ab", 129), false},
		{strings.Repeat("ab", maxPassword), false},
	} {
		err := ValidateNew(secret(test.password))
		if (err == nil) != test.ok || err != nil && !fault.Has(err, wire.BadRequest) {
			t.Errorf("%.20q: %v", test.password, err)
		}
		if err != nil && len(test.password) > 3 && strings.Contains(err.Error(), test.password) {
			t.Errorf("the password stands in %q", err)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		p, salt, sum, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.memory > maxArgonMemory || p.time > maxArgonTime || p.threads > maxArgonThreads || p.memory*p.time == 0 || p.threads == 0 {
			t.Errorf("parameters %+v", p)
		}
		if p2, salt2, sum2, err := parsePHC(format(p, salt, sum)); err != nil || p2 != p || string(salt2) != string(salt) || string(sum2) != string(sum) {
			t.Errorf("%q does not survive printing", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	phc, err := Hash(b.Context(), secret("correct horse"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := verify(phc, secret("correct horse")); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
