package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config names the parts that a gateway works with. All are needed but Tenants, GatewayCA, Logger and Metrics.
type Config struct {
	// Name begins the gateway's id, which ends in random letters so that two processes never share one.
	Name  string
	Fleet *fleet.Store
	CA    *ca.Authority
	Queue *queue.Queue
	// Tenants gives the names in the answer to a registration; without it they are empty.
	Tenants *tenant.Store
	// TLS holds the server certificate. Client certificates, versions and protocols are set by the gateway.
	TLS *tls.Config
	// PublicAddress is the "host:port" that new agents are told to dial.
	PublicAddress string
	// PublicURL is where browsers reach the service: the page on which an administrator approves a code lies below it.
	PublicURL string
	// GatewayCA is the PEM that new agents check the gateway's certificate against; empty means their system's roots.
	GatewayCA []byte
	// Alone says that this is the installation's only gateway, and that nobody asks for agents any more once it is told to end:
	// there is nothing to be gained by seeing agents off one half after the other.
	Alone bool
	// LockoutThreshold is the service's, to be compared with those of directories; 0 compares with none.
	LockoutThreshold int
	Logger           *slog.Logger
	Metrics          prometheus.Registerer
}

// Gateway holds agents' streams. Its methods may be used concurrently.
type Gateway struct {
	id       string
	fleet    *fleet.Store
	ca       *ca.Authority
	queue    *queue.Queue
	tenants  *tenant.Store
	tls      *tls.Config
	public   string
	serverCA []byte
	alone    bool
	// threshold is the service's own lockout threshold.
	threshold int
	log       *slog.Logger
	metrics   *metrics
	callers   *addresses
	pollers   *addresses
	pages     string
	lists     lists

	slots sync.Map // slot id to *reservation
	seen  chan sighting
	kick  chan struct{} // asks the watch to look at the fleet now

	mu       sync.Mutex // guards the rest
	agents   map[string]*attached
	streams  map[*attached]struct{} // all, also of agents whose newer stream is in agents
	rooms    map[place]*room
	sighted  map[string]written
	serving  bool
	draining bool
	empty    chan struct{} // closed when the last agent has gone while draining
}

// place is a directory of a tenant.
type place struct {
	scope     tenant.Scope
	directory string
}

// New puts a gateway together; nothing listens before [Gateway.Serve].
func New(c Config) (*Gateway, error) {
	if c.Fleet == nil || c.CA == nil || c.Queue == nil || c.TLS == nil {
		return nil, errors.New("gateway: fleet, CA, queue and TLS are needed")
	}
	if _, _, err := net.SplitHostPort(c.PublicAddress); err != nil {
		return nil, fmt.Errorf("gateway: public address: %w", err)
	}
	g := &Gateway{
		id: idFor(c.Name), fleet: c.Fleet, ca: c.CA, queue: c.Queue, tenants: c.Tenants, public: c.PublicAddress,
		serverCA: c.GatewayCA, alone: c.Alone, threshold: c.LockoutThreshold, log: c.Logger, callers: newAddresses(registerEvery, registerBurst), pollers: newAddresses(pollEvery, pollBurst), pages: c.PublicURL, lists: lists{of: map[string]list{}}, tls: c.TLS.Clone(),
		seen: make(chan sighting, seenBuffer), kick: make(chan struct{}, 1),
		agents: map[string]*attached{}, streams: map[*attached]struct{}{}, rooms: map[place]*room{}, sighted: map[string]written{}, empty: make(chan struct{}),
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	// Any certificate passes the handshake, so that the attach can say in words what is wrong with it. Sessions are not resumed:
	// every connection proves its key.
	g.tls.ClientAuth = tls.RequireAnyClientCert
	g.tls.MinVersion = tls.VersionTLS13
	g.tls.NextProtos = []string{"h2"}
	g.tls.SessionTicketsDisabled = true
	var err error
	if g.metrics, err = newMetrics(c.Metrics, g); err != nil {
		return nil, err
	}
	return g, nil
}

// idFor makes a name fit for a subject and unlike that of any other process.
func idFor(name string) string {
	clean := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, name)
	if clean == "" {
		clean = "gateway"
	}
	return clean[:min(len(clean), 40)] + "-" + strings.ToLower(rand.Text()[:8])
}

// ID returns the name under which offers and sign-in records know this gateway.
func (g *Gateway) ID() string { return g.id }

