package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Outcome is how a check ended.
type Outcome string

// The outcomes. Right, Wrong and NotAccepted are verdicts of the directory.
const (
	Right       Outcome = "right"
	Wrong       Outcome = "wrong"
	NotAccepted Outcome = "not accepted" // another verdict: expired, disabled, locked …
	Trouble     Outcome = "trouble"      // nobody judged the password
	Refused     Outcome = "refused"      // this agent turned it down before the directory was asked
)

// Finished is one check that is over. It holds no name: who signed in is found by the trace, in the service.
type Finished struct {
	At      time.Time `json:"at"`
	Trace   string    `json:"trace,omitempty"`
	Outcome Outcome   `json:"outcome"`
	// Reason is the verdict's, or the catalogue's name of Code.
	Reason string    `json:"reason"`
	Code   wire.Code `json:"code,omitempty"`
	// DC is the domain controller that was asked, if one was.
	DC string `json:"dc,omitempty"`
	// TookMS is the whole check, BindMS the domain controller's part of it; 0 when it gave no answer.
	TookMS float64 `json:"took_ms"`
	BindMS float64 `json:"bind_ms,omitempty"`
}

// Latency is how long a domain controller took to answer, over its newest answers.
type Latency struct {
	Answers  int     `json:"answers"`
	MedianMS float64 `json:"median_ms"`
	P95MS    float64 `json:"p95_ms"`
}

// ledger keeps the newest checks and the newest times of each domain controller. The zero value is empty; it is safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	recent []Finished // the newest last
	binds  map[string][]float64
}

func (l *ledger) add(f Finished) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = pushed(l.recent, f, maxRecent)
	if f.BindMS == 0 {
		return
	}
	if l.binds == nil {
		l.binds = map[string][]float64{}
	}
	// Only domain controllers that have answered are here, of which a domain has few, whatever DNS names.
	l.binds[f.DC] = pushed(l.binds[f.DC], f.BindMS, maxBindTimes)
}

// pushed appends and forgets the oldest.
func pushed[T any](s []T, one T, limit int) []T {
	if len(s) == limit {
		copy(s, s[1:])
		s[limit-1] = one
		return s
	}
	return append(s, one)
}

// newest returns the checks that are kept, the newest first.
func (l *ledger) newest() []Finished {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.recent)
	slices.Reverse(out)
	return out
}

// latency returns how fast a domain controller was; nil before its first answer.
func (l *ledger) latency(dc string) *Latency {
	l.mu.Lock()
	times := slices.Clone(l.binds[dc])
	l.mu.Unlock()
	return latencyOf(times)
}

// latencyOf sorts times and takes the middle and the one below which 19 of 20 lie.
func latencyOf(times []float64) *Latency {
	n := len(times)
	if n == 0 {
		return nil
	}
	slices.Sort(times)
	return &Latency{Answers: n, MedianMS: times[(n-1)/2], P95MS: times[(n*19+19)/20-1]}
}

// milliseconds rounds to what is worth reading.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond).Microseconds()) / 1000
}
