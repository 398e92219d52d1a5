package locate

import "time"

// Limits on what is asked for and on what is believed of an answer.
const (
	// MaxTargets is how many domain controllers of a domain are used. Each costs two connections and a question now and then; a domain of
	// hundreds shall not be called by every one of its agents.
	MaxTargets = 8
	// maxRecords is how many records of one answer are looked at; 64 KB, the largest of DNS, hold some two thousand.
	maxRecords = 1024
	// maxName and maxLabel are those of DNS (RFC 1035 §2.3.4), in text and without the last dot.
	maxName, maxLabel = 253, 63
	// lookFor bounds one question with all its retries.
	lookFor = 5 * time.Second
	// nameFor is how long DNS may take for the address of a host that has been found before, until the last one is tried.
	nameFor = 150 * time.Millisecond
	// againAfter is how long an address may be silent until the next one, or the same once more, is tried beside it: a way to the
	// other side of the earth and back.
	againAfter = 250 * time.Millisecond
)
