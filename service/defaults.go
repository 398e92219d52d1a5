package service

import "time"

const (
	// readHeaderTimeout: a header is a few kilobytes; ten seconds is generous even on a bad phone.
	readHeaderTimeout = 10 * time.Second
	// readTimeout bounds a whole request; the largest body is a few kilobytes.
	readTimeout = 30 * time.Second
	// writeTimeout must leave the 15 s of a password check, the retry included.
	writeTimeout = 45 * time.Second
	// idleTimeout is how long a kept connection waits for the next click.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes: cookies and a long authorization request fit; more is refused early.
	maxHeaderBytes = 32 << 10
	// certificatePoll is how often certificate files are looked at for a renewal.
	certificatePoll = time.Minute
	// localCertificatePoll is how often the evaluation CA is asked whether its server certificate is still good.
	localCertificatePoll = time.Hour
	// readyTimeout bounds one readiness probe, so that a hung database shows as not ready and not as a hung probe.
	readyTimeout = 2 * time.Second
	// monitorClose is how long the monitor may finish its last answer when everything else has ended.
	monitorClose = time.Second
	// undoTimeout bounds the removal of what an Init that failed has made.
	undoTimeout = 10 * time.Second
)

// Limits of settings, as [Config.Check] says them in words.
const (
	// maxAgentLimit is far above what anybody needs, and finds a mistyped number.
	maxAgentLimit = 10_000
	// minProbeEvery is for tests; with maxProbeEvery a lie is still found within the hour.
	minProbeEvery = 5 * time.Second
	maxProbeEvery = time.Hour

	// minCertificateLife leaves a renewal ten seconds, and is for tests of it; below a day every outage of the service would be one
	// of all agents.
	minCertificateLife = 30 * time.Second
	// maxCertificateLife: a stolen certificate that nobody misses must end by itself one day.
	maxCertificateLife = 365 * 24 * time.Hour
	// maxThreshold and maxLockout bound smart lockout: a threshold beyond any directory's would be none, and a lock of days a weapon.
	maxThreshold = 100
	maxLockout   = 24 * time.Hour
	// maxDrain: service supervisors lose their patience long before.
	maxDrain = 10 * time.Minute
	// minWebhookSecret and maxNotifySecret bound secrets in files: 16 random bytes cannot be guessed.
	minWebhookSecret = 16
	maxNotifySecret  = 4 << 10
)
