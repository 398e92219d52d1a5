package ca

import "time"

const (
	// DefaultTrustDomain stands in agents' identities when the configuration names none. It is a name, not an address: nothing
	// is ever looked up under it.
	DefaultTrustDomain = "sallyport"

	// DefaultLifetime of an agent's certificate: long enough for a holiday during which nobody repairs a renewal, short
	// enough that a stolen and forgotten one ends by itself.
	DefaultLifetime = 30 * 24 * time.Hour

	// minLifetime and maxLifetime bound what may be configured. Shorter than an hour, clocks decide who is served; longer
	// than a year is a certificate that nobody remembers.
	minLifetime = time.Hour
	maxLifetime = 366 * 24 * time.Hour

	// backdate forgives agents whose clock is a little behind ours.
	backdate = 5 * time.Minute

	// rootLifetime: the root lies beside the database that it serves and is replaced by adding a row; twenty years keep its
	// end from being the reason.
	rootLifetime = 20 * 365 * 24 * time.Hour

	// maxChain bounds what Verify looks at: we issue chains of one.
	maxChain = 4
)
