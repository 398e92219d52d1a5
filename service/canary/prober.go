package canary

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/repeat"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config is what a Prober works with. Store, Fleet and Checker are needed.
type Config struct {
	Store   *Store
	Fleet   *fleet.Store
	Checker *password.Checker
	// Announce tells every gateway that an agent's standing has changed; nil: they find out within a second.
	Announce func(scope tenant.Scope, agent string) error
	// Every is about how often an agent is probed; 0 means [DefaultEvery].
	Every   time.Duration
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Prober probes agents. It is safe for concurrent use.
type Prober struct {
	Config
	dice   dice
	probes *prometheus.CounterVec
	took   prometheus.Histogram
	places chan struct{}
}

// New returns a Prober; nothing is probed before [Prober.Run].
func New(c Config) (*Prober, error) {
	if c.Every <= 0 {
		c.Every = DefaultEvery
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Prober{Config: c, places: make(chan struct{}, probesAtOnce),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_canary_probes_total",
			Help: "Probes of agents, by result: fine, lied (yes to a made-up password: quarantined), refused (no to the right one), failed (no verdict), skipped."}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_canary_probe_duration_seconds",
			Help: "How long probes took that had a verdict, from the offer to it.", Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}})}
	for _, r := range []Result{Fine, Lied, Refused, Failed, Skipped} {
		p.probes.WithLabelValues(string(r))
	}
	if c.Metrics != nil {
		for _, m := range []prometheus.Collector{p.probes, p.took} {
			if err := c.Metrics.Register(m); err != nil {
				return nil, fmt.Errorf("canary: registering metrics: %w", err)
			}
		}
	}
	return p, nil
}

// Run probes the agents whose turn it is until ctx ends, and finishes what is under way.
func (p *Prober) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	repeat.Every(ctx, lookEvery, func(ctx context.Context) error { return p.look(ctx, &tasks) }, func(err error) {
		p.Logger.Error("agents could not be probed", "err", err)
	})
	return nil
}

// look begins the probes that are due, as far as there are places.
func (p *Prober) look(ctx context.Context, tasks *sync.WaitGroup) error {
	due, err := p.Fleet.DueProbes(ctx, time.Now(), lookMost)
	if err != nil {
		return err
	}
	for _, d := range due {
		select {
		case p.places <- struct{}{}:
		default:
			return nil
		}
		mine, err := p.Fleet.Claim(ctx, d, time.Now().Add(pause(p.Every, p.dice.float())))
		if err != nil || !mine {
			<-p.places
			if err != nil {
				return err
			}
			continue
		}
		tasks.Go(func() {
			defer func() { <-p.places }()
			if err := p.Probe(ctx, d.Scope, d.Directory, d.Agent); err != nil && ctx.Err() == nil {
				p.Logger.Error("a probe of an agent could not be finished", "tenant", d.Scope.String(), "agent", d.Agent, "err", err)
			}
		})
	}
	return nil
}

// Probe probes one agent now, and does what follows from it.
func (p *Prober) Probe(ctx context.Context, scope tenant.Scope, directory, agent string) error {
	c, secret, err := p.Store.open(ctx, scope, directory)
	if fault.Has(err, wire.NotFound) {
		return nil // removed since it was due
	}
	if err != nil {
		return err
	}
	defer secret.Wipe()
	right := c.HasPassword && p.dice.float() < rightShare
	typed, name := wire.NewSecret(p.dice.invent()), c.Names[p.dice.below(len(c.Names))]
	if right {
		typed, name = secret.Clone(), c.Names[0]
	}
	trace := p.dice.trace()
	v, took, err := p.Checker.Probe(ctx, scope, password.Probe{Directory: directory, Agent: agent, Name: name, Password: typed,
		WantAttributes: p.dice.float() < wantShare, Trace: trace})
	if ctx.Err() != nil {
		return nil // the process ends, and the agent is not to blame
	}
	result, code := Judge(right, v, err)
	p.probes.WithLabelValues(string(result)).Inc()
	if err == nil {
		p.took.Observe(took.Seconds())
	}
	log := p.Logger.With("tenant", scope.String(), "directory", directory, "agent", agent, "result", string(result), "code", int(code), "trace", trace,
		"took", took.Round(time.Millisecond))
	if result == Skipped {
		log.Debug("agent not probed", "err", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	detail := string(v.Reason)
	if err != nil {
		detail = err.Error()
	}
	if result == Lied {
		if err := p.shut(ctx, scope, agent, trace, log); err != nil {
			return err
		}
	} else if result != Fine {
		log.Warn("a probe of an agent failed", "detail", detail)
	}
	err = p.Fleet.Probed(ctx, scope, agent, fleet.Probe{At: time.Now(), Took: took, Code: code, Detail: detail}, result == Refused || result == Lied)
	if fault.Has(err, wire.NotFound) {
		return nil // removed while it was probed
	}
	return err
}

// shut ends the service to an agent that lied, and tells everybody.
func (p *Prober) shut(ctx context.Context, scope tenant.Scope, agent, trace string, log *slog.Logger) error {
	fresh, err := p.Fleet.Quarantine(ctx, scope, agent, fleet.Lie, "it said yes to a password of the canary that nobody has (trace "+trace+")", time.Now())
	if err != nil {
		return err
	}
	if p.Announce != nil {
		if err := p.Announce(scope, agent); err != nil {
			log.Warn("fleet change not announced", "err", err)
		}
	}
	if fresh {
		log.Error("an agent said yes to a password that nobody has; it is quarantined")
	}
	return nil
}
