package envelope

import (
	"errors"
	"strconv"
	"testing"
)

func TestMemo(t *testing.T) {
	var m Memo
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	raw := key.Public().Bytes()
	for range 2 {
		if got, err := m.Parse(SuiteMLKEM768X25519, raw); err != nil || got.ID() != key.Public().ID() {
			t.Errorf("%v, %v", got.ID(), err)
		}
	}
	// The caller's bytes are the caller's: changing them changes nothing that is remembered.
	kept := string(raw)
	raw[0] ^= 1
	if got, err := m.Parse(SuiteMLKEM768X25519, []byte(kept)); err != nil || got.ID() != key.Public().ID() {
		t.Errorf("%v, %v", got.ID(), err)
	}
	for range 2 {
		if _, err := m.Parse(SuiteMLKEM768X25519, raw[:10]); !errors.Is(err, ErrKey) {
			t.Errorf("a short key: %v", err)
		}
		if _, err := m.Parse(99, []byte(kept)); !errors.Is(err, ErrSuite) {
			t.Errorf("another suite: %v", err)
		}
	}
	if len(m.keys) != 1 {
		t.Errorf("%d keys are remembered", len(m.keys))
	}
}

// What is remembered is not parsed again, and of more keys than the limit all are forgotten but the newest.
func TestMemoRemembers(t *testing.T) {
	one, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	two, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var m Memo
	parse := func(raw []byte) PublicKey {
		t.Helper()
		k, err := m.Parse(SuiteMLKEM768X25519, raw)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	parse(one.Public().Bytes())
	m.keys[memoKey{SuiteMLKEM768X25519, "no key"}] = two.Public() // what parsing would never give
	if k := parse([]byte("no key")); k.ID() != two.Public().ID() {
		t.Errorf("parsed %s", k.ID())
	}
	for i := len(m.keys); i < memoLimit-1; i++ {
		m.keys[memoKey{raw: strconv.Itoa(i)}] = PublicKey{}
	}
	parse(two.Public().Bytes())
	if len(m.keys) != memoLimit {
		t.Errorf("%d keys before the limit is passed", len(m.keys))
	}
	delete(m.keys, memoKey{SuiteMLKEM768X25519, string(one.Public().Bytes())})
	m.keys[memoKey{raw: "in its place"}] = PublicKey{}
	if parse(one.Public().Bytes()); len(m.keys) != 1 {
		t.Errorf("%d keys after it", len(m.keys))
	}
}

func BenchmarkParse(b *testing.B) {
	key, err := GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	raw := key.Public().Bytes()
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			_, _ = ParsePublicKey(SuiteMLKEM768X25519, raw)
		}
	})
	b.Run("remembered", func(b *testing.B) {
		var m Memo
		for b.Loop() {
			_, _ = m.Parse(SuiteMLKEM768X25519, raw)
		}
	})
}
