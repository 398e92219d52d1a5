package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

var (
	errDown = errors.New("the server is down")
	errBusy = errors.New("all connections are busy")
)

// server is one domain controller: its pool and its breaker.
type server struct {
	address address
	book    *locate.Book
	roots   *x509.CertPool
	dialFor time.Duration
	log     *slog.Logger
	// slots holds one token for each connection in use. A connection is opened only by the holder of a token who found none
	// idle, so that there are never more connections than tokens, but for the one that the background may have in hand.
	slots chan struct{}
	// dials holds one token for each connection being opened.
	dials chan struct{}
	// wake tells the background to look now: the breaker has changed, or something is suspicious.
	wake chan struct{}
	// expected is the one domain of all servers.
	expected *expectation
	// foundFor is the DNS name of the domain that DNS named the server for; "" for one of the settings.
	foundFor string
	// end ends the background's care; nil while there is none. It belongs to the validator.
	end context.CancelFunc

	mu      sync.Mutex
	rank    int     // see standing
	idle    []*conn // the last one used most recently
	breaker breaker
	heard   time.Time        // when a bind was last answered
	base    string           // the name of the domain's entry
	domain  directory.Domain // that it has shown
	lastErr error
	lastAt  time.Time
	refused time.Time     // when it last gave no new connection, or no answer to a bind
	closed  bool          // connections that come back are closed
	looking chan struct{} // closed when somebody who looks at it ahead of its time has seen; nil while nobody does
	// latency is the smoothed time for a harmless question, measured when the background last took it.
	latency  time.Duration
	measured time.Time
}

func newServer(a address, c Config, e *expectation) *server {
	return &server{address: a, expected: e, book: locate.NewBook(a.host, c.Resolver), roots: c.RootCAs, dialFor: c.DialTimeout, log: c.Logger.With("dc", a.String()),
		slots: make(chan struct{}, c.Connections), dials: make(chan struct{}, dialsAtOnce), wake: make(chan struct{}, 1)}
}

func (s *server) admits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breaker.admits()
}

// servingSince is when the server last began to serve; zero if it does not.
func (s *server) servingSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.breaker.state != Serving {
		return time.Time{}
	}
	return s.breaker.since
}

// standing is what the choice has to know.
func (s *server) standing() standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return standing{s.rank, s.breaker.admits(), s.latency}
}

func (s *server) setRank(rank int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rank = rank
}

// tryTake returns an idle connection that is known to live, without waiting for anything, or nil.
func (s *server) tryTake(now time.Time) *conn {
	select {
	case s.slots <- struct{}{}:
	default:
		return nil
	}
	if c := s.pop(); c != nil {
		if !c.dead() && now.Sub(c.seen) < freshFor {
			return c
		}
		// Back to where take finds it and looks closer.
		s.push(c)
	}
	<-s.slots
	return nil
}

// take returns a connection that lives, and opens one if none is idle. It waits for a slot, and to be the next to dial, as long as ctx lasts.
// What is begun then, a question or a dialling, goes on: it has limits of its own, and whoever has got a connection elsewhere meanwhile
// would else leave a server that swallows everything untold, for the next one to wait for again.
func (s *server) take(ctx context.Context) (*conn, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
	c, err := s.takeIdle(ctx)
	if c == nil && err == nil {
		c, err = s.open(ctx)
	}
	if err != nil {
		<-s.slots
		return nil, err
	}
	return c, nil
}

// late says what there was to wait for.
func (s *server) late(cause error) error {
	if len(s.slots) == cap(s.slots) {
		return fmt.Errorf("%w: %w", errBusy, cause)
	}
	return fmt.Errorf("no connection in time: %w", cause)
}

