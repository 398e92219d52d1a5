package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// Suite is the number of a set of algorithms. Numbers are part of the format and never change their meaning.
type Suite uint16

const (
	// SuiteMLKEM768X25519 is HPKE with MLKEM768-X25519 (X-Wing, draft-ietf-hpke-pq), HKDF-SHA256 and AES-256-GCM.
	SuiteMLKEM768X25519 Suite = 1
	// SuiteMLKEM768P256 is the same with MLKEM768-P256, for keys whose elliptic half is in a device: those know no X25519.
	SuiteMLKEM768P256 Suite = 2
)

// algorithms returns what a suite stands for, or [ErrSuite].
func (s Suite) algorithms() (hpke.KEM, hpke.KDF, hpke.AEAD, error) {
	switch s {
	case SuiteMLKEM768X25519:
		return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM(), nil
	case SuiteMLKEM768P256:
		return hpke.MLKEM768P256(), hpke.HKDFSHA256(), hpke.AES256GCM(), nil
	}
	return nil, nil, nil, fmt.Errorf("%w: %d", ErrSuite, s)
}

// encSize is the length of the encapsulated key of a known suite: an ML-KEM-768 ciphertext, and a key of the curve.
func (s Suite) encSize() int {
	if s == SuiteMLKEM768P256 {
		return 1088 + 65
	}
	return 1088 + 32
}

// keyIDSize is the length of a key id in bytes: enough that nobody finds two keys of one id by chance or by search.
const keyIDSize = 16

// PublicKey is an agent's key as the service knows it. The zero value is no key: its ID is empty and sealing to it fails.
// Safe for concurrent use.
type PublicKey struct {
	suite Suite
	key   hpke.PublicKey
	id    [keyIDSize]byte
}

// ParsePublicKey reads the raw bytes of a suite's public key (RFC 9180 SerializePublicKey; 1216 bytes for suite 1, 1249 for
// suite 2).
// It fails with [ErrSuite] or [ErrKey].
func ParsePublicKey(suite Suite, raw []byte) (PublicKey, error) {
	kem, _, _, err := suite.algorithms()
	if err != nil {
		return PublicKey{}, err
	}
	key, err := kem.NewPublicKey(raw)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: public: %w", ErrKey, err)
	}
	return newPublicKey(suite, key), nil
}

func newPublicKey(suite Suite, key hpke.PublicKey) PublicKey {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint16(nil, uint16(suite)), key.Bytes()...))
	return PublicKey{suite: suite, key: key, id: [keyIDSize]byte(sum[:])}
}

// Bytes returns what [ParsePublicKey] reads; nil for the zero value. The slice is the caller's.
func (k PublicKey) Bytes() []byte {
	if k.key == nil {
		return nil
	}
	return append([]byte(nil), k.key.Bytes()...)
}

// Suite returns the suite of the key; 0 for the zero value.
func (k PublicKey) Suite() Suite { return k.suite }

// ID returns the first 16 bytes of the SHA-256 of suite (two bytes, big-endian) and key, as 32 hexadecimal digits. It is the
// name of the key in headers and logs; empty for the zero value.
func (k PublicKey) ID() string {
	if k.key == nil {
		return ""
	}
	return hex.EncodeToString(k.id[:])
}

// PrivateKey is an agent's own key. The zero value is no key: opening with it fails. Safe for concurrent use. It prints as
// its id, never as its bytes.
type PrivateKey struct {
	key    hpke.PrivateKey
	public PublicKey
}

// GenerateKey makes a key of [SuiteMLKEM768X25519].
func GenerateKey() (PrivateKey, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate envelope key: %w", err)
	}
	return PrivateKey{key: key, public: newPublicKey(SuiteMLKEM768X25519, key.PublicKey())}, nil
}

