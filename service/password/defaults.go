package password

import "time"

// Times of one check. How long the parts of a delivery may take is the queue's.
const (
	// overall is the longest that a person waits for an answer.
	overall = 15 * time.Second

	// askWithin is the part of it in which an agent must be found.
	askWithin = 5 * time.Second

	// leastTry is the time that must be left for another try: less than an ordinary check on a slow day, and the attempt
	// might count without anybody hearing the answer.
	leastTry = 2 * time.Second

	// holdWithin is all the time for the service's word on a fence, which the gateway waits a second for: what comes later would be a go that nobody hears.
	holdWithin = 700 * time.Millisecond

	// joinWithin is how long an agent's fence waits until other guesses at the account that it found are done.
	joinWithin = 500 * time.Millisecond

	// settleWithin bounds the writing of the result, which is done even if the caller has gone away.
	settleWithin = 5 * time.Second

	// confirmedFor is how long the directory's word on who has a name holds for an ordinary user; see docs/decisions/0006. It is as long
	// as package user lets AttributesAt lag behind.
	confirmedFor = 10 * time.Minute
)

// Numbers of one check.
const (
	// maxTries is how many agents are tried: a fleet that loses three in fifteen seconds is not saved by a fourth.
	maxTries = 3

	// mostExcluded is how many agents the queue lets an ask rule out.
	mostExcluded = 64

	// maxBinds is how many attempts of one typed password may count at the directory.
	maxBinds = 2

	// maxPassword and maxName bound what is typed, in bytes: Active Directory's passwords have up to 256 characters, its user
	// principal names up to 1024, ours 256 (see package user).
	maxPassword = 1024
	maxName     = 256

	// maxText bounds what an agent says for people.
	maxText = 256

	// lockoutPrefix is the length of the IPv6 prefix whose guesses at a cloud-only account are counted together: a site's, since who
	// has one can have guesses sent from each of its 65,536 networks.
	lockoutPrefix = 48

	// maxWaiting is how many checks of one account stand in line behind those that its lockout budget allows at once.
	maxWaiting = 32
)

// Timing of answers that were decided here.
const (
	// reservoirSize is how many recent wrong answers are remembered: enough that the drawn times have the same spread.
	reservoirSize = 128

	// reservoirsMax bounds the tenants that are remembered; each costs a kilobyte.
	reservoirsMax = 4096

	// Before a tenant has had any wrong answer, times are drawn evenly from what a bind in a local network and one
	// Argon2id take.
	guessFrom = 20 * time.Millisecond
	guessTo   = 90 * time.Millisecond

	// holdStep is in what steps wrong answers are given: nobody who has mistyped notices a tenth of a second, and domain controllers
	// nearby have told one reason from another within a tenth of it.
	holdStep = 100 * time.Millisecond

	// mostFloor bounds what all of them wait for when the directory is slow.
	mostFloor = 2 * time.Second
)

// Argon2id (RFC 9106) for cloud-only users, PHC string format.
const (
	// 46 MiB, one pass, one lane: OWASP's first choice; 33 ms of one core.
	argonMemory  = 46 << 10 // KiB
	argonTime    = 1
	argonThreads = 1
	saltSize     = 16
	hashSize     = 32

	// Limits for hashes that are read back, so that a row cannot take the machine's memory.
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
	maxHashString   = 512

	// maxHashes is how many are computed at once: 46 MiB times every sign-in of a morning is the memory of the machine. maxHashLine is
	// how many wait for that: with 33 ms each the last one waits a quarter of a second on four cores, two at worst.
	maxHashes   = 4
	maxHashLine = 32

	// hashesPerSecond and hashBurst are what one network may have compared: a sixth of a core in the long run, and the people of an
	// office at nine o'clock. budgetPrefix is the length of the IPv6 prefix of a network, which is what one host has.
	hashesPerSecond = 5
	hashBurst       = 50
	budgetPrefix    = 64

	// maxNetworks bounds the memory of the budgets: about 150 bytes each, twice.
	maxNetworks = 20_000

	// minNew is the shortest new password of a cloud-only user in characters, maxNew the longest (NIST SP 800-63B §3.1.1.2; Entra
	// has the same two numbers).
	minNew = 8
	maxNew = 256
)
