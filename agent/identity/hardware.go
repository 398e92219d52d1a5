package identity

import (
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sallyport-auth/sallyport/agent/hardware"
	"github.com/sallyport-auth/sallyport/envelope"
)

const (
	hardwareTLSBlock      = "SALLYPORT HARDWARE TLS KEY"
	hardwareEnvelopeBlock = "SALLYPORT HARDWARE ENVELOPE KEY"
)

// hardwareStore has keys in the host's security module. There the TLS key signs, and the elliptic half of the envelope key does its
// exchange. The other half is sealed to that one, opened by the module at each start, and in memory from then on. The files hold nothing that another host's module opens.
//
//	tls.key       the module's blob of the signing key
//	envelope.key  len16(blob of the exchange key) ‖ len16(what envelope.NewDeviceKey returned to be kept)
type hardwareStore struct{ device string }

func (hardwareStore) Kind() string     { return KindTPM }
func (h hardwareStore) Device() string { return h.device }

func (h hardwareStore) Generate() (Keys, error) {
	m := hardware.At(h.device)
	signer, err := m.CreateSigner()
	if err != nil {
		return Keys{}, keyStoreError(err)
	}
	exchanger, err := m.CreateExchanger()
	if err != nil {
		return Keys{}, keyStoreError(err)
	}
	opener, sealed, err := envelope.NewDeviceKey(exchanger)
	if err != nil {
		return Keys{}, keyStoreError(err)
	}
	var b cryptobyte.Builder
	for _, part := range [][]byte{exchanger.Blob(), sealed} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	kept, err := b.Bytes()
	if err != nil {
		return Keys{}, err
	}
	return Keys{TLS: signer, Envelope: opener, kept: kept}, nil
}

func (hardwareStore) Encode(k Keys) (tlsFile, envelopeFile []byte, err error) {
	signer, ok := k.TLS.(*hardware.Signer)
	if !ok || len(k.kept) == 0 {
		return nil, nil, errors.New("not keys of a security module")
	}
	return pem.EncodeToMemory(&pem.Block{Type: hardwareTLSBlock, Bytes: signer.Blob()}),
		pem.EncodeToMemory(&pem.Block{Type: hardwareEnvelopeBlock, Bytes: k.kept}), nil
}

func (h hardwareStore) Decode(tlsFile, envelopeFile []byte) (Keys, error) {
	blob, err := soleBlock(tlsFile, hardwareTLSBlock)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", tlsKeyFile, err)
	}
	kept, err := soleBlock(envelopeFile, hardwareEnvelopeBlock)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", envelopeKeyFile, err)
	}
	exchange, sealed, ok := splitKept(kept)
	if !ok {
		return Keys{}, fmt.Errorf("%s: cut, or too long", envelopeKeyFile)
	}
	m := hardware.At(h.device)
	signer, err := m.LoadSigner(blob)
	if err != nil {
		return Keys{}, keyStoreError(err)
	}
	exchanger, err := m.LoadExchanger(exchange)
	if err != nil {
		return Keys{}, keyStoreError(err)
	}
	opener, err := envelope.ParseDeviceKey(exchanger, sealed)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", envelopeKeyFile, keyStoreError(err))
	}
	return Keys{TLS: signer, Envelope: opener, kept: kept}, nil
}

// splitKept reads the two parts of envelope.key.
func splitKept(kept []byte) (exchange, sealed []byte, ok bool) {
	s := cryptobyte.String(kept)
	ok = s.ReadUint16LengthPrefixed((*cryptobyte.String)(&exchange)) && s.ReadUint16LengthPrefixed((*cryptobyte.String)(&sealed)) && s.Empty()
	return exchange, sealed, ok
}

// keyStoreError words what a module said. What is wrong with the files alone stays an error of the files.
func keyStoreError(err error) error {
	var e *hardware.Error
	if !errors.As(err, &e) || e.Kind == hardware.ErrBlob {
		return err
	}
	kind := ErrKeyStore
	if e.Kind == hardware.ErrForeign || e.Kind == hardware.ErrCleared {
		kind = ErrKeysLost
	}
	return &Error{Kind: kind, Cause: e, Remedy: e.Remedy}
}

// ofDevice reports whether an error says something of a device rather than of the files.
func ofDevice(err error) bool { return errors.Is(err, ErrKeyStore) || errors.Is(err, ErrKeysLost) }

// CheckKeys has the TLS key sign, so that a device that fails is found before the next handshake; the envelope key has been used when the
// identity was opened. Errors: [ErrKeyStore],
// [ErrKeysLost].
func (i *Identity) CheckKeys() error {
	if _, err := signWith(i.key, []byte("sallyport doctor")); err != nil {
		return keyStoreError(err)
	}
	return nil
}