// takeIdle returns an idle connection that lives, after asking the server if it was silent for long; nil if there is none.
func (s *server) takeIdle(ctx context.Context) (*conn, error) {
	for {
		c := s.pop()
		if c == nil {
			return nil, nil
		}
		if c.dead() {
			c.close()
			continue
		}
		if time.Since(c.seen) < freshFor {
			return c, nil
		}
		began := time.Now()
		_, err := c.ping(context.WithoutCancel(ctx), pingTimeout)
		if err == nil {
			return c, nil
		}
		c.close()
		// A connection that the server has closed says nothing about the server; one that is silent may.
		if errors.Is(err, context.DeadlineExceeded) && s.lost(began, mute, fmt.Errorf("a kept connection does not answer: %w", err)) {
			return nil, errDown
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// open makes a connection and asks it a first question. It holds a place in the short line of those who dial.
func (s *server) open(ctx context.Context) (*conn, error) {
	select {
	case s.dials <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
	defer func() { <-s.dials }()
	// While we stood in line, a connection may have come back, or the server may have been found dead.
	if c, err := s.takeIdle(ctx); c != nil || err != nil {
		return c, err
	}
	if !s.admits() {
		return nil, errDown
	}
	return s.probe(context.WithoutCancel(ctx))
}

// probe makes a connection whatever the breaker says, and tells the breaker.
func (s *server) probe(ctx context.Context) (*conn, error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.dialFor)
	defer cancel()
	c, err := dial(limited, s.address, s.roots, s.book)
	if err == nil {
		c.server = s
		var d directory.Domain
		if d, err = c.domain(limited, s.dialFor); err == nil {
			s.mu.Lock()
			if s.domain = d; d.NamingContext != "" {
				s.base = d.NamingContext
			}
			s.mu.Unlock()
			err = s.admit(d)
		}
		if err != nil {
			c.close()
		}
	}
	switch {
	case err == nil:
		c.used = c.seen
		s.report(reached, nil)
		return c, nil
	case ctx.Err() == nil: // else the caller gave up, not the server
		s.lost(began, unreachable, err)
	}
	return nil, err
}

// revive looks at a server that is down whatever the breaker says, once for all who want to know at the moment, and reports whether it serves. What was
// learned a moment ago holds, but for the silence of a kept connection: a firewall that has forgotten all of those lets new ones through.
func (s *server) revive() bool {
	s.mu.Lock()
	looking := s.looking
	switch {
	case s.breaker.admits():
		s.mu.Unlock()
		return true
	case looking != nil:
		s.mu.Unlock()
		<-looking
		return s.admits()
	case time.Since(s.refused) < reviveAfter:
		s.mu.Unlock()
		return false
	}
	looking = make(chan struct{})
	s.looking = looking
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.looking = nil
		s.mu.Unlock()
		close(looking)
	}()
	c, err := s.probe(context.Background()) // within its own limit; others wait for it too
	if err != nil {
		return false
	}
	s.keep(c)
	return true
}

// admit returns an error for a server of another domain than this agent's. DNS is not authenticated: whom it names must show the domain
// that was asked for.
func (s *server) admit(d directory.Domain) error {
	if s.foundFor != "" && !strings.EqualFold(dnsName(d.NamingContext), s.foundFor) {
		return stranger{dnsName(d.NamingContext), s.foundFor}
	}
	return s.expected.admit(d)
}

// lost tells the breaker that a try which began then has failed in the manner of e, and returns whether the server is down now. A server that has
// answered somebody's bind since then is slow or crowded, not dead: to close its connections would only add to the crowd.
func (s *server) lost(began time.Time, e event, err error) bool {
	s.mu.Lock()
	alive := s.breaker.admits() && s.heard.After(began)
	if alive {
		s.lastErr, s.lastAt = err, time.Now()
	}
	s.mu.Unlock()
	if !alive {
		s.report(e, err)
	}
	return !alive
}

// answered tells the breaker that a bind was answered.
func (s *server) answered(now time.Time) {
	s.mu.Lock()
	s.heard = now
	ordinary := s.breaker.state == Serving && s.breaker.silent == 0
	s.mu.Unlock()
	if !ordinary {
		s.report(answered, nil)
	}
}

// report tells the breaker. A server that goes down loses its idle connections.
func (s *server) report(e event, err error) {
	now := time.Now()
	s.mu.Lock()
	before := s.breaker.state
	s.breaker = next(s.breaker, e, now)
	after := s.breaker
	if err != nil {
		s.lastErr, s.lastAt = err, now
	}
	if e == unreachable || e == unanswered {
		s.refused = now
	}
	var lost []*conn
	if after.state == Down {
		lost, s.idle = s.idle, nil
	}
	s.mu.Unlock()
	for _, c := range lost {
		c.close()
	}
	if before == after.state {
		return
	}
	s.rouse()
	switch after.state {
	case Down:
		s.log.Warn("domain controller down", "err", err, "remedy", remedy(err))
	case Serving:
		s.log.Info("domain controller serving")
	}
}

// put gives a connection back after an answer.
func (s *server) put(c *conn) {
	s.push(c)
	<-s.slots
}

// drop closes a connection that must not be used again.
func (s *server) drop(c *conn) {
	c.close()
	<-s.slots
}

func (s *server) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	c := s.idle[n-1]
	s.idle[n-1], s.idle = nil, s.idle[:n-1]
	return c
}

func (s *server) push(c *conn) {
	s.mu.Lock()
	// A connection of a server that went down meanwhile is as suspect as those that were idle then.
	keep := !s.closed && s.breaker.admits() && !c.dead()
	if keep {
		s.idle = append(s.idle, c)
	}
	s.mu.Unlock()
	if !keep {
		c.close()
	}
}

// run looks after the server until ctx ends, and closes what is idle then.
func (s *server) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.maintain(ctx, time.Now())
		timer := time.NewTimer(s.rest(time.Now()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
	s.shut()
}

// shut closes what is idle, and from then on what comes back.
func (s *server) shut() {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// rest is how long the background may sleep.
func (s *server) rest(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.breaker.admits() {
		return tick
	}
	return max(s.breaker.probeAt.Sub(now), 0)
}

// maintain probes a server that is down and due; of one that serves it closes dead and superfluous connections, asks silent ones
// whether they live, and keeps a few open.
func (s *server) maintain(ctx context.Context, now time.Time) {
	s.mu.Lock()
	b := s.breaker
	s.mu.Unlock()
	if !b.admits() {
		if now.Before(b.probeAt) {
			return
		}
		if c, err := s.probe(ctx); err == nil {
			s.keep(c)
		}
		return
	}
	for {
		c := s.popIdle(now)
		if c == nil {
			break
		}
		if !c.dead() && now.Sub(c.used) < idleLife {
			if _, err := c.ping(ctx, pingTimeout); err == nil {
				s.keep(c)
				continue
			}
		}
		c.close()
	}
	s.measure(ctx, now)
	for s.wants() && ctx.Err() == nil {
		if !s.openOne(ctx) {
			return
		}
	}
}

// suspect has the background ask the server a question now: somebody else has got no answer from it.
func (s *server) suspect() {
	s.mu.Lock()
	s.measured = time.Time{}
	s.mu.Unlock()
	s.rouse()
}

// rouse wakes the background.
func (s *server) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// measure asks a harmless question on an idle connection now and then, for the choice. A connection that fails it is not kept, and a server that
// is silent is down.
func (s *server) measure(ctx context.Context, now time.Time) {
	s.mu.Lock()
	due := now.Sub(s.measured) >= measureEvery
	s.mu.Unlock()
	if !due {
		return
	}
	c := s.pop()
	if c == nil {
		return
	}
	began := time.Now()
	if _, err := c.ping(ctx, pingTimeout); err != nil {
		c.close()
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			s.lost(began, mute, fmt.Errorf("a kept connection does not answer: %w", err))
		}
		return
	}
	took := max(time.Since(began), 1)
	s.mu.Lock()
	s.latency, s.measured = smooth(s.latency, took), now
	s.mu.Unlock()
	s.keep(c)
}

// popIdle takes out a connection that is dead, silent for long, or unused for long and more than is kept warm.
func (s *server) popIdle(now time.Time) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.idle, func(c *conn) bool {
		return c.dead() || now.Sub(c.seen) >= pingEvery || len(s.idle) > warmConnections && now.Sub(c.used) >= idleLife
	})
	if i < 0 {
		return nil
	}
	c := s.idle[i]
	s.idle = slices.Delete(s.idle, i, i+1)
	return c
}

