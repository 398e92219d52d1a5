package hardware

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// TestFormsOfCNG holds the forms that Windows uses to those of Go.
func TestFormsOfCNG(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for u, magic := range map[use]string{signs: "ECS1", agrees: "ECK1"} {
		blob := cngPublic(u, point)
		if len(blob) != 72 || string(blob[:4]) != magic {
			t.Errorf("%d: %x", u, blob)
		}
		if again, err := parseCNGPublic(u, blob); err != nil || !again.Equal(&key.PublicKey) {
			t.Errorf("%d: read back: %v", u, err)
		}
		if _, err := parseCNGPublic(signs+agrees-u, blob); err == nil {
			t.Error("a key of another use is read")
		}
		off := bytes.Clone(blob)
		off[71] ^= 1
		for _, b := range [][]byte{nil, blob[:71], append(bytes.Clone(blob), 0), off} {
			if _, err := parseCNGPublic(u, b); err == nil {
				t.Errorf("%x is read", b)
			}
		}
	}
	digest := sha256.Sum256([]byte("x"))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature, err := cngSignature(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
		t.Errorf("the signature does not hold: %v", err)
	}
	secret := append(make([]byte, 31), 7)
	if got, err := cngSecret(secret); err != nil || !bytes.Equal(got, append([]byte{7}, make([]byte, 31)...)) {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := cngSecret(secret[1:]); err == nil {
		t.Error("a short secret is taken")
	}
	if _, err := cngSignature(secret); err == nil {
		t.Error("a short signature is taken")
	}
}
