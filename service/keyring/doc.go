// Package keyring keeps the keys that sign tokens, one line of keys for each tenant and algorithm, and turns them over so that
// no client is ever surprised.
//
// It signs ([Ring.Sign]), publishes ([Ring.PublicKeys], the JWKS of RFC 7517) and verifies what it signed itself
// ([Ring.Verify]). Private keys lie in the store sealed under package atrest. It refuses to interpret what it signs, to
// verify with an algorithm that the key was not made for, and to let one tenant's key verify another's token.
//
// A key's life is fixed by three times, so that every process, and a restarted one, sees the same state without having to be
// told (drawn for one key, and enforced by [Plan], a pure function):
//
//	 created            active              retire               remove
//	    │    waiting      │     active        │      retired        │   removed
//	────┼─────────────────┼───────────────────┼─────────────────────┼──────────▶
//	    │  published,     │  published,       │  published,         │  gone
//	    │  signs nothing  │  signs            │  signs nothing      │
//	    │◀ publishAhead  ▶│◀     period      ▶│◀ LongestToken +    ▶│
//	    │  ≥ CacheLife    │                   │  CacheLife          │
//
// Waiting is what lets clients that hold an old JWKS learn a new key before it is used; retired is what lets them verify the
// last token that the old key signed. The first key of a line is active at once: before it there was nothing to sign with.
//
// Two ways to turn a line over by hand: [Ring.Rotate] makes the successor now and lets it wait as usual, and nothing
// breaks; [Ring.Replace] is for a stolen key and breaks what it must (it says what).
//
// Callers: oidc (Sign, PublicKeys, Verify), admin (Rotate, Replace), the wiring (Run).
package keyring
