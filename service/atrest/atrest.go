// Package atrest encrypts small secrets that lie in the database (signing keys, the agent CA's key) under a key that does
// not: it is a file of 32 random bytes beside the configuration. A stolen copy of the database, or a backup of it, opens
// nothing without that file.
//
//	key file ── HKDF-SHA256(purpose) ──▶ one AES-256 key for each purpose ── AES-256-GCM ──▶ sealed bytes
//
// A purpose ("signing-key", "agent-ca") names what a secret is for. It is not secret; it makes sure that what was sealed for
// one purpose opens for no other, even when rows are swapped by somebody who can write to the database.
//
// It refuses to know what it seals, to keep anything, and to work with a key file that others can read. It cannot rotate
// the key: losing the file means making new signing keys and a new CA, which the callers say in their own words.
//
// Callers: service/keyring, service/ca and service/canary; the wiring opens the box.
package atrest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// The errors of [Box.Open]. Both are wrapped with more words.
var (
	// ErrFormat says that the bytes were not made by [Box.Seal], or by a newer program.
	ErrFormat = errors.New("atrest: not a sealed secret of a known version")
	// ErrKey says that the bytes were changed, sealed for another purpose, or, most often, sealed under another key.
	ErrKey = errors.New("atrest: the secret does not open: the key file is not the one it was sealed with " +
		"(restore the key file that belongs to this database), or the database was changed")
)

// Box seals and opens secrets. It is safe for concurrent use. The zero value is of no use: see [OpenOrCreate].
type Box struct{ key [KeySize]byte }

// Seal encrypts plaintext for a purpose. The result is overhead bytes longer: version, nonce and tag. A random nonce per call
// is safe for 2^32 secrets of one purpose (NIST SP 800-38D §8.3).
func (b *Box) Seal(purpose string, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxSecret {
		return nil, fmt.Errorf("atrest: %d bytes are more than the %d that are meant to be sealed here", len(plaintext), MaxSecret)
	}
	aead, err := b.aead(purpose)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 1+nonceSize, len(plaintext)+overhead)
	sealed[0] = version
	if _, err := rand.Read(sealed[1:]); err != nil {
		return nil, fmt.Errorf("atrest: %w", err)
	}
	return aead.Seal(sealed, sealed[1:], plaintext, sealed[:1]), nil
}

// Open decrypts what [Box.Seal] made for the same purpose, or returns [ErrFormat] or [ErrKey].
func (b *Box) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead || len(sealed) > MaxSecret+overhead || sealed[0] != version {
		return nil, ErrFormat
	}
	aead, err := b.aead(purpose)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, sealed[1:1+nonceSize], sealed[1+nonceSize:], sealed[:1])
	if err != nil {
		return nil, fmt.Errorf("%w (purpose %q)", ErrKey, purpose)
	}
	return plaintext, nil
}

// aead derives the cipher of one purpose (RFC 5869; the key file is uniformly random, so it needs no salt).
func (b *Box) aead(purpose string) (cipher.AEAD, error) {
	if purpose == "" {
		return nil, errors.New("atrest: a secret needs a purpose")
	}
	key, err := hkdf.Key(sha256.New, b.key[:], nil, "sallyport at rest v1: "+purpose, KeySize)
	if err != nil {
		return nil, fmt.Errorf("atrest: derive the key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("atrest: %w", err)
	}
	return cipher.NewGCM(block)
}

// String keeps the key out of whatever prints a Box.
func (b *Box) String() string { return "[key at rest]" }

// GoString is [Box.String] for %#v.
func (b *Box) GoString() string { return b.String() }
