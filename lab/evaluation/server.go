package evaluation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// VendorName is what the root DSE says, so that nobody takes this for a directory to keep.
const VendorName = "Sallyport evaluation directory"

// Config of a [Server]. Only TLS is required.
type Config struct {
	// BaseDN is the domain; empty means [DefaultBaseDN].
	BaseDN string
	// NetBIOS is the domain's short name; empty means the first label of BaseDN in upper case.
	NetBIOS string
	// DomainGUID and DomainSID, as text, are what the root DSE tells of the domain; empty means made of BaseDN. With a real domain's the
	// server stands in for another of its domain controllers.
	DomainGUID, DomainSID string
	// Host is the DNS name in the root DSE; empty means "dc1." before the domain.
	Host string
	// People are those who can bind. More can be added later.
	People []people.Person
	// TLS holds the server's certificate.
	TLS *tls.Config
	// LockoutThreshold is how many wrong passwords lock an account; 0 means [DefaultLockoutThreshold], negative means that
	// nothing locks and nothing is counted.
	LockoutThreshold int
	// LockoutDuration is how long an account stays locked; 0 means until [Server.Unlock].
	LockoutDuration time.Duration
	// LockoutWindow is how far apart wrong passwords may be to add up; 0 means 30 minutes.
	LockoutWindow time.Duration
	// MaxConnections bounds open connections; more are closed at once. 0 means 4000.
	MaxConnections int
	// IdleTime is how long a connection may be silent; 0 means 15 minutes.
	IdleTime time.Duration
	// Logger receives the line at the start and, at debug level, why connections ended; nil discards. No name or password that a
	// client sent is logged.
	Logger *slog.Logger
}

// Server is an evaluation directory. Its methods may be called by several goroutines.
type Server struct {
	directory *directory
	tls       *tls.Config
	idle      time.Duration
	limit     int64
	log       *slog.Logger

	ended  context.Context // ends with Close
	end    context.CancelFunc
	open   atomic.Int64 // connections
	wait   sync.WaitGroup
	mu     sync.Mutex // guards closed together with wait.Add, and conns
	closed bool
	conns  map[net.Conn]struct{}

	dropAfterBind atomic.Bool
	delay         atomic.Int64                  // nanoseconds
	gate          atomic.Pointer[chan struct{}] // binds wait until it is closed; nil: they do not wait
	held          atomic.Int64                  // binds that wait at the gate
}

// ErrClosed is returned when a closed server is asked to serve.
var ErrClosed = errors.New("evaluation: the server is closed")

// New makes a directory with its people. It serves nothing yet.
func New(c Config) (*Server, error) {
	if c.TLS == nil {
		return nil, errors.New("evaluation: a TLS configuration with a certificate is required")
	}
	if c.BaseDN == "" {
		c.BaseDN = DefaultBaseDN
	}
	switch {
	case c.LockoutThreshold == 0:
		c.LockoutThreshold = DefaultLockoutThreshold
	case c.LockoutThreshold < 0:
		c.LockoutThreshold = 0
	}
	if c.LockoutWindow == 0 {
		c.LockoutWindow = defaultWindow
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultConnections
	}
	if c.IdleTime == 0 {
		c.IdleTime = defaultIdle
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.LockoutDuration < 0 || c.LockoutWindow < 0 || c.MaxConnections < 0 || c.IdleTime < 0 {
		return nil, errors.New("evaluation: durations and limits must not be negative")
	}
	d, err := newDirectory(c, time.Now())
	if err != nil {
		return nil, err
	}
	s := &Server{directory: d, tls: c.TLS.Clone(), idle: c.IdleTime, limit: int64(c.MaxConnections), log: c.Logger}
	if s.tls.MinVersion == 0 {
		s.tls.MinVersion = tls.VersionTLS12
	}
	s.ended, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts LDAPS connections until ctx ends or the server is closed, and returns nil then. It returns when its
// connections have ended; the listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.accept(ctx, l, true) }

// ServePlain accepts LDAP connections that become encrypted by StartTLS. Before that no password is taken.
func (s *Server) ServePlain(ctx context.Context, l net.Listener) error {
	return s.accept(ctx, l, false)
}

func (s *Server) accept(ctx context.Context, l net.Listener, direct bool) error {
	defer l.Close()
	if !s.enter() {
		return ErrClosed
	}
	defer s.wait.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()

	s.log.Warn("this is an evaluation directory, not one to keep: its people are made up and live in memory",
		"address", l.Addr().String(), "base_dn", s.directory.baseDN, "ldaps", direct)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel() // before the wait
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("evaluation: accepting: %w", err)
			}
			s.log.Warn("a connection could not be accepted", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
			continue
		}
		if s.open.Add(1) > s.limit {
			s.open.Add(-1)
			_ = conn.Close()
			continue
		}
		sessions.Go(func() {
			defer s.open.Add(-1)
			s.session(ctx, conn, direct)
		})
	}
}

// session serves one connection to its end.
func (s *Server) session(ctx context.Context, conn net.Conn, direct bool) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer s.remember(conn)()
	one := session{server: s, conn: conn, direct: direct}
	if err := one.serve(ctx); err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		s.log.Debug("connection ended", "client", conn.RemoteAddr().String(), "reason", err)
	}
}

// remember keeps a connection for [Server.Disconnect], until forget is called.
func (s *Server) remember(conn net.Conn) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[net.Conn]struct{}{}
	}
	s.conns[conn] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}
}

// enter counts a Serve, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wait.Add(1)
	return true
}

// Close ends all connections and listeners, also while clients are connected and while binds hang, and returns when every Serve
// has ended. Calling it again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.wait.Wait()
	return nil
}

// Add creates people in a directory that may be serving already. It stops at the first that cannot be created.
func (s *Server) Add(everybody ...people.Person) error {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	for _, p := range everybody {
		if err := s.directory.add(p, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// BaseDN returns the domain's root, UPNSuffix its DNS name, NetBIOS its short name.
func (s *Server) BaseDN() string { return s.directory.baseDN }

// UPNSuffix returns the domain's DNS name, the part of a UPN after the @.
func (s *Server) UPNSuffix() string { return s.directory.suffix }

// NetBIOS returns the domain's short name.
func (s *Server) NetBIOS() string { return s.directory.netBIOS }

// Unlock unlocks an account, named by sAMAccountName or UPN, and sets its count of wrong passwords to zero. It reports whether
// there is such an account.
func (s *Server) Unlock(name string) bool {
	a := s.directory.account(name)
	if a != nil {
		a.unlock()
	}
	return a != nil
}

// Binds returns how many passwords were judged for an account, named by sAMAccountName or UPN, right ones and wrong ones; 0 for an
// unknown name. It is the count for tests that want to know how often the directory was really asked.
func (s *Server) Binds(name string) int {
	if a := s.directory.account(name); a != nil {
		return int(a.binds.Load())
	}
	return 0
}

// BadPwdCount returns the count of wrong passwords as the attribute of that name has it; 0 for an unknown name.
func (s *Server) BadPwdCount(name string) int {
	if a := s.directory.account(name); a != nil {
		return a.read().wrong
	}
	return 0
}

// Connections returns how many connections are open.
func (s *Server) Connections() int { return int(s.open.Load()) }
