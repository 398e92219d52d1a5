package app

const (
	// maxName keeps an application's name to a line on the sign-in page.
	maxName = 100

	// maxURIs and maxURI bound the registered addresses. Entra allows 256 of them; what needs more is a wildcard in
	// disguise. Browsers and proxies begin to cut addresses at about 2,000 characters.
	maxURIs = 256
	maxURI  = 2000

	// secretBytes is the entropy of a secret: 256 bits.
	secretBytes = 32

	// secretPrefix lets secret scanners find a secret that was committed somewhere.
	secretPrefix = "sally_app_"

	// maxSecret bounds what is hashed for a stranger.
	maxSecret = 256
)
