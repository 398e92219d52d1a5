package password

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/wire"
)

// metrics count checks. The zero value counts nothing.
type metrics struct {
	checks  *prometheus.CounterVec
	second  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers with r; nil means none. A second Checker on the same registerer shares the first one's.
func newMetrics(r prometheus.Registerer) metrics {
	if r == nil {
		return metrics{}
	}
	m := metrics{
		checks: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_password_checks_total",
			Help: "Password checks by outcome (right, wrong, refused, trouble) and number of the catalogue (0: right).",
		}, []string{"outcome", "code"})),
		second: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_password_verifications_total",
			Help: "Right passwords that a second agent was to confirm, by what it said (agreed, disagreed, alone).",
		}, []string{"result"})),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sallyport_password_check_duration_seconds",
			Help:    "How long password checks took, by outcome.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}, []string{"outcome"})),
	}
	m.begin()
	return m
}

// begin shows what an alert may wait for as 0 from the start: the increase of a counter that appears with its first event, such
// as the first forged answer, is not seen.
func (m metrics) begin() {
	for _, a := range []Agreement{Alone, Agreed, Disagreed} {
		m.second.WithLabelValues(a.String())
	}
	m.checks.WithLabelValues("right", "0")
	m.checks.WithLabelValues("wrong", wire.InvalidPassword.String())
	for _, c := range []wire.Code{wire.AccountLockedOut, wire.LockoutSpared, wire.AccountProtected, wire.NameAmbiguous} {
		m.checks.WithLabelValues("refused", c.String())
	}
	for _, e := range wire.Catalogue() {
		if e.Code == wire.Internal || troubleCode(e.Code, 0) == e.Code {
			m.checks.WithLabelValues("trouble", e.Code.String())
		}
	}
	for _, outcome := range []string{"right", "wrong", "refused", "trouble"} {
		m.seconds.WithLabelValues(outcome)
	}
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	err := r.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if first, ok := already.ExistingCollector.(C); ok {
			return first
		}
	}
	if err != nil {
		panic(err) // two collectors of one name: a mistake in the program, met at its start
	}
	return c
}

func (m metrics) verified(a Agreement) {
	if m.second != nil {
		m.second.WithLabelValues(a.String()).Inc()
	}
}

func (m metrics) count(a Answer, err error, took time.Duration) {
	if m.checks == nil {
		return
	}
	outcome := outcomeOf(a, err)
	m.checks.WithLabelValues(outcome, a.Code.String()).Inc()
	m.seconds.WithLabelValues(outcome).Observe(took.Seconds())
}

// outcomeOf sorts an answer for the metrics: wrong is what a person can type wrong.
func outcomeOf(a Answer, err error) string {
	switch {
	case err != nil:
		return "trouble"
	case a.Right:
		return "right"
	case a.Reason.Wrong():
		return "wrong"
	}
	return "refused"
}
