package kerberos

import "time"

// Numbers that a Config may leave zero.
const (
	// defaultConcurrency is how many checks run at once. Every message has a connection of its own, and Samba's KDC lines up ten.
	defaultConcurrency = 8
	// defaultDialTimeout for one connection: what a dead KDC may cost, once.
	defaultDialTimeout = time.Second
	// defaultAnswerTimeout from sending the proof to the answer: the service waits 8 seconds after the fence.
	defaultAnswerTimeout = 6 * time.Second
)

// Numbers that nobody has to set.
const (
	// beforeFence bounds everything before the fence where the caller sets no time: the service waits 4.5 seconds for it.
	beforeFence = 4 * time.Second
	// restFor is how long a KDC that did not answer is asked last.
	restFor = 15 * time.Second
	// attributesFor is how long reading the attributes may take beyond the time for the proof's answer.
	attributesFor = 2 * time.Second
	// datagramFor is how long an answer by UDP is waited for before the same is asked by TCP: some round trips to a distant site.
	datagramFor = 250 * time.Millisecond
	// muteFor is how long a KDC that did not answer by UDP is asked by TCP alone.
	muteFor = 5 * time.Minute
	// armorLife is how long the agent's own ticket is asked to last; domains allow ten hours by default. refusedFor is how long a wrong key of the agent's own account is not tried
	// again at a KDC, and renewAgain how soon a new ticket is asked for again while the old one serves.
	armorLife, refusedFor, renewAgain = 10 * time.Hour, 5 * time.Minute, time.Minute
	// maxRefusals is at how many KDCs a wrong key is tried: it counts as a wrong password.
	maxRefusals = 2
	// lookFor bounds a look at a KDC by a person.
	lookFor = 10 * time.Second
	// clockSkew is what KDCs allow (RFC 4120 §1.6, five minutes everywhere).
	clockSkew = 5 * time.Minute
	// ticketLife is as long as a ticket can be useful here: the length of one check, with clocks that differ.
	ticketLife = 10 * time.Minute

	// maxReply is the largest message accepted from a KDC, in bytes. A ticket of somebody in a thousand groups has a quarter of it.
	maxReply = 256 << 10
	// maxDatagram is the largest message by UDP, in bytes: what Ethernet carries unbroken. KDCs answer with less, or say that TCP is needed.
	maxDatagram = 1472
	// maxSalt in bytes; AD's is the realm and the account's name.
	maxSalt = 1024
	// maxHints and maxEData bound the lists and the data in an error.
	maxHints, maxEData = 32, 16 << 10
	// leastRounds and mostRounds bound how often PBKDF2 is run for an AES key (RFC 3962 §4). Fewer than the default would make the
	// proof cheap to guess for whoever asked for them; AD never asks for more.
	leastRounds, mostRounds = 4096, 1 << 16
	// maxUPN is the longest userPrincipalName, in UTF-16 units (MS-ADA3 2.349).
	maxUPN = 1024
	// maxKeytab is the largest keytab file, in bytes.
	maxKeytab = 1 << 20
)
