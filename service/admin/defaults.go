package admin

import "time"

const (
	// maxBody bounds a request: the largest, an app with many redirect addresses, is far below.
	maxBody = 64 << 10
	// maxAnswer bounds what the client reads: a page of 500 entries with room to spare.
	maxAnswer = 8 << 20
	// pageSize is how many entries a list returns unless told, and maxPageSize the most.
	pageSize    = 100
	maxPageSize = 500
	// tokenLife is how long an administrator's token lives unless told: a year, since programs hold them; each can be removed.
	tokenLife = 365 * 24 * time.Hour
	// minTokenLife and maxTokenLife bound it: what lives longer than two years is forgotten by everyone but a thief.
	minTokenLife = time.Minute
	maxTokenLife = 2 * 365 * 24 * time.Hour
	// maxTokenLength bounds what is hashed of a stranger's header: ours have 59 bytes.
	maxTokenLength = 200
	// maxNote bounds the words about a token.
	maxNote = 200
	// enrolTokenLife is how long an enrolment token lives unless told: an afternoon's work of installing agents.
	enrolTokenLife = 24 * time.Hour
	// maxEnrolTokenLife bounds it: a secret that adds agents must not lie about for months.
	maxEnrolTokenLife = 30 * 24 * time.Hour
	// seenAgo is how fresh the last sign of life must be for an agent that another process holds to count as connected: gateways
	// write one a minute.
	seenAgo = 150 * time.Second
	// maxKey bounds an idempotency key: a UUID has 36 characters, our own 26.
	maxKey = 64
	// keyLife is how long an answer is kept for its idempotency key: nobody asks again after a day, and it may hold a secret.
	keyLife = 24 * time.Hour
	// keyLease is how long a request may hold a key without an answer, after which its process is taken for dead. Requests take
	// less than a second.
	keyLease = time.Minute
	// keyWrite bounds writing down how a request ended, which does not depend on the caller's patience.
	keyWrite = 10 * time.Second
	// keySweep is how often old answers are removed.
	keySweep = time.Hour

	// policyHolds is how old an agent's report may be whose word on the directory's lockout policy is shown.
	policyHolds = 24 * time.Hour
)
