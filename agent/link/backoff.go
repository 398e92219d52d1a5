package link

import "time"

// Backoff is the rule of coming back: full jitter under a doubling bound, forgiven after a quiet spell. The zero value is that
// of a link that has never failed. It is pure; the caller brings the randomness.
type Backoff struct{ Failures int }

// After returns the backoff once a connection has ended that had been attached for lived; zero if it never was.
func (b Backoff) After(lived time.Duration) Backoff {
	if lived >= forgiveAfter {
		return Backoff{Failures: 1}
	}
	return Backoff{Failures: b.Failures + 1}
}

// Delay returns the pause before the next try; u is uniform in [0, 1). Full jitter spreads a fleet whose gateway has just
// gone evenly over the whole interval.
func (b Backoff) Delay(u float64) time.Duration {
	if b.Failures <= 0 {
		return 0
	}
	bound := backoffMax
	if b.Failures < 16 {
		bound = min(bound, backoffBase<<b.Failures)
	}
	return max(backoffMin, time.Duration(u*float64(bound)))
}
