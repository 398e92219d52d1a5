package signin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
)

// The outcomes in the sign-in log.
const (
	outcomeRight   = "right"   // the password was right
	outcomeWrong   = "wrong"   // it was judged, and the person may not go on
	outcomeUnknown = "unknown" // nobody could judge it
	outcomeSession = "session" // none was asked for: the browser's session sufficed
)

func outcomeOf(e event) string {
	switch e {
	case right:
		return outcomeRight
	case wrong:
		return outcomeWrong
	}
	return outcomeUnknown
}

// record completes a record, stores it, and writes the one log line of a sign-in.
func (s *Service) record(r *http.Request, t tenant.Tenant, j journey, a audit.SignIn, at time.Time, took time.Duration) error {
	ctx := r.Context()
	a.Trace, a.Journey, a.App = j.trace, j.id, j.appID
	a.Address, a.At = web.ClientAddress(r), at
	s.metrics.count(a, took)
	s.log.InfoContext(ctx, "sign-in", "trace", a.Trace, "tenant", t.Name, "outcome", a.Outcome, "code", int(a.Code), "reason", a.Reason,
		"name", a.TypedName, "app", j.appName, "address", a.Address, "agent", a.Agent, "dc", a.DC, "duration", took)
	return s.audit.Record(ctx, t.Scope(), a)
}

// metrics count sign-ins. Tenants are no label: their number is not bounded by us.
type metrics struct {
	signIns *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_signins_total",
			Help: "Sign-ins by outcome (right, wrong, unknown, session) and number of the error catalogue (0 for none)."}, []string{"outcome", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sallyport_signin_duration_seconds",
			Help:    "Seconds from the post of a password to its result.",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15}}, []string{"outcome"}),
	}
	if r != nil {
		r.MustRegister(m.signIns, m.seconds)
	}
	// What is not there yet cannot be seen to grow.
	for _, outcome := range []string{outcomeRight, outcomeSession} {
		m.signIns.WithLabelValues(outcome, "0")
	}
	for _, outcome := range []string{outcomeRight, outcomeWrong, outcomeUnknown} {
		m.seconds.WithLabelValues(outcome)
	}
	return m
}

func (m metrics) count(a audit.SignIn, took time.Duration) {
	m.signIns.WithLabelValues(a.Outcome, strconv.Itoa(int(a.Code))).Inc()
	if a.Outcome != outcomeSession {
		m.seconds.WithLabelValues(a.Outcome).Observe(took.Seconds())
	}
}
