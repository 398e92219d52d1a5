package envelope

import "time"

// Sizes and times. They are part of the format: a change of one is a new format version.
const (
	// MaxLife is how far ahead of the opener's clock an expiry may lie. A check lives for Life; the rest is for clocks that
	// differ. It bounds how long an agent has to remember requests that it has seen.
	MaxLife = 2 * time.Minute
	// Life is how long services seal for: an expiry lies so far after the sealing, which tells an agent when that was. A
	// delivery lasts seconds; a minute is half of MaxLife, so that an agent's clock may be wrong by a minute in either direction.
	Life = time.Minute
	// MaxName and MaxPassword are the longest name and password in bytes. Active Directory knows passwords of up to 256
	// characters, of at most four bytes each in UTF-8; a user principal name may have 1024 bytes.
	MaxName, MaxPassword = 1024, 1024
	// MaxAttribute is the longest name of an attribute in bytes; Active Directory's longest have some fifty.
	MaxAttribute = 64
	// MaxField is the longest identifier in a [Binding], in bytes; ours have 36.
	MaxField = 128
	// MaxAnswer is the largest sealed answer in bytes: thousands of group names. All that carries answers – link, gateway, queue – makes
	// room for it: an answer that is thrown away on its way is an attempt that counted for nothing.
	MaxAnswer = 128 << 10
	// MinNonce and MaxNonce bound the nonce of a fence, in bytes. Sixteen random bytes never come again.
	MinNonce, MaxNonce = 16, 64
	// FenceNonce is the length of a nonce that an agent of ours makes: random bytes, and the sealed name of an account.
	FenceNonce = MinNonce + 12 + len(Account{}) + 16

	// memoLimit bounds the keys that a Memo remembers: ten thousand agents, at some 4 KB each.
	memoLimit = 10_000

	// padStep is the unit to which what is sealed is padded: one step holds any usual name and password, so that the length
	// of an envelope tells nothing about either. A power of two.
	padStep = 512
)