// NewDeviceKey makes a key of [SuiteMLKEM768P256] whose elliptic half is in a device, which does its one operation. No device knows ML-KEM: the
// seed of that half is made here and sealed to the elliptic half. kept is the seed sealed, of use together with the device alone, and to be
// kept for [ParseDeviceKey]. The key has no Bytes; curve is called concurrently, and its failures come as [ErrDevice], also while opening.
// It fails with [ErrDevice], and with [ErrKey] for a curve other than P-256.
func NewDeviceKey(curve ecdh.KeyExchanger) (k PrivateKey, kept []byte, err error) {
	to, err := hpke.NewDHKEMPublicKey(curve.PublicKey())
	if err != nil {
		return PrivateKey{}, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	seed := make([]byte, mlkem.SeedSize)
	defer clear(seed)
	_, _ = rand.Read(seed) // never fails
	if kept, err = hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(labelSeed), seed); err != nil {
		return PrivateKey{}, nil, fmt.Errorf("seal half an envelope key: %w", err)
	}
	// Read back rather than used as it is: what does not open at the next start must not be registered.
	k, err = ParseDeviceKey(curve, kept)
	return k, kept, err
}

// ParseDeviceKey puts a key of [NewDeviceKey] together again. It fails with [ErrDevice], and with [ErrKey] for what was sealed to another
// key or changed.
func ParseDeviceKey(curve ecdh.KeyExchanger, kept []byte) (PrivateKey, error) {
	if curve.Curve() != ecdh.P256() {
		return PrivateKey{}, fmt.Errorf("%w: the curve is not P-256", ErrKey)
	}
	half := exchanger{curve}
	unsealer, err := hpke.NewDHKEMPrivateKey(half)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	seed, err := hpke.Open(unsealer, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(labelSeed), kept)
	if errors.Is(err, ErrDevice) {
		return PrivateKey{}, err
	}
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: its kept half does not open", ErrKey)
	}
	defer clear(seed)
	lattice, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := hpke.NewHybridPrivateKey(lattice, half)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return PrivateKey{key: key, public: newPublicKey(SuiteMLKEM768P256, key.PublicKey())}, nil
}

// exchanger marks a device's failure, which must not be taken for a damaged envelope.
type exchanger struct{ ecdh.KeyExchanger }

func (x exchanger) ECDH(peer *ecdh.PublicKey) ([]byte, error) {
	z, err := x.KeyExchanger.ECDH(peer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	return z, nil
}

// ParsePrivateKey reads what [PrivateKey.Bytes] wrote. It fails with [ErrSuite] or [ErrKey], whose text shows no byte of it.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	if len(b) < 2 {
		return PrivateKey{}, fmt.Errorf("%w: private: %d bytes", ErrKey, len(b))
	}
	suite := Suite(binary.BigEndian.Uint16(b))
	kem, _, _, err := suite.algorithms()
	if err != nil {
		return PrivateKey{}, err
	}
	key, err := kem.NewPrivateKey(b[2:])
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: private: %d bytes after the suite", ErrKey, len(b)-2)
	}
	return PrivateKey{key: key, public: newPublicKey(suite, key.PublicKey())}, nil
}

// Bytes returns the suite (two bytes, big-endian) and the raw private key (RFC 9180 SerializePrivateKey; a seed of 32 bytes).
// Keep them like a password. It fails with [ErrKey] for the zero value and for a key of [NewDeviceKey].
func (k PrivateKey) Bytes() ([]byte, error) {
	if k.key == nil {
		return nil, fmt.Errorf("%w: no private key", ErrKey)
	}
	raw, err := k.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: export: %w", ErrKey, err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(k.public.suite)), raw...), nil
}

// Public returns the public half.
func (k PrivateKey) Public() PublicKey { return k.public }

// String returns the id of the public half.
func (k PrivateKey) String() string { return "private key " + k.public.ID() }

// GoString returns the same as String, so that %#v does not reach the bytes by reflection.
func (k PrivateKey) GoString() string { return k.String() }
