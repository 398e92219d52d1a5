package queue

import (
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
)

// The times of one check. The overall limit of 15 s is the caller's (Delivery.Deadline, the context). How they fit with the agent's stands in
// DESIGN.md.
const (
	// AskWithin is the longest that an ask waits, whatever its deadline says: a person at a sign-in page sees a "try again" no
	// later than this when all agents are busy.
	AskWithin = 5 * time.Second
	// askPatience is how long an ask stands in the line of the one gateway it reached first before it goes to all: long enough
	// for a bind or two to finish, short against AskWithin if that gateway's agents hang.
	askPatience = 250 * time.Millisecond
	// askGrace is added to the patience for the way of the reply, before the gateway is taken for dead.
	askGrace = 250 * time.Millisecond
	// askGather is how long replies of several gateways are collected when none of them has said that the ask stands in line.
	askGather = 150 * time.Millisecond
	// ackWithin: a living gateway acknowledges before it does anything else.
	ackWithin = time.Second
	// fenceWithin: opening an envelope and taking a ready connection is a matter of milliseconds; an agent whose domain controllers hang has
	// 4 s to find one that does not, and the fence needs half a second for its way.
	fenceWithin = 4500 * time.Millisecond
	// answerWithin is the agent's 6 s for the bind and its way back.
	answerWithin = 8 * time.Second
	// beatEvery and silence: a gateway says each second which deliveries it still holds; three missing beats mean that it is
	// gone, which is noticed sooner than the answer's deadline.
	beatEvery = time.Second
	silence   = 3*beatEvery + beatEvery/2
	// fenceReplyWithin is how long a gateway waits for the service's word on a fence: a round trip on the broker, and what the service has to look up.
	fenceReplyWithin = time.Second
	// connectWithin bounds the start of the embedded server and each dial.
	connectWithin = 5 * time.Second
	// reconnectWait is the pause between tries to reach an external broker; the client adds jitter.
	reconnectWait = 250 * time.Millisecond
	// flushWithin bounds the wait until the broker knows a new subscription.
	flushWithin = time.Second
)

// The spread over gateways.
const (
	// rememberFor is how long a gateway's weight counts: gateways that go away say so by silence, and weights follow each offer.
	rememberFor = time.Minute
	// lookAround: one ask in so many goes to any gateway, so that new ones are found.
	lookAround = 16
	// mostOwed bounds what is made up for: a gateway that was slow to answer is not flooded afterwards.
	mostOwed = 8
	// maxGateways and maxPlaces bound the memory: 40 bytes for each of both.
	maxGateways = 32
	// maxWeight is far above a thousand agents that take a millisecond each.
	maxWeight = 1e9
	maxPlaces = 10_000
)

// Sizes.
const (
	// MaxEnvelope bounds a sealed check and a sealed answer: whatever an agent can seal is carried, or an answer would be thrown away
	// after it was judged. An ordinary check is under 2.5 KB; attributes with many groups make the largest answers.
	MaxEnvelope = envelope.MaxAnswer
	// maxMessage is the broker's payload limit: an envelope and its frame, of six texts and some bytes.
	maxMessage = MaxEnvelope + 8<<10
	// maxToken bounds ids in subjects, maxText the trace and details in frames.
	maxToken = 64
	maxText  = 512
	// maxExclude bounds the agents an ask may rule out: three tries make two.
	maxExclude = 64
	// maxAsk bounds the JSON of an ask, an offer and a change: maxExclude ids and some words.
	maxAsk = 8 << 10
	// eventBuffer is how many messages of one delivery may be on their way to its goroutine: acknowledgement, fence, outcome, and
	// beats. gatherBuffer is the same for an ask that several gateways answer.
	eventBuffer  = 8
	gatherBuffer = 64
)
