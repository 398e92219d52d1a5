package localca

import "time"

const (
	// caLifetime: an evaluation is meant to end long before; ten years keep it from ending by surprise.
	caLifetime = 10 * 365 * 24 * time.Hour

	// serverLifetime is within what every browser accepts (398 days), short enough that renewal is exercised.
	serverLifetime = 90 * 24 * time.Hour

	// renewBefore: a third of the life is left when a server certificate is re-made, so that a service that is started once
	// a month never presents an expired one.
	renewBefore = 30 * 24 * time.Hour

	// backdate forgives the clocks of browsers and agents that are a little behind ours.
	backdate = 5 * time.Minute

	// maxHosts bounds a certificate's names; an evaluation has a handful.
	maxHosts = 64

	// maxFile bounds what is read back from a file: our own files are below 4 KB.
	maxFile = 64 << 10
)
