package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// Identity is what a link needs of an agent's identity. Its methods are called one at a time.
type Identity interface {
	// Gateway returns "host:port"; the host is also the name that the gateway's certificate must bear.
	Gateway() string
	// GatewayRoots returns whom to believe about the gateway; nil means the system's roots.
	GatewayRoots() *x509.CertPool
	// Passport returns what the next connection shows. It is asked before each, so that a renewed certificate is used from the
	// next one on.
	Passport() Passport
	// Welcomed says that the gateway has welcomed a connection with this passport.
	Welcomed(Passport)
	// Refused says that the gateway refused a passport for good, and with which number; true asks for another try, with another.
	Refused(Passport, wire.Code) (another bool)
}

// Passport is what one connection shows.
type Passport struct {
	// Certificate is the client certificate with its key.
	Certificate tls.Certificate
	// EnvelopeKeyID names the key that goes with the certificate.
	EnvelopeKeyID string
	// Counter is higher than that of any connection before; 0 from agents that do not count.
	Counter uint64
}

// Handler works on checks. Its methods are called concurrently, as many at once as the link has slots.
type Handler interface {
	// Check opens the envelope, asks the directory and returns the reply; it must return one also when ctx ends, which
	// happens when the gateway cancels the check or the stream is lost. fence is called at most once, right before the bind; its
	// error wraps [ErrNoGo] and means that nothing may be bound.
	Check(ctx context.Context, c *linkpb.Check, fence func(ctx context.Context, nonce []byte) (goToken []byte, err error)) Reply
}

// Prover shows the service which domain the agent can speak for. Its methods are called one at a time.
type Prover interface {
	// Prove asks the directory, within ctx.
	Prove(ctx context.Context) *linkpb.Proof
	// Proven has the service's answer to the last proof; nil says that this service asks for none.
	Proven(*linkpb.Proven)
}

// Reply is the end of a check: a sealed answer, or a refusal with a number.
type Reply struct {
	Sealed []byte
	// Refused must be used only when nothing was bound.
	Refused wire.Code
	// Detail tells an administrator of the service more about a refusal; without secrets.
	Detail string
}

// Config says how to attach.
type Config struct {
	Identity Identity
	Handler  Handler
	// Prover shows which domain the agent speaks for; nil for one that shows none.
	Prover Prover
	// Version, Host and OS describe the agent to administrators.
	Version, Host, OS string
	// Slots is how many checks run at once; 0 means DefaultSlots.
	Slots int
	// Health, if set, says how the agent does; it is asked for each heartbeat.
	Health func() *linkpb.Health
	// Proxy is an HTTP proxy ("http://user:password@host:3128"); nil means that of the environment.
	Proxy *url.URL
	// Logger gets the link's life; nil means discard.
	Logger *slog.Logger
}

// Refused is the gateway's permanent goodbye: coming back with the same identity is pointless.
type Refused struct {
	Code wire.Code
	// Text says in words why, and what to do.
	Text string
}

// Error returns number and words.
func (r *Refused) Error() string {
	return "the gateway refuses this agent: " + r.Code.String() + " " + r.Text
}

// State is where a link stands.
type State string

// The states; see the package comment.
const (
	Connecting State = "connecting"
	Attached   State = "attached"
	Draining   State = "draining"
	Waiting    State = "waiting"
	RefusedFor State = "refused"
	Stopped    State = "stopped"
)

// Status is a snapshot for people.
type Status struct {
	State State
	// Address is the gateway's "host:port", Gateway its own name once attached.
	Address, Gateway string
	// Since is when State was reached, NextTry when Waiting ends.
	Since, NextTry time.Time
	// LastError says how the last connection ended; empty while all is well.
	LastError string
	// Slots is how many checks the gateway may send at once, InFlight how many run now, Checks how many have come since start.
	Slots, InFlight int
	Checks          uint64
	// Reconnects counts streams that ended and after which the link comes back, Failures tries that came to no stream.
	Reconnects, Failures uint64
	// ClockSkew is how far the gateway's clock is ahead of ours, to the accuracy of half a round trip.
	ClockSkew time.Duration
}

