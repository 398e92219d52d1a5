package signin

import "time"

const (
	// journeyLife is how long a person may take: to look up a forgotten name, not to come back after lunch.
	journeyLife = 15 * time.Minute

	// sessionLife is how long a session lasts after the password was typed, however busy: a working day, so that the password
	// is typed once in the morning.
	sessionLife = 12 * time.Hour

	// sessionIdle is how long a session lasts without any application asking for it: long enough for a meeting and lunch, too
	// short for a browser that was forgotten in the evening. Applications have sessions of their own meanwhile.
	sessionIdle = 2 * time.Hour

	// touchEvery is how exactly last_used_at is kept: without it every silent sign-in would be a write.
	touchEvery = time.Minute

	// maxAttempts is how many passwords one journey takes before the person must start again from the application. Lockout is by
	// account and elsewhere; this only bounds what one row can be used for.
	maxAttempts = 20

	// repeatWithin is how long after an attempt was settled a post of its form is taken for a repetition of it (a double
	// click, a resent request), and not for a new password typed into an old page (the back button). Nobody goes back and
	// types a password in less.
	repeatWithin = 2 * time.Second

	// checkWithin bounds one check with all its writes. It is longer than package password ever takes.
	checkWithin = 25 * time.Second

	// waitStep is how often a repeated post looks whether the first one is settled. Each look reads a row, and whoever sends the
	// same form again and again must not keep the database busy.
	waitStep = 200 * time.Millisecond

	// maxName bounds a typed name in bytes; package password takes names of up to 256.
	maxName = 256

	// maxFields bounds the fields of a form: ours have three, and password managers add none.
	maxFields = 16

	// postsPerSecond and postBurst bound the journeys begun and forms posted by one address (IPv6: one /64), three for a
	// sign-in. An address may be a whole company behind NAT at nine in the morning, five thousand people in five
	// minutes: this protects the service, while accounts are protected by package lockout.
	postsPerSecond = 100
	postBurst      = 500

	// maxAddresses bounds the memory of the limit: about 100 bytes each, twice.
	maxAddresses = 50_000

	// sweepEvery is how often rows past their time are removed. Nothing depends on it: every query looks at the time.
	sweepEvery = 5 * time.Minute
)
