package queue

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config says which broker to use. The zero value works: an embedded one.
type Config struct {
	// URL of an external broker ("nats://host:4222", "tls://…", several separated by commas). Empty: a server embedded in this
	// process that listens on no socket.
	URL string
	// Name is shown by the broker's tools; for people only.
	Name string
	// TLS is used for an external broker that asks for it; nil means the system's roots and no client certificate.
	TLS *tls.Config
	// Logger gets connection changes and malformed messages; nil means discard.
	Logger *slog.Logger
}

// Queue is this process's place on the broker: one connection and one inbox. All methods may be used concurrently.
type Queue struct {
	embedded *server.Server // nil with an external broker
	conn     *nats.Conn
	inbox    *inbox
	weights  weights
	log      *slog.Logger
}

// Open connects. An external broker that cannot be reached is no error: processes start in any order, the connection is
// retried for ever, and until it stands every call fails with [wire.TransientNetwork] and [Queue.Ready] says why.
func Open(c Config) (*Queue, error) {
	q := &Queue{log: c.Logger}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	options := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(connectWithin),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // see the package comment: nothing waits in a buffer
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				q.log.Warn("broker connection lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { q.log.Info("broker connection restored") }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			q.log.Error("broker client", "subject", subject, "err", err)
		}),
	}
	url := c.URL
	if url == "" {
		s, err := startEmbedded(c.Name)
		if err != nil {
			return nil, err
		}
		q.embedded = s
		url = nats.DefaultURL
		options = append(options, nats.InProcessServer(s))
	} else {
		options = append(options, nats.RetryOnFailedConnect(true))
		if c.TLS != nil {
			options = append(options, nats.Secure(c.TLS))
		}
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		q.Close()
		return nil, fmt.Errorf("queue: connecting to the broker: %w", err)
	}
	q.conn = conn
	if most := conn.MaxPayload(); conn.IsConnected() && most < maxMessage {
		q.Close()
		return nil, fmt.Errorf("queue: the broker carries messages of %d bytes, and %d are needed: raise its max_payload", most, maxMessage)
	}
	if q.inbox, err = openInbox(q); err != nil {
		q.Close()
		return nil, fmt.Errorf("queue: subscribing the inbox: %w", err)
	}
	return q, nil
}

// startEmbedded starts a broker without listener, signal handlers, persistence or monitoring.
func startEmbedded(name string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: name,
		DontListen: true,
		NoSigs:     true, // else the server calls os.Exit on SIGINT and races our own shutdown
		NoLog:      true,
		MaxPayload: maxMessage,
	})
	if err != nil {
		return nil, fmt.Errorf("queue: embedded broker: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(connectWithin) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("queue: embedded broker not ready within %s", connectWithin)
	}
	return s, nil
}

// Close ends the connection and the embedded broker. Calls under way fail; stop functions may still be called.
func (q *Queue) Close() {
	if q.conn != nil {
		q.conn.Close()
	}
	if q.embedded != nil {
		q.embedded.Shutdown()
		q.embedded.WaitForShutdown()
	}
}

// Ready returns nil while the broker can be reached.
func (q *Queue) Ready() error {
	if !q.conn.IsConnected() {
		return fault.Newf(wire.TransientNetwork, "broker connection is %s", strings.ToLower(q.conn.Status().String()))
	}
	return nil
}

// publish sends one message with an optional reply subject; a broker that is away makes it fail at once.
func (q *Queue) publish(subject, reply string, data []byte) error {
	if err := q.conn.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: data}); err != nil {
		return fault.Wrap(wire.TransientNetwork, "publishing on "+subject, err)
	}
	return nil
}

// settle waits until the broker knows the subscriptions made so far, so that whoever asks next finds them. A broker that is
// away learns them when it is back.
func (q *Queue) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	if err := q.conn.FlushWithContext(ctx); err != nil {
		q.log.Warn("broker slow to confirm a subscription", "err", err)
	}
}

// Change says that an agent's row in the fleet has changed: an empty Agent means any agent of the tenant.
type Change struct {
	Tenant string `json:"tenant"`
	Agent  string `json:"agent,omitempty"`
}

const fleetSubject = "sallyport.fleet"

// valid reports whether both names can be parts of a subject.
func (c Change) valid() bool { return validToken(c.Tenant) && (c.Agent == "" || validToken(c.Agent)) }

// Announce tells every gateway, this process's own among them, to look an agent up again.
func (q *Queue) Announce(c Change) error {
	if !c.valid() {
		return fault.Newf(wire.BadRequest, "change names %q, %q", c.Tenant, c.Agent)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("queue: encoding a change: %w", err)
	}
	return q.publish(fleetSubject, "", b)
}

// OnChange calls f for every announced change, one after the other, until stop. A change can be missed while the broker is
// away: who must know asks the fleet again from time to time.
func (q *Queue) OnChange(f func(Change)) (stop func(), err error) {
	sub, err := q.conn.Subscribe(fleetSubject, func(m *nats.Msg) {
		c, err := decodeChange(m.Data)
		if err != nil {
			q.log.Warn("malformed change on the broker", "bytes", len(m.Data))
			return
		}
		f(c)
	})
	if err != nil {
		return nil, fault.Wrap(wire.TransientNetwork, "subscribing to changes", err)
	}
	q.settle()
	return sync.OnceFunc(func() { q.unsubscribe(sub) }), nil
}

// unsubscribe ends a subscription; one whose connection is closed has ended already.
func (q *Queue) unsubscribe(s *nats.Subscription) {
	if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		q.log.Warn("broker subscription not ended", "subject", s.Subject, "err", err)
	}
}
