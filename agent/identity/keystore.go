package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// Keys are an agent's two private keys.
type Keys struct {
	// TLS signs in handshakes and certificate requests. Its public half is of a kind that the service's authority accepts.
	TLS crypto.Signer
	// Envelope opens envelopes.
	Envelope envelope.PrivateKey

	// kept is the contents of the envelope key's file where Envelope cannot be written down.
	kept []byte
}

// KeyStore makes private keys and says how they are kept. The state folder holds one file for each key; what is in them is the
// store's affair: the key itself, or what a device needs to find or unwrap it. Implementations are safe for concurrent use.
type KeyStore interface {
	// Kind is the store's name in agent.json and in the fleet: KindFile or KindTPM.
	Kind() string
	// Device says which of several devices of the kind the keys are in; empty for the usual one and for files.
	Device() string
	// Generate makes a fresh pair, which is kept nowhere yet.
	Generate() (Keys, error)
	// Encode returns the contents of the two files for a pair of this store. The caller clears them after writing.
	Encode(Keys) (tlsFile, envelopeFile []byte, err error)
	// Decode is the inverse of Encode. Its errors quote nothing of the files; what a device says is an ErrKeyStore or
	// ErrKeysLost.
	Decode(tlsFile, envelopeFile []byte) (Keys, error)
}

// The kinds of key store.
const (
	// KindFile keeps keys as files which the agent's user alone may read.
	KindFile = wire.KeyStoreFile
	// KindTPM has keys made and used in this host's TPM, which they cannot leave.
	KindTPM = wire.KeyStoreTPM
)

// storeOf finds a key store; the kind "" is KindFile, the device "" the usual one.
func storeOf(kind, device string) (KeyStore, error) {
	switch {
	case kind == KindTPM && len(device) <= maxText:
		return hardwareStore{device}, nil
	case kind == KindTPM:
		return nil, errors.New("too long a name for a device")
	case device != "":
		return nil, fmt.Errorf("a device is named, which belongs to key store %s alone", KindTPM)
	case kind == KindFile, kind == "":
		return fileStore{}, nil
	}
	return nil, fmt.Errorf("this program has no key store %q", kind)
}

// fileStore keeps a P-256 key as PKCS #8 and an envelope key as its raw bytes, both in PEM.
type fileStore struct{}

func (fileStore) Kind() string   { return KindFile }
func (fileStore) Device() string { return "" }

func (fileStore) Generate() (Keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("making the TLS key: %w", err)
	}
	opener, err := envelope.GenerateKey()
	if err != nil {
		return Keys{}, fmt.Errorf("making the envelope key: %w", err)
	}
	return Keys{TLS: key, Envelope: opener}, nil
}

func (fileStore) Encode(k Keys) (tlsFile, envelopeFile []byte, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(k.TLS)
	if err != nil {
		return nil, nil, err
	}
	defer clear(key)
	opener, err := k.Envelope.Bytes()
	if err != nil {
		return nil, nil, err
	}
	defer clear(opener)
	return pem.EncodeToMemory(&pem.Block{Type: tlsKeyBlock, Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: envelopeKeyBlock, Bytes: opener}), nil
}

func (fileStore) Decode(tlsFile, envelopeFile []byte) (Keys, error) {
	key, err := parseTLSKey(tlsFile)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", tlsKeyFile, err)
	}
	opener, err := parseEnvelopeKey(envelopeFile)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", envelopeKeyFile, err)
	}
	return Keys{TLS: key, Envelope: opener}, nil
}

// samePublic reports whether a signer's public half is the given one.
func samePublic(s crypto.Signer, public crypto.PublicKey) bool {
	k, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(public)
}

var errNoSigner = errors.New("a key and a certificate are needed")
