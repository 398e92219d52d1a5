package ca

import "time"

const (
	// DefaultTrustDomain stands in agents' identities when the configuration names none. It is a name, not an address: nothing
	// is ever looked up under it.
	DefaultTrustDomain = "sallyport"

	// DefaultLifetime of an agent's certificate: long enough for a holiday during which nobody repairs a renewal, short
	// enough that a stolen and forgotten one ends by itself.
	DefaultLifetime = 30 * 24 * time.Hour

	// minLifetime and maxLifetime bound what may be configured. Half a minute is for tests of renewal, and leaves it ten
	// seconds; longer than a year is a certificate that nobody remembers.
	minLifetime = 30 * time.Second
	maxLifetime = 366 * 24 * time.Hour

	// backdate forgives agents whose clock is a little behind ours; short certificates are backdated by a tenth of their life,
	// so that two thirds of it do not lie in the past.
	backdate     = 5 * time.Minute
	backdatePart = 10

	// issuerLifetime of a tenant's issuing certificate. A new one takes over when it has less than issuerSpare left, so that
	// no agent's certificate outlives its issuer's.
	issuerLifetime = 5 * 365 * 24 * time.Hour
	issuerSpare    = maxLifetime

	// revocationLife is how long a revocation list may be used by those who cannot fetch a newer one.
	revocationLife = 24 * time.Hour

	// rootLifetime: the root lies beside the database that it serves and is replaced by adding a row; twenty years keep its
	// end from being the reason.
	rootLifetime = 20 * 365 * 24 * time.Hour

	// maxChain bounds what Verify looks at: we issue chains of one.
	maxChain = 4
)
