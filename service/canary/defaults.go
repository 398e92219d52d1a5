package canary

import "time"

const (
	// DefaultEvery is about how often an agent is probed: a lie is found within a minute, and a bind a minute is nothing to a
	// domain controller.
	DefaultEvery = time.Minute
	// spread is how far the moments lie apart: between half and one and a half of the interval.
	spread = 0.5
	// lookEvery is how often due probes are looked for, lookMost how many at once; probesAtOnce bounds those under way.
	lookEvery    = time.Second
	lookMost     = 100
	probesAtOnce = 16
	// rightShare is the share of probes with the right password, where there is one: the others look for lies.
	rightShare = 0.5
	// wantShare is the share that asks for attributes, about as people's checks do: not those who signed in a moment ago.
	wantShare = 0.75
	// recordWithin bounds the writing of a result.
	recordWithin = 5 * time.Second
	// maxNames bounds the names of a directory's canary.
	maxNames = 16
	// purpose is what a password is sealed for; the directory's id follows, so that rows cannot be exchanged.
	purpose = "directory-canary:"
)
