package fleet

import "time"

const (
	// DefaultLimit is what Entra allows a tenant, too: three are enough for nearly everybody, and a runaway script should not make hundreds.
	DefaultLimit = 40

	// TokenPrefix makes an enrolment secret recognisable: to the person who pastes it, and to programs that search
	// repositories and chats for leaked secrets.
	TokenPrefix = "sallyport-enrol-"

	// secretSize: 256 bits cannot be guessed, so the stored hash needs neither salt nor slowness.
	secretSize = 32

	// defaultTokenLife is enough to walk to the server; defaultUses is one host.
	defaultTokenLife = 24 * time.Hour
	defaultUses      = 1

	// maxTokenLife and maxUses bound what a leaked token is worth; a fleet has forty agents by default.
	maxTokenLife = 90 * 24 * time.Hour
	maxUses      = 100

	// maxTokens bounds the tokens that a tenant has at one time, over ones included until they are swept.
	maxTokens = 1000

	// Lengths, in bytes, of what an agent says of itself and people read: names of hosts have at most 253, and the others
	// are one line in a table.
	maxName    = 64
	maxHost    = 253
	maxText    = 128
	maxNote    = 200
	maxReason  = 200
	maxProof   = 1024 // a name as a DN
	maxCSRSize = 8 << 10

	// codePrefix makes an agent's device code recognisable, as TokenPrefix does.
	codePrefix = "sallyport-device-"
	// codeAlphabet has no vowels, which would make words, and nothing that looks like something else (RFC 8628 §6.1); eight of it are
	// 34 bits, which nobody guesses in a code's life at a few tries a minute.
	codeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	codeLetters  = 8
	// codeLife is how long an administrator may take: to be found, to sign in and to compare.
	codeLife = 15 * time.Minute
	// codeFetch is what an agent has at least to fetch a certificate that was approved.
	codeFetch = 5 * time.Minute
	// codeKept is how long a code is remembered after its time, so that its agent is told what happened.
	codeKept = time.Hour
	// codeInterval is RFC 8628's own default (§3.2), slowDownBy its step (§3.5); maxInterval keeps an agent that was told often from
	// sleeping through an approval. pollTolerance forgives the jitter of a network.
	codeInterval  = 5 * time.Second
	slowDownBy    = 5 * time.Second
	maxInterval   = time.Minute
	pollTolerance = time.Second
	// maxCodes bounds the codes of a tenant that wait: asking for one needs no credential.
	maxCodes = 100
	// maxCodesFrom bounds those from one network, so that one stranger cannot take them all.
	maxCodesFrom = 20

	// maxNetworks bounds the networks that a token may be used from: an organisation's sites, each in IPv4 and IPv6.
	maxNetworks = 32

	// maxEnvelopeKey is far above the key of any suite; ParsePublicKey knows the exact size.
	maxEnvelopeKey = 4 << 10

	// nameTries bounds the search for a free name: "host-2", "host-3" …
	nameTries = 1000

	// enrolTries is how often an enrolment is tried when another one took the name in the meantime.
	enrolTries = 5

	// Page sizes of List.
	defaultPage = 100
	maxPage     = 1000

	// standingChunk is how many agents one query of Standing asks for. Queries are padded to it, so that they are one
	// prepared statement.
	standingChunk = 128

	// formerGrace is how long streams of the certificate before may go on after the agent has come with the next: long enough for
	// offers on their way (2 s), checks in flight (8 s) and a second try of the change-over.
	formerGrace = 30 * time.Second

	// certificatesKept is how long a certificate is remembered after its end: an agent that was switched off for a year can
	// prove who it was.
	certificatesKept = 400 * 24 * time.Hour

	// historyPage bounds what of an agent's history is shown.
	historyPage = 100
	// historyKept bounds what is kept of it: an agent that comes and goes writes lines. The registration log keeps what matters.
	historyKept = 1000

	// maxRenewSpread bounds over how long an ordered renewal of a fleet is spread.
	maxRenewSpread = 24 * time.Hour

	// releaseLife is how long a released agent's token may be used.
	releaseLife = 24 * time.Hour

	// maxRevocations bounds a revocation list: 50 bytes each.
	maxRevocations = 100_000

	// ForgetAfter is how long nothing must have been heard of an agent for lists to leave it out, as Entra does.
	ForgetAfter = 10 * 24 * time.Hour

	// serverDown is how agents call a domain controller that is not asked.
	serverDown = "down"

	// goneAfter is how long an agent may be without a stream before that is told: it comes back from a restart, and from a gateway's end,
	// within seconds. silentAfter is for an agent whose gateway died: two and a half of the minute in which gateways write.
	goneAfter   = 30 * time.Second
	silentAfter = 150 * time.Second
	reviewEvery = 15 * time.Second
	// reviewMost bounds the agents of one look; the next has the rest.
	reviewMost = 500

	// slowServer is when people notice that a domain controller is slow; skewed, a clock that nobody sets: an envelope is refused from
	// 45 s on.
	slowServer = time.Second
	skewed     = 10 * time.Second
	// probesFailed is how many probes in a row must fail: one may meet a domain controller that restarts.
	probesFailed = 2
)
