package oidc

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// failureLimit counts, for each address, how often it was wrong. Success costs nothing, so an application with many users is
// never slowed down by it.
type failureLimit struct {
	mu        sync.Mutex
	addresses map[string]*rate.Limiter // guarded by mu
}

func newFailureLimit() *failureLimit { return &failureLimit{addresses: make(map[string]*rate.Limiter)} }

// exceeded reports whether the address has been wrong too often lately.
func (l *failureLimit) exceeded(address string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.addresses[address]
	return ok && limiter.TokensAt(now) < 1
}

// failed counts one failure.
func (l *failureLimit) failed(address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.addresses[address]
	if !ok {
		if len(l.addresses) >= maxFailureAddresses {
			l.forget(now)
		}
		if len(l.addresses) >= maxFailureAddresses {
			return // all of them are busy being wrong: one more address does not matter, memory does
		}
		limiter = rate.NewLimiter(failureRate, failureBurst)
		l.addresses[address] = limiter
	}
	limiter.AllowN(now, 1)
}

// forget drops the addresses that have recovered fully. The caller holds mu.
func (l *failureLimit) forget(now time.Time) {
	for address, limiter := range l.addresses {
		if limiter.TokensAt(now) >= failureBurst {
			delete(l.addresses, address)
		}
	}
}
