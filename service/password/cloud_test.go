package password

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

func secret(s string) wire.Secret { return wire.NewSecret([]byte(s)) }

func TestHashAndVerify(t *testing.T) {
	// "é" once as one character and once as two: the same password from two keyboards.
	const typed, decomposed = "Caf\u00e9 au lait", "Cafe\u0301 au lait"
	phc, err := Hash(secret(typed))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=47104,t=1,p=1$") {
		t.Error(phc)
	}
	again, err := Hash(secret(typed))
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
		if ok, err := verify(t.Context(), test.phc, secret(test.password)); ok != test.want || err != nil {
			t.Errorf("%q: %v, %v", test.password, ok, err)
		}
	}
}

// The vector is from the test suite of the reference implementation (phc-winner-argon2, test.c): password "password", salt "somesalt".
func TestKnownHash(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := verify(t.Context(), phc, secret("password")); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestUnreadableHashesMatchNothing(t *testing.T) {
	good, err := Hash(secret("correct horse"))
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
	if ok, err := verify(t.Context(), "correct horse", secret("correct horse")); ok || !errors.Is(err, errPHC) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestHashesWaitForTheirTurn(t *testing.T) {
	for range maxHashes {
		hashes <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := verify(ctx, "", secret("x"))
	for range maxHashes {
		<-hashes
	}
	if !fault.Has(err, wire.TooManyRequests) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := verify(t.Context(), "", secret("x")); err != nil {
		t.Errorf("the places were not given back: %v", err)
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
	phc, err := Hash(secret("correct horse"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := verify(b.Context(), phc, secret("correct horse")); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