// keep puts a connection of the background where it is used last.
func (s *server) keep(c *conn) {
	s.mu.Lock()
	keep := !s.closed && len(s.idle) < cap(s.slots)
	if keep {
		s.idle = slices.Insert(s.idle, 0, c)
	}
	s.mu.Unlock()
	if !keep {
		c.close()
	}
}

// wants reports whether fewer connections exist than are kept warm.
func (s *server) wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breaker.admits() && len(s.idle)+len(s.slots) < min(warmConnections, cap(s.slots))
}

// openOne opens one connection for the pool, unless checks keep all slots busy.
func (s *server) openOne(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	defer func() { <-s.slots }()
	select {
	case s.dials <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-s.dials }()
	c, err := s.probe(ctx)
	if err != nil {
		return false
	}
	s.keep(c)
	return true
}

// status describes the server for people.
func (s *server) status() ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServerStatus{Address: s.address.String(), State: s.breaker.state, Since: s.breaker.since, InUse: len(s.slots),
		BaseDN: s.base, Found: s.foundFor != "", Rank: s.rank, Latency: s.latency, LastErrorAt: s.lastAt, Remedy: remedy(s.lastErr)}
	for _, c := range s.idle {
		if !c.dead() {
			st.Idle++
		}
	}
	if st.State == "" {
		st.State = Untried
	}
	if st.State == Down {
		st.NextProbe = s.breaker.probeAt
	}
	if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	return st
}
