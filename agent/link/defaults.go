package link

import (
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
)

const (
	// DefaultSlots is how many checks an agent works on at once when the configuration says nothing: a bind takes milliseconds,
	// so 32 are thousands a second, and few enough for a domain controller not to notice an attack as load.
	DefaultSlots = 32
	// MaxSlots bounds the setting.
	MaxSlots = 1024

	// attachWithin bounds dialling, proxy, TLS and Welcome together; a new stream on a connection that drains would else block
	// for ever.
	attachWithin = 15 * time.Second
	// goWithin is how long a fence waits for the Go: two network round trips and the broker's. The service grants a fence for
	// 4.5 s after the delivery; past that an answer is certain not to come.
	goWithin = 3 * time.Second
	// leaveWithin bounds the checks in flight at shutdown: the longest bind (6 s) and its way back.
	leaveWithin = 8 * time.Second
	// farewellWithin is how long the other side has to close the stream after we have.
	farewellWithin = time.Second
	// drainWithin bounds how long a gateway that drains may keep the stream.
	drainWithin = 20 * time.Second

	// sendWithin bounds one message's sending: the other side reads at once unless it hangs, and then as much as its window holds has waited
	// there already. A connection's pings are answered by a process that hangs, too.
	sendWithin = 10 * time.Second
	// overlapFor is how long a session whose successor serves still takes checks: an offer is good for 2 s, and must not end in a
	// refusal.
	overlapFor = 3 * time.Second
	// renewWithin bounds the answer to a renewal: one transaction and two signatures.
	renewWithin = 20 * time.Second
	// proveWithin bounds asking the directory which domain it is, provenWithin the service's answer: one row read.
	proveWithin  = 5 * time.Second
	provenWithin = 10 * time.Second
	// proveEvery is how often a proof is repeated, proveAgain how soon one that was not accepted.
	proveEvery = 5 * time.Minute
	proveAgain = 5 * time.Second
	// skewWorth is the difference of clocks from which on it is told.
	skewWorth = 5 * time.Second

	// pingEvery and pingTimeout find a dead path in a quarter of a minute; gateways accept pings every 5 s. They also keep the
	// entries of NAT tables and proxies alive.
	pingEvery   = 10 * time.Second
	pingTimeout = 5 * time.Second

	// A gateway says how often it wants heartbeats; these bound what we obey.
	minHeartbeat     = time.Second
	maxHeartbeat     = time.Minute
	defaultHeartbeat = 10 * time.Second

	// Backoff: the first retry comes within a second, the longest pause is half a minute so that an agent is back soon after a
	// long outage, and no retry is immediate, whatever the jitter says.
	backoffBase = 500 * time.Millisecond
	backoffMax  = 30 * time.Second
	backoffMin  = 100 * time.Millisecond
	// forgiveAfter is how long a stream must have lived for earlier failures not to count.
	forgiveAfter = time.Minute
	// maxComeBack bounds what a draining gateway may ask for.
	maxComeBack = 2 * time.Minute

	// maxMessage bounds a message of either side: the largest sealed answer, which no envelope exceeds, and its frame.
	maxMessage = envelope.MaxAnswer + 8<<10
	// bufferSize: gRPC's own 32 KB buffers are for bulk transfer; our messages are 1 to 3 KB.
	bufferSize = 4 << 10
	// maxProxyReply bounds the header that a proxy answers CONNECT with.
	maxProxyReply = 64 << 10
	// maxDetail bounds words that go to or come from the other side.
	maxDetail = 512
)
