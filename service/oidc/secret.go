package oidc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// secretBytes is the size of every code and token: 256 bits, out of reach of guessing (RFC 6749 §10.10 asks for 128).
const secretBytes = 32

// newSecret returns a code or token. crypto/rand does not fail.
func newSecret() string {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// isSecret reports whether s has the form of a code or token of ours, in its one canonical spelling. Anything else is refused
// before the database is asked.
func isSecret(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == secretBytes && base64.RawURLEncoding.EncodeToString(b) == s
}

// hashOf is what is stored of a code or token. A plain hash is enough for 256 random bits.
func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// newSalt returns the random half of a successor.
func newSalt() []byte {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b)
	return b
}

// successor derives the refresh token that follows another one. The client may lose an answer and ask again; then it must get
// the same successor, since a second one would fork the chain and blind the detection of re-use. But tokens are stored as
// hashes only, so the successor cannot be looked up. It is computed instead:
//
//	successor = HMAC-SHA-256(key: the presented token, message: label ‖ salt)
//
// The salt is fresh, drawn by the rotation that won the conditional UPDATE and stored in the used token's row; the key is
// the token itself, of which only the hash is stored. So:
//
//   - the database alone yields no successor: it has the salt and not the key;
//   - an old token alone yields none either: it has the key and not the salt;
//   - there is no long-lived secret of a tenant that would have to be kept, rotated and could be lost;
//   - two processes that race for the same token compute the same successor, as only one salt is ever stored.
//
// The salt is erased as soon as the grace time is over or the successor has been used, so that an old token together with a
// later copy of the database does not reveal the tokens that followed. To somebody who has neither half the result is as
// random as a fresh one: HMAC with a 256-bit key is a pseudo-random function.
func successor(token string, salt []byte) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("sallyport refresh successor 1\x00"))
	m.Write(salt)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// halfHash is at_hash: the left half of the access token's SHA-256 (OpenID Connect Core §3.1.3.6; both of our algorithms, ES256
// and RS256, name SHA-256).
func halfHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:sha256.Size/2])
}