// Serve accepts agents on listener until ctx ends. Then it tells them to come back elsewhere, takes no more work, finishes
// what is in flight up to a deadline, and returns nil. A gateway serves once.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	g.mu.Lock()
	again := g.serving || g.draining
	g.serving = true
	g.mu.Unlock()
	if again {
		return errors.New("gateway: served already")
	}
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for _, subscribe := range []func() (func(), error){
		func() (func(), error) { return g.queue.OnRelease(g.id, g.release) },
		func() (func(), error) { return g.queue.OnChange(g.changed) },
		func() (func(), error) { return g.queue.AnswerDeliveries(g.id, g.deliver) },
	} {
		stop, err := subscribe()
		if err != nil {
			_ = listener.Close()
			return err
		}
		stops = append(stops, stop)
	}
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stopLoops()
	tasks.Go(func() { g.watch(loops) })
	tasks.Go(func() { g.recordSightings(loops) })

	server := g.server()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		g.drain(0)
		server.Stop()
		return fmt.Errorf("gateway: listening: %w", err)
	case <-ctx.Done():
	}
	// Who comes now, or comes back, shall find another gateway: a closed door is what balancers and resolvers understand. Streams
	// that are open stay.
	_ = listener.Close()
	g.drain(drainWithin)
	// GracefulStop lets the last words out, and would wait for ever for a stream that does not end.
	force := time.AfterFunc(closeAfter, server.Stop)
	server.GracefulStop()
	force.Stop()
	<-failed
	return nil
}

// Ready returns nil while the gateway serves and the broker can be reached.
func (g *Gateway) Ready() error {
	g.mu.Lock()
	serving, draining := g.serving, g.draining
	g.mu.Unlock()
	switch {
	case draining:
		return fault.New(wire.GatewayDraining, "")
	case !serving:
		return fault.New(wire.TransientNetwork, "the gateway does not listen yet")
	}
	return g.queue.Ready()
}

// Attached returns the ids of a tenant's agents whose streams end here; none for the zero scope.
func (g *Gateway) Attached(scope tenant.Scope) []string {
	if scope.Zero() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var ids []string
	for id, a := range g.agents {
		if a.scope == scope {
			ids = append(ids, id)
		}
	}
	return ids
}

// enter gives an agent its place; an older stream of the same agent gets no new checks, and ends.
func (g *Gateway) enter(a *attached, directory string) error {
	g.mu.Lock()
	if g.draining {
		g.mu.Unlock()
		return fault.New(wire.GatewayDraining, "")
	}
	at := place{a.scope, directory}
	r := g.rooms[at]
	if r == nil {
		r = &room{scope: a.scope, directory: directory}
		g.rooms[at] = r
	}
	a.room = r
	older := g.agents[a.id]
	g.agents[a.id] = a
	g.streams[a] = struct{}{}
	g.mu.Unlock()
	r.enter(a)
	if older != nil {
		g.displaced(older, a.ref.Serial)
	}
	g.subscribe(r)
	g.note(a)
	return nil
}

// gone forgets an agent whose stream has ended.
func (g *Gateway) gone(a *attached) {
	g.mu.Lock()
	last := g.agents[a.id] == a
	if last {
		delete(g.agents, a.id)
		delete(g.sighted, a.id) // when it comes again, that is news
	}
	delete(g.streams, a)
	if g.draining && len(g.streams) == 0 {
		g.closeEmpty()
	}
	g.mu.Unlock()
	if last {
		g.sight(sighting{scope: a.scope, agent: a.id, left: a.stream.Stream})
	}
	g.subscribe(a.room)
}

// closeEmpty reports that nobody is left; g.mu is held.
func (g *Gateway) closeEmpty() {
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}

// subscribe makes the subscription to a room's asks exist exactly while the room has an agent to offer.
func (g *Gateway) subscribe(r *room) {
	r.subscribing.Lock()
	defer r.subscribing.Unlock()
	switch open := r.open(); {
	case open && r.stop == nil:
		stop, err := g.queue.AnswerAsks(r.scope, r.directory, g.id, func(ctx context.Context, ask queue.Ask) (queue.Offer, error) {
			return g.answerAsk(ctx, r, ask)
		})
		if err != nil {
			g.log.Error("asks of a directory are not answered here", "tenant", r.scope.String(), "directory", r.directory, "err", err)
			return
		}
		r.stop = stop
	case !open && r.stop != nil:
		r.stop()
		r.stop = nil
	}
}
