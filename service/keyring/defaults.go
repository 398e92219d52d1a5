package keyring

import "time"

// CacheLife is how long a client may keep a JWKS: nobody may publish one with a longer max-age. A day is what widespread
// client libraries use when they are told nothing.
const CacheLife = 24 * time.Hour

// LongestToken is the longest life of a token that this ring signs. Whoever signs must not go beyond it, or a token may
// outlive the publication of its key.
const LongestToken = 24 * time.Hour

const (
	// clocks is by how much the clocks of replicas and clients may differ before anybody is surprised.
	clocks = time.Hour

	// publishAhead is how long a new key is published before it signs: a client's whole cache life, and a reserve for
	// clocks and for replicas that publish late.
	publishAhead = CacheLife + clocks

	// period is how long a key signs: four times a year is often enough to keep the machinery in use.
	period = 90 * 24 * time.Hour

	// stayPublished is how long a retired key is kept: until the last token it signed is over, and until clients that
	// verify late have had a cache life, and the reserve for clocks.
	stayPublished = LongestToken + CacheLife + clocks

	// turnEvery is the pace of the loop. Times in the rows decide; the loop only has to come by between them.
	turnEvery = 10 * time.Minute

	// rsaBits: 2048 is what RFC 7518 §3.3 demands at least, and larger ones slow down every sign-in (cubic in the size).
	rsaBits = 2048

	// maxParsed bounds the private keys that are kept parsed in memory: 2,000 tenants' worth, some megabytes.
	maxParsed = 2048

	// maxCompact bounds a token that is read, maxPayload one that is signed: ours have below 4 KB; many groups make them longer.
	maxCompact = 64 << 10
	maxPayload = 32 << 10
)
