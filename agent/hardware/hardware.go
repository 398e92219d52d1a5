// Package hardware makes P-256 keys in this host's security module – a TPM 2.0, on Windows through its platform key provider – and has
// them do their one operation there: to sign, or to agree on a secret.
//
// It refuses to make keys that could leave the module: what it gives out to be kept ([Signer.Blob], [Exchanger.Blob]) opens in the module
// that made it and in no other, and a private key is in this process's memory at no time. It keeps no files, knows no names of agents,
// and chooses no algorithms beyond those two.
//
//	agent/identity ── Create… ──▶ Module ── one command at a time ──▶ TPM
//	 (state folder) ◀── Blob ───    │ Load…   /dev/tpmrm0, a socket, or the Platform Crypto Provider
//	 TLS handshake, HPKE ◀── Sign, ECDH
//
// Caller: agent/identity, whose state folder the blobs are kept in.
package hardware

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The kinds of failure, for errors.Is. Each comes as an [*Error].
var (
	// ErrAbsent: this host has no security module, or not where it was looked for.
	ErrAbsent = errors.New("no security module")
	// ErrDenied: this process's user may not use it.
	ErrDenied = errors.New("no permission to use the security module")
	// ErrLocked: it refuses for a while, after wrong passwords that somebody gave it.
	ErrLocked = errors.New("the security module is locked out")
	// ErrOwned: its owner hierarchy has a password, so nothing can be made there.
	ErrOwned = errors.New("the security module's owner has set a password")
	// ErrForeign: the keys were made in another module.
	ErrForeign = errors.New("the keys are of another security module")
	// ErrCleared: the keys were made in this module, which has been cleared since.
	ErrCleared = errors.New("the security module was cleared, and the keys are gone")
	// ErrBlob: what was kept is no key of this package, or damaged.
	ErrBlob = errors.New("not a key of a security module")
	// ErrFailed: it answered with a failure that has no kind of its own, or not at all.
	ErrFailed = errors.New("the security module failed")
)

// Error is a failure with what to do about it.
type Error struct {
	// Kind is one of the package's Err… values; Cause the failure below, or nil.
	Kind, Cause error
	// What says what was met, Remedy what to do; neither is empty.
	What, Remedy string
}

func (e *Error) Error() string {
	s := e.Kind.Error() + ": " + e.What
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns kind and cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// use is what a key is for. A key has one use, which the module enforces.
type use byte

const (
	signs  use = 1
	agrees use = 2
)

// backend is a module as this platform reaches it. Calls come one at a time; errors are *Error.
type backend interface {
	// create makes a key and returns what is to be kept of it.
	create(use) (blob []byte, err error)
	// load has the module open a blob, and returns the public half once it has.
	load(use, []byte) (*ecdsa.PublicKey, error)
	// sign signs a SHA-256 digest with a key that was loaded before: ASN.1, as ecdsa.VerifyASN1 reads it.
	sign(blob, digest []byte) ([]byte, error)
	// agree returns the x coordinate of the product with peer, 32 bytes.
	agree(blob []byte, peer *ecdh.PublicKey) ([]byte, error)
}

// Module is a security module of this host. Safe for concurrent use; the module itself works on one thing at a time.
type Module struct {
	mu sync.Mutex
	b  backend
}

// modules are those in use, by device: two connections to a module that has no resource manager would stand in one another's way.
var modules = struct {
	sync.Mutex
	of map[string]*Module
}{of: map[string]*Module{}}

// At returns the module behind a device; "" is [DefaultDevice]. It does not look whether there is one: the first use does. A connection to
// it is kept for as long as the process lives.
func At(device string) *Module {
	if device == "" {
		device = DefaultDevice
	}
	modules.Lock()
	defer modules.Unlock()
	m, ok := modules.of[device]
	if !ok {
		m = &Module{b: newBackend(device)}
		modules.of[device] = m
	}
	return m
}

// CreateSigner makes a signing key.
func (m *Module) CreateSigner() (*Signer, error) { return made(m, signs, m.LoadSigner) }

// CreateExchanger makes a key for agreement on secrets.
func (m *Module) CreateExchanger() (*Exchanger, error) { return made(m, agrees, m.LoadExchanger) }

func made[K any](m *Module, u use, load func([]byte) (K, error)) (K, error) {
	m.mu.Lock()
	blob, err := m.b.create(u)
	m.mu.Unlock()
	if err != nil {
		var none K
		return none, err
	}
	return load(blob)
}

// LoadSigner opens what [Signer.Blob] returned.
func (m *Module) LoadSigner(blob []byte) (*Signer, error) {
	k, public, err := m.load(signs, blob)
	if err != nil {
		return nil, err
	}
	return &Signer{k, public}, nil
}

// LoadExchanger opens what [Exchanger.Blob] returned.
func (m *Module) LoadExchanger(blob []byte) (*Exchanger, error) {
	k, public, err := m.load(agrees, blob)
	if err != nil {
		return nil, err
	}
	point, err := public.ECDH()
	if err != nil {
		return nil, badBlob(err)
	}
	return &Exchanger{k, point}, nil
}

func (m *Module) load(u use, blob []byte) (key, *ecdsa.PublicKey, error) {
	if len(blob) > maxBlob {
		return key{}, nil, badBlob(fmt.Errorf("%d bytes", len(blob)))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	public, err := m.b.load(u, blob)
	if err != nil {
		return key{}, nil, err
	}
	return key{m, bytes.Clone(blob)}, public, nil
}

func badBlob(cause error) error {
	return &Error{Kind: ErrBlob, Cause: cause, What: "the file was changed or cut", Remedy: "restore the file, or take new keys: sallyport-agent register --again --key-store tpm, with the token that sallyport agent release NAME shows in the service"}
}

// key is a private key in a module.
type key struct {
	m    *Module
	blob []byte
}

// Blob returns what is to be kept: useless in every module but the one that made it. The slice is the caller's.
func (k key) Blob() []byte { return bytes.Clone(k.blob) }

// Signer is a P-256 key that signs in the module.
type Signer struct {
	key
	public *ecdsa.PublicKey
}

// Public returns an *ecdsa.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256 digest, and no other; rand is not used. The result is ASN.1.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, fmt.Errorf("hardware: a key that signs SHA-256 was asked for %v of %d bytes", opts.HashFunc(), len(digest))
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.b.sign(s.blob, digest)
}

// Exchanger is a P-256 key that agrees on secrets in the module: an [ecdh.KeyExchanger].
type Exchanger struct {
	key
	public *ecdh.PublicKey
}

// PublicKey and Curve are those of the key.
func (x *Exchanger) PublicKey() *ecdh.PublicKey { return x.public }
func (x *Exchanger) Curve() ecdh.Curve          { return ecdh.P256() }

// ECDH returns the secret that peer and this key share (SEC 1, 3.3.1).
func (x *Exchanger) ECDH(peer *ecdh.PublicKey) ([]byte, error) {
	if peer.Curve() != ecdh.P256() {
		return nil, errors.New("hardware: a point of another curve than P-256")
	}
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	return x.m.b.agree(x.blob, peer)
}
