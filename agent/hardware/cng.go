package hardware

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The forms of Windows' CNG (bcrypt.h), apart from the calls, so that they are tested everywhere.

// The magic numbers of a BCRYPT_ECCKEY_BLOB, by use.
var cngMagic = map[use]uint32{signs: 0x31534345, agrees: 0x314b4345} // BCRYPT_ECDSA_PUBLIC_P256_MAGIC, BCRYPT_ECDH_PUBLIC_P256_MAGIC

var errCNG = errors.New("not of the form or length that it must have")

// cngPublic writes an uncompressed point (4 ‖ x ‖ y) as a BCRYPT_ECCKEY_BLOB: magic and length of a coordinate, little-endian, x and y.
func cngPublic(u use, point []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, cngMagic[u])
	return append(binary.LittleEndian.AppendUint32(b, 32), point[1:]...)
}

// parseCNGPublic is the inverse of cngPublic, and holds the point to the curve.
func parseCNGPublic(u use, b []byte) (*ecdsa.PublicKey, error) {
	if len(b) != 8+64 || binary.LittleEndian.Uint32(b) != cngMagic[u] || binary.LittleEndian.Uint32(b[4:]) != 32 {
		return nil, errCNG
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, b[8:]...))
}

// cngSecret turns what BCRYPT_KDF_RAW_SECRET gives, least significant byte first, into the usual order.
func cngSecret(b []byte) ([]byte, error) {
	if len(b) != 32 {
		return nil, errCNG
	}
	s := slices.Clone(b)
	slices.Reverse(s)
	return s, nil
}

// cngSignature turns r ‖ s into ASN.1.
func cngSignature(b []byte) ([]byte, error) {
	if len(b) != 64 {
		return nil, errCNG
	}
	return signatureOf(b[:32], b[32:])
}

// signatureOf writes a signature as certificates have it: ASN.1, r and s.
func signatureOf(r, s []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(r))
		b.AddASN1BigInt(new(big.Int).SetBytes(s))
	})
	return b.Bytes()
}
