package ldap

import "time"

// Numbers that a Config may leave zero.
const (
	// defaultConnections: a domain controller of one core is busy with eight binds at once; twice that hides the network.
	defaultConnections = 16
	// defaultDialTimeout for TCP, TLS and the first answer together: what a dead server may cost, once.
	defaultDialTimeout = time.Second
	// defaultBindTimeout: the service waits 8 seconds for an answer after the fence; the agent must be the first to give up. It
	// holds also at a server that has gone down meanwhile; DESIGN.md says why.
	defaultBindTimeout = 6 * time.Second
)

// Numbers that nobody has to set.
const (
	// fenceWithin bounds everything before the fence where the caller sets no time: the service waits 4.5 seconds for it.
	fenceWithin = 4 * time.Second
	// patience is how long one server may take to give a connection before the next is tried beside it: a tenth of that. A domain controller on
	// another continent has answered TCP, TLS and a question by then.
	patience = 400 * time.Millisecond
	// crowdPause is how long a check waits before it asks a crowded server again for a connection: some binds' time.
	crowdPause = 100 * time.Millisecond
	// dialsAtOnce for each server: Samba's listen backlog is 10, beyond which connecting takes seconds; several agents may be
	// starting together.
	dialsAtOnce = 4
	// warmConnections are opened before anybody asks, one after the other; demand opens the rest.
	warmConnections = 2
	// freshFor is how long after its last answer a connection is taken without asking whether it still lives. Under load none
	// is ever asked; without load half a millisecond does not matter.
	freshFor = 2 * time.Second
	// pingTimeout bounds that question; a server that fails it is down.
	pingTimeout = time.Second
	// tick is how often the background looks at a server.
	tick = 5 * time.Second
	// pingEvery is how long an idle connection may be silent in the background. Firewalls forget connections after minutes, AD
	// closes them after 15.
	pingEvery = 30 * time.Second
	// measureEvery is how often a server is measured for the choice.
	measureEvery = 30 * time.Second
	// worthChanging is the difference in the time for a question below which no server is left for another: an eye does not see ten times it.
	worthChanging = 5 * time.Millisecond
	// lookEvery is how often DNS is asked for domain controllers: AD's records live ten minutes. lookAlone holds while none of them serves, and
	// lookAgain is the first pause after a failure.
	lookEvery, lookAlone, lookAgain = 5 * time.Minute, 15 * time.Second, time.Second
	// examineFor bounds a look at a server by a person, who would rather wait than be told nothing.
	examineFor = 10 * time.Second
	// idleLife is how long a connection above the warm ones is kept without a check.
	idleLife = 10 * time.Minute
	// unansweredLimit is how many binds in a row may stay without an answer before a server is down.
	unansweredLimit = 3
	// probeFirst and probeLast are the shortest and longest wait between probes of a server that is down.
	probeFirst, probeLast = time.Second, 15 * time.Second
	// reviveAfter is how old the last failure of a server must be before a check looks at it ahead of the probe: in an outage of all, each is
	// looked at once a second at most.
	reviveAfter = time.Second
	// attributesTimeout bounds reading the attributes after an accepted bind: the verdict waits for it. Where they are in the forest's catalog all
	// together takes no longer after the fence than this and the bind's limit.
	attributesTimeout = 2 * time.Second

	// readConnections of the reader to each server at most: a question takes a millisecond, a thousand checks a second need three.
	readConnections = 8
	// readTimeout bounds all questions about one account, or about policies, together.
	readTimeout = 2 * time.Second
	// readIdle is how long a connection of the reader is kept without a question.
	readIdle = 5 * time.Minute
	// policyEvery is how often policies are read, policyRetry how soon after that failed.
	policyEvery, policyRetry = 3 * time.Minute, 15 * time.Second
	// complainEvery is how often at most is logged why the reader cannot look at one server; each check that ends by it has a line of its own.
	complainEvery = time.Minute
	// hiddenFor is how long is told of what the reader could not read of an account: accounts differ in who may read them, so the next one that can be
	// read proves nothing, and an administrator who gives the right wants to see that it was that.
	hiddenFor = time.Hour
	// readerPause is how long a reader that the directory refused is not tried again: six wrong passwords an hour stay below
	// what locks it in most directories, and an administrator who corrects the password restarts the agent.
	readerPause = 10 * time.Minute
	// busyFor is how long an account's last attempt is remembered: longer than any check lasts. sweepAbove bounds the memory of that.
	busyFor, sweepAbove = 30 * time.Second, 10_000
	// mostTried is among how many accounts one is sought that shows what the reader may read. firstOwn is the first relative identifier of an account
	// that the domain's administrators made (MS-SAMR 3.1.1.9.2).
	mostTried = 16
	firstOwn  = 1000

	// mostFound bounds what one question may find: groups within a protected group, and password settings objects.
	mostFound = 2000

	// schemaFor is how long is remembered whether people may be looked up by an attribute, and mostLookups of how many.
	schemaFor, mostLookups = 10 * time.Minute, 64

	// maxPacket is the largest LDAP message accepted from a server, in bytes: a user with a thousand long group names has a
	// quarter of it.
	maxPacket = 1 << 20
	// maxDepth is how deep its parts may lie within each other; a value of an entry lies at the sixth level. The library keeps a copy of the
	// whole at each, which with its own limit makes a gigabyte of one message.
	maxDepth = 16
	// maxStartTLS is the largest answer to a request for TLS, in bytes: anybody on the way can write that one.
	maxStartTLS = 4 << 10
	// maxError is how much of an error about a certificate is told, in bytes, and namesTold how many of its names.
	maxError, namesTold = 512, 8
	// maxGroups, maxGroupBytes (in JSON) and maxText limit what of a user's entry goes into an answer, so that it can always be
	// sealed (envelope.MaxAnswer) with much to spare: in JSON a text can have six times its bytes.
	maxGroups, maxGroupBytes, maxText = 1000, 32 << 10, 1024
	// maxDN is the longest distinguished name that is taken apart for a group's name.
	maxDN = 4096
)
