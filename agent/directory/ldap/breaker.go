package ldap

import "time"

// State is how a server stands.
type State string

// The states; see the drawing in the package comment.
const (
	Untried State = "untried"
	Serving State = "serving"
	Down    State = "down"
)

// event is something that was learned about a server.
type event int

const (
	answered    event = iota // it answered a bind
	reached                  // a connection was made, and a harmless question answered on it
	unreachable              // no connection could be made
	mute                     // a kept connection did not answer a harmless question
	unanswered               // a bind was sent and no answer came
)

// breaker decides whether checks go to a server. The zero value admits them.
type breaker struct {
	state State     // "" is Untried
	since time.Time // of the state
	// silent counts binds without an answer since the last answer.
	silent int
	// failures counts failed probes, the first failure included; probeAt is when the next probe is due.
	failures int
	probeAt  time.Time
}

func (b breaker) admits() bool { return b.state != Down }

// next is the whole rule.
func next(b breaker, e event, now time.Time) breaker {
	switch {
	case e == answered && b.state == Serving:
		b.silent = 0
		return b
	case e == reached && b.state == Serving:
		// Says nothing about binds: a server can greet everybody and judge nobody.
		return b
	case e == answered || e == reached:
		return breaker{state: Serving, since: now}
	case b.state == Down && (e == unanswered || now.Before(b.probeAt)):
		// Checks that were under way when it went down say nothing new.
		return b
	case b.state == Down:
		b.failures++
		b.probeAt = now.Add(probeWait(b.failures))
		return b
	case e == unanswered && b.silent+1 < unansweredLimit:
		b.silent++
		return b
	}
	return breaker{state: Down, since: now, failures: 1, probeAt: now.Add(probeWait(1))}
}

// probeWait doubles from the first wait to the last.
func probeWait(failures int) time.Duration {
	wait := probeFirst
	for range failures - 1 {
		if wait *= 2; wait >= probeLast {
			return probeLast
		}
	}
	return wait
}