// Link keeps one stream to one gateway.
type Link struct {
	c          Config
	log        *slog.Logger
	sendWithin time.Duration

	mu     sync.Mutex // guards status and serving
	status Status
	// serving is the session that gets checks; nil between two.
	serving *session

	// rejoin asks Run for another connection, which takes over from the present one; ordered passes on that the service wants a
	// renewal.
	rejoin, ordered chan struct{}
	// reprove asks for a proof now rather than later.
	reprove chan struct{}

	// tasks counts running handlers of all sessions: a lost stream does not wait for them, Run's end does.
	tasks sync.WaitGroup
}

// New checks the configuration; nothing is dialled before [Link.Run].
func New(c Config) (*Link, error) {
	if c.Identity == nil || c.Handler == nil {
		return nil, errors.New("link: an identity and a handler are needed")
	}
	if _, _, err := net.SplitHostPort(c.Identity.Gateway()); err != nil {
		return nil, fmt.Errorf("link: gateway address: %w", err)
	}
	if err := checkProxy(c.Proxy); err != nil {
		return nil, err
	}
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.Slots < 1 || c.Slots > MaxSlots {
		return nil, fmt.Errorf("link: %d slots: want 1 to %d", c.Slots, MaxSlots)
	}
	l := &Link{c: c, log: c.Logger, sendWithin: sendWithin, rejoin: make(chan struct{}, 1), ordered: make(chan struct{}, 1), reprove: make(chan struct{}, 1)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.status = Status{State: Stopped, Address: c.Identity.Gateway()}
	return l, nil
}

// Run stays attached until ctx ends or the gateway refuses the agent for good, in which case the error is a [*Refused]. When
// ctx ends it tells the gateway, finishes the checks in flight, and returns ctx's error.
//
// It must not be called twice at the same time.
func (l *Link) Run(ctx context.Context) error {
	defer l.tasks.Wait()
	var backoff Backoff
	for {
		l.enter(Connecting)
		e := l.attach(ctx)
		if ctx.Err() != nil {
			l.enter(Stopped)
			return ctx.Err()
		}
		var refused *Refused
		if errors.As(e.err, &refused) && !e.another {
			l.failed(RefusedFor, e.err, time.Time{})
			return refused
		}
		var pause time.Duration
		if e.comeBack > 0 {
			backoff, pause = Backoff{}, e.comeBack
			l.log.Info("gateway drains, coming back", "pause", pause)
		} else {
			backoff = backoff.After(e.lived)
			pause = backoff.Delay(rand.Float64())
			l.log.Warn("link ended, coming back", "err", clip(fmt.Sprint(e.err)), "lived", e.lived, "failures", backoff.Failures, "pause", pause)
		}
		l.failed(Waiting, e.err, time.Now().Add(pause))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			l.enter(Stopped)
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Rejoin asks for a connection with another certificate while the present one goes on: once it is welcomed, the old one gets no new
// checks and ends when those in flight have. Without a present connection the next one is as good. It returns at once.
func (l *Link) Rejoin() { wake(l.rejoin) }

// Reprove asks for a proof now, in place of the next regular one. It returns at once.
func (l *Link) Reprove() { wake(l.reprove) }

// Ordered receives when the service orders a renewal.
func (l *Link) Ordered() <-chan struct{} { return l.ordered }

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ErrNoRenewal says that the service at the other end, or the lack of one, permits no renewal now.
var ErrNoRenewal = errors.New("link: no connection on which a renewal could be asked for")

// Renew asks for a renewal on the present connection and waits for the answer, which may be a refusal.
func (l *Link) Renew(ctx context.Context, r *linkpb.Renew) (*linkpb.Renewed, error) {
	l.mu.Lock()
	s := l.serving
	l.mu.Unlock()
	if s == nil {
		return nil, ErrNoRenewal
	}
	if s.protocol < 2 {
		return nil, fmt.Errorf("%w: the service speaks protocol %d and knows none", ErrNoRenewal, s.protocol)
	}
	return s.renew(ctx, r)
}

// Status returns a snapshot; it may be called at any time.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *Link) update(f func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.status)
}

func (l *Link) enter(s State) {
	l.update(func(st *Status) { st.State, st.Since, st.NextTry = s, time.Now(), time.Time{} })
}

func (l *Link) failed(s State, err error, next time.Time) {
	l.update(func(st *Status) {
		if st.State == Attached || st.State == Draining {
			st.Reconnects++
		} else {
			st.Failures++
		}
		st.State, st.Since, st.NextTry = s, time.Now(), next
		if err != nil {
			st.LastError = clip(err.Error())
		}
	})
}
