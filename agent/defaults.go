package agent

import "time"

const (
	// fenceWithin is how long a check may take to the fence: the service waits 4.5 s for it, of which the ways take a little.
	fenceWithin = 4 * time.Second

	// checkTimeout bounds one check in all: the service grants no fence after 4.5 s and waits 8 s from there, longer than the 6 s of a bind. The parts have
	// their own limits; this one holds if one of them does not.
	checkTimeout = 13 * time.Second

	// defaultNamePerMinute and defaultNameBurst: a person tries a handful of times; a directory locks an account after some
	// ten wrong passwords. Twelve a minute lets no more guesses through than a threshold of ten and a reset after a minute,
	// and does not hinder anybody who signs in to several applications on Monday morning.
	defaultNamePerMinute = 12
	defaultNameBurst     = 10

	// defaultPerSecond and defaultBurst are far above a large company's morning (30,000 people within ten minutes are 50 a
	// second) and below what would hurt a domain controller.
	defaultPerSecond = 1000
	defaultBurst     = 1000

	// maxNames bounds how many names are watched at once: 20 MB at most. At the default rates a name is full again after
	// 50 s, so the whole agent's limit reaches it only when a thousand new names a second are asked about for a minute.
	maxNames = 60_000

	// maxRemembered bounds the request memory: 30 MB. It holds every request that an agent at its default limit of 1,000
	// a second can have admitted within the longest life of an envelope (envelope.MaxLife, two minutes), and some.
	maxRemembered = 150_000

	// provenWithin is how long a check waits for a directory that is not proven yet: dialling and asking a domain controller take a second at
	// most, and the service a moment more.
	provenWithin = 1500 * time.Millisecond

	// maxName bounds a name in log lines, in bytes.
	maxName = 256

	// maxDetail bounds what a directory or a network said, in answers and log lines, in bytes.
	maxDetail = 512

	// maxOfAnAccount bounds why an account was not asked about, in an answer, which must not be longer than others are (envelope: steps of 512 bytes).
	maxOfAnAccount = 200

	// maxPaces is how many checks are remembered to pretend others by: enough for the same spread. guessedPace bounds what is guessed before the first.
	maxPaces    = 64
	guessedPace = 8 * time.Millisecond

	// statusInterval is how often the status file is written while the agent runs, and statusStale how old it may be until
	// `status` takes the agent for dead: three writes and a little.
	statusInterval = 3 * time.Second
	statusStale    = 10 * time.Second

	// expiryReminder is how often a certificate that nears its end is spoken of in the log.
	expiryReminder = 12 * time.Hour

	// maxRecent is how many finished checks a status shows: a page of a terminal.
	maxRecent = 20

	// maxBindTimes is how many of its newest answers say how fast a domain controller is.
	maxBindTimes = 200

	// maxServersTold is how many domain controllers a heartbeat names: the first ones are those that are used.
	maxServersTold = 16

	// maxMissingTold is how much of what the guard's reader may not read a heartbeat names.
	maxMissingTold = 16

	// monitorTimeout bounds one request of a scraper, which is on this host.
	monitorTimeout = 10 * time.Second

	// maxStatus bounds the status file when it is read.
	maxStatus = 256 << 10

	// changeOverWithin bounds the connection that takes over with a renewed certificate: the link gives an attach 15 s.
	changeOverWithin = 20 * time.Second
	// renewPauseMin and renewPauseMax bound the pause before a renewal that failed is tried again.
	renewPauseMin = time.Second
	renewPauseMax = 5 * time.Minute
)
