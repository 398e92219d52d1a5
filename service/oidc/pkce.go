package oidc

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// challengeLength is the length of an S256 challenge: 32 bytes in base64url (RFC 7636 §4.2).
const challengeLength = 43

// isChallenge reports whether s can be an S256 challenge.
func isChallenge(s string) bool {
	if len(s) != challengeLength {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// isVerifier reports whether s has the form of a code verifier: 43 to 128 unreserved characters (RFC 7636 §4.1).
func isVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}

// verifies reports whether the verifier belongs to the challenge (RFC 7636 §4.6, method S256, the only one).
func verifies(verifier, challenge string) bool {
	if !isVerifier(verifier) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(challenge)) == 1
}
