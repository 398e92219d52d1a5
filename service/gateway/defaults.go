package gateway

import (
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
)

// Slots and lines.
const (
	// MaxSlots is the most checks one agent is given at once, whatever it asks for: a stolen agent must not be able to draw all
	// of a tenant's checks to itself.
	MaxSlots = 128
	// maxLine is how many asks may wait in one room. At 100 binds a second, a slow domain controller, the last of them would
	// wait 2.5 s; more could only time out.
	maxLine = 256
	// lease is how long an offer holds its slot: sealing takes a millisecond, looking the agent up another.
	lease = 2 * time.Second
	// linger is how long a slot stays taken after a delivery was given up and the agent has not said that it is done: its bind
	// lasts 6 s at most.
	linger = 10 * time.Second
	// maxDetail bounds the words of a refusal that are passed on.
	maxDetail = 300
)

// The choice among agents.
const (
	// leastCost: differences below a millisecond are the network's, not the agents'.
	leastCost = time.Millisecond
	// slowest is how many times the middle a check with a slow agent counts at most.
	slowest = 32
	// smoothing is over how many answers their time is averaged.
	smoothing = 32
)

// The stream.
const (
	// helloWithin bounds the first message; handshakeWithin everything before.
	helloWithin     = 5 * time.Second
	handshakeWithin = 10 * time.Second
	// heartbeatEvery is what agents are told; after missedBeats of them an agent counts as gone though its TCP stack is not.
	heartbeatEvery = 10 * time.Second
	missedBeats    = 3
	// closeAfter is how long a connection may stay after its Goodbye, for the words to arrive.
	closeAfter = time.Second
	// pingEvery and pingTimeout find dead paths; agents ping every 10 s, so minPing lets them.
	pingEvery   = 15 * time.Second
	pingTimeout = 5 * time.Second
	minPing     = 5 * time.Second
	// idleAfter closes connections without a stream: an agent whose attach was refused has no business to stay.
	idleAfter = 30 * time.Second
	// maxStreams: an agent has one stream, and for a moment two while it replaces a lost one.
	maxStreams = 4
	// maxMessage bounds messages of agents: the largest sealed answer and its frame.
	maxMessage = envelope.MaxAnswer + 8<<10
	// bufferSize: gRPC's own 32 KB buffers are for bulk transfer and cost that much for each agent.
	bufferSize = 4 << 10
	// maxWords bounds what an agent says of itself in Hello.
	maxWords = 128
)

// The fleet.
const (
	// recheckEvery is how often the fleet is asked about every attached agent; with the time of the query it stays under the
	// second within which a revocation must take effect when no announcement arrives.
	recheckEvery = 500 * time.Millisecond
	// recheckTimeout lets a slow database not stop the checks after it.
	recheckTimeout = 5 * time.Second
	// proveTimeout bounds the judgement of a proof: a row is read, once ever written.
	proveTimeout = 5 * time.Second
	// seenEvery throttles the write of an agent's "last seen"; seenBuffer is how many may wait for the database before they are
	// dropped, which costs nothing but freshness.
	seenEvery   = time.Minute
	seenBuffer  = 1024
	seenTimeout = 5 * time.Second
	// newsEvery is the least time between two writes about an agent when something is wrong with it that was not, or no longer.
	newsEvery = 5 * time.Second
	// maxServers, maxReportWords and maxState bound what of an agent's report is kept.
	maxServers     = 16
	maxReportWords = 256
	maxState       = 16
	// maxThreshold and maxSpanMS bound the numbers in it.
	maxThreshold = 1 << 16
	maxSpanMS    = 100 * 365 * 24 * 3600 * 1000
)

// Identities.
const (
	// maxSkew is how far an agent's clock may be off: an envelope is good for a minute, and a minute early; what is left is for the
	// way and the work.
	maxSkew = 45 * time.Second
	// probeWithin is how long an agent has to say that it is there: a network's round trip, with its loss repeated.
	probeWithin = 3 * time.Second
	// handOverWithin bounds how long the stream of a replaced certificate may go on: what was offered on it (2 s) and checks in flight
	// (8 s), and less than the fleet admits it for.
	handOverWithin = 20 * time.Second
	// revocationsFor is how long a signed revocation list is handed out before the next is made, maxLists how many are kept.
	revocationsFor = time.Minute
	maxLists       = 1000
)

// Going away.
const (
	// drainWithin bounds how long checks in flight are waited for: the longest has 8 s after its fence.
	drainWithin = 10 * time.Second
	// Agents are told to come back after at least comeBackMin, spread so that comeBackRate of them arrive each second: two
	// cores manage some 1,400 mutual TLS handshakes a second, and have other things to do.
	comeBackMin = 250 * time.Millisecond
	// attachTime is what the slowest of them may need to be attached elsewhere, before the rest are seen off.
	attachTime   = 750 * time.Millisecond
	comeBackRate = 500
)

// Registration.
const (
	// An address may register registerBurst agents at once and one more every registerEvery: a rollout behind one NAT address
	// succeeds, guessing tokens of 256 bits does not.
	registerBurst = 20
	registerEvery = 3 * time.Second
	// maxAddresses bounds the memory of addresses, in each of two generations.
	maxAddresses = 10_000
	// An address may poll for codes pollBurst times at once and once more every pollEvery: twenty hosts behind one NAT address, each every
	// five seconds.
	pollBurst = 60
	pollEvery = 200 * time.Millisecond
	// registerWithin bounds reading and answering one registration.
	registerWithin = 15 * time.Second
)
