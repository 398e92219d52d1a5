package envelope

import (
	"errors"
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
