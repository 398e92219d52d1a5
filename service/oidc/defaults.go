package oidc

import "time"

const (
	// codeLife is how long an authorization code may be exchanged. RFC 6749 §4.1.2 allows ten minutes at most; the
	// exchange is one request of a server, so a minute is plenty.
	codeLife = time.Minute

	// requestLife is how long a person may take from the application's request to the end of the journey. It is longer
	// than a journey, so that the journey's end is what a slow person is told of.
	requestLife = time.Hour

	// accessLife is the life of an access token; it opens UserInfo only and falls with its grant at once.
	accessLife = time.Hour

	// idTokenLife is the life of an ID token. Applications look at it once, at sign-in; an hour forgives slow clocks. It must
	// stay below the time that the keyring keeps a retired key published.
	idTokenLife = time.Hour

	// refreshIdle ends a refresh token that was not used for so long.
	refreshIdle = 14 * 24 * time.Hour

	// offlineLife ends a grant with offline_access, however often it is refreshed: then the person signs in again.
	offlineLife = 90 * 24 * time.Hour

	// refreshGrace is how long after its use a refresh token still yields its successor: long enough for a client that lost
	// the answer to ask again, short enough that a thief gains nothing by racing.
	refreshGrace = 30 * time.Second

	// clockTolerance is how far the clocks of two processes of the service may be apart.
	clockTolerance = 5 * time.Second

	// maxTokenGroups and maxTokenGroupBytes bound the groups in an ID token: their number as Entra does, their size since the
	// token comes back in an address (id_token_hint). UserInfo has all of them.
	maxTokenGroups     = 200
	maxTokenGroupBytes = 4 << 10

	// maxParameters bounds the names of one request; OpenID Connect and its extensions define about thirty.
	maxParameters = 64

	// maxQueryBytes bounds the parameters of an authorization or logout request. Browsers and proxies carry 16 KiB; state
	// has no limit of its own below it.
	maxQueryBytes = 16 << 10

	// maxBodyBytes bounds a form sent to the token, userinfo or revoke endpoint.
	maxBodyBytes = 16 << 10

	// maxHintBytes bounds login_hint; longer hints are ignored, as they are no names.
	maxHintBytes = 512

	// maxNonceBytes bounds nonce, which is repeated in the ID token.
	maxNonceBytes = 1024

	// maxTokenBytes bounds an ID token that comes back as a hint.
	maxTokenBytes = 12 << 10

	// maxClaimsBytes, maxClaimsDepth and maxClaimsMembers bound the claims parameter (OpenID Connect Core §5.5): its form needs
	// four levels and, with every claim that we know, less than 2 KiB.
	maxClaimsBytes   = 8 << 10
	maxClaimsDepth   = 6
	maxClaimsMembers = 128

	// metadataAge is how long discovery may be cached: it changes with releases only.
	metadataAge = time.Hour

	// keysAge is how long the key set may be cached. The keyring publishes a key more than a day before its first use, so
	// anything below that is safe for ordinary turns; it is far shorter for the two turns that are not ordinary: a tenant's
	// first RS256 key, and a key that had to be replaced at once.
	keysAge = 15 * time.Minute

	// preflightAge is how long a browser may remember an answer about other origins; browsers cap it themselves.
	preflightAge = time.Hour

	// sweepEvery and sweepBatch pace the removal of expired rows: small transactions, so that sign-ins never wait for one.
	sweepEvery = time.Minute
	sweepBatch = 500

	// failureRate and failureBurst bound how often one address may present wrong client secrets, codes or tokens. All are
	// 256-bit random, so the limit protects the log and the database, not the secrets; it is generous because one address may
	// be a whole data centre.
	failureRate  = 10
	failureBurst = 100

	// maxFailureAddresses bounds the memory of the limit; when it is full, the addresses that have recovered are forgotten.
	maxFailureAddresses = 4096
)

// acrPassword is the one authentication context that we state: a password, judged by the tenant's directory.
const acrPassword = "urn:sallyport:acr:password"
