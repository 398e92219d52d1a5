package canary

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// dice are random numbers that nobody can foretell: an agent that knew when its probe comes, or with what, could be honest then.
type dice struct{}

// float is uniform in [0, 1).
func (dice) float() float64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

// below is uniform in [0, n).
func (d dice) below(n int) int { return int(d.float() * float64(n)) }

// The pieces of passwords as people make them: words that can be spoken, capitals, numbers, a sign.
const (
	consonants = "bcdfghjklmnprstvwz"
	vowels     = "aeiou"
	digits     = "0123456789"
	signs      = "!!!!..-_#$%&*+?"
)

// invent makes a password that looks like a person's, and that nobody has: each has one of 2^45 others at least.
func (d dice) invent() []byte {
	var p []byte
	pick := func(from string) { p = append(p, from[d.below(len(from))]) }
	for range 2 + d.below(2) {
		start := len(p)
		for range 3 + d.below(2) {
			pick(consonants)
			pick(vowels)
		}
		if d.below(3) > 0 {
			p[start] -= 'a' - 'A'
		}
		if d.below(4) == 0 {
			pick(signs)
		}
	}
	for range 2 + d.below(4) {
		pick(digits)
	}
	if d.below(2) == 0 {
		pick(signs)
	}
	return p
}

// trace is a traceparent as sign-ins have (W3C Trace Context, version 00).
func (dice) trace() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"
}

// pause is the time to an agent's next probe; u is uniform in [0, 1).
func pause(every time.Duration, u float64) time.Duration {
	return time.Duration(float64(every) * (1 - spread + 2*spread*u))
}
