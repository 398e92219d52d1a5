package evaluation

import "time"

const (
	// DefaultBaseDN is of a domain that RFC 2606 keeps free.
	DefaultBaseDN = "DC=corp,DC=example,DC=com"

	// DefaultLockoutThreshold is what Microsoft's security baseline recommends.
	DefaultLockoutThreshold = 10

	// defaultWindow is Active Directory's own: wrong passwords further apart do not add up.
	defaultWindow = 30 * time.Minute

	// defaultConnections is more than any evaluation opens and less than the usual limit of open files.
	defaultConnections = 4000

	// defaultIdle is MaxConnIdleTime of Active Directory's default query policy ([MS-ADTS] 3.1.1.3.4.6).
	defaultIdle = 15 * time.Minute

	// firstRequest is InitRecvTimeout of the same policy: how long a connection may say nothing at all.
	firstRequest = 2 * time.Minute

	// handshakeTime bounds a TLS handshake.
	handshakeTime = 10 * time.Second

	// writeTime bounds the writing of one answer: a client that does not read is not waited for.
	writeTime = 30 * time.Second

	// acceptPause is the wait after an error of accept that will pass, such as too many open files.
	acceptPause = 20 * time.Millisecond

	// maxMessage is Samba's limit for requests of somebody who is not bound; ours for all.
	maxMessage = 256_000

	// maxHeader is a tag and a length of which four bytes tell more than maxMessage.
	maxHeader = 6

	// packetCost is about what the library's packet of a short element takes: its struct and the 512 bytes that it reads into.
	packetCost = 800

	// maxParsed bounds what the packets of one message cost: packetCost each, and their contents. The largest bind costs three
	// times its password; the largest filter costs half, which leaves room for a thousand attributes to be asked for. While decoding,
	// about twice as much is taken.
	maxParsed = 2 << 20

	// maxDepth is how deep a message may be nested; real filters need a handful.
	maxDepth = 64

	// maxFilter is how many parts a filter may have, since each is compared with each entry.
	maxFilter = 256

	// certificateLife is longer than any evaluation; every start makes a new certificate anyway.
	certificateLife = 365 * 24 * time.Hour

	// backdate forgives clocks that are a little behind.
	backdate = 5 * time.Minute

	// keptBuffer is the largest buffer that a connection keeps between requests.
	keptBuffer = 64 << 10
)
