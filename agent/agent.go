// Package agent is the program beside the directory, put together: an identity, a link to the gateway, a validator that
// asks the directory, and between them the [Answerer], which opens one envelope at a time and decides whether the directory
// is asked.
//
//	gateway ◀──── link ────▶ Answerer ────▶ directory ────▶ domain controllers
//	     (dials out)            │ envelope, request memory, limits
//	                            ▼
//	                    one log line a check · status file
//
// It refuses to listen on anything but a monitor that its settings ask for (loopback, numbers without names), to keep a password longer than one call, to ask the directory twice for one envelope,
// and to run with an identity whose time is over. Rules about passwords belong to the service; this package has but the
// limits that must hold when the service itself has been taken over.
//
// cmd/sallyport-agent runs an [Agent]; so do tests and the demonstration.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
)

// ErrConfig is wrapped by every refusal of a setting.
var ErrConfig = errors.New("settings")

// Config says what an agent is made of.
type Config struct {
	// Keeper has who the agent is, and renews it. It is the caller's to close.
	Keeper *identity.Keeper
	// Identity is who the agent is when Keeper is nil: a renewal is then forgotten with the agent.
	Identity *identity.Identity
	// LDAP says how to reach the domain controllers. It is used when Validator is nil.
	LDAP ldap.Config
	// Kerberos, if set, checks passwords in place of LDAP's binds; LDAP still tells the domain and people's attributes.
	Kerberos *kerberos.Config
	// Windows, if set, has this host check passwords in place of LDAP's binds; LDAP, if it has servers, still tells people's attributes.
	Windows *windows.Config
	// Choice says why it is this validator, for people; see [Choose].
	Choice Choice
	// Validator asks the directory, in place of LDAP. If it has a method Run(context.Context) error, the agent runs it.
	Validator directory.Validator
	// Slots is how many checks run at once; 0 means link.DefaultSlots.
	Slots int
	// Limits bound how often the directory is asked.
	Limits Limits
	// Protection says about whom it is never asked: by name whatever the validator, and with LDAP.Guard's reader also by number and group.
	Protection guard.Protection
	// Proxy is an HTTP proxy for the link; nil means what HTTPS_PROXY and NO_PROXY say.
	Proxy *url.URL
	// StatusFile is written every few seconds, for `sallyport-agent status`; empty means none.
	StatusFile string
	// Monitor, if set, is where health and metrics are served while the agent runs; see [ListenMonitor]. Run closes it.
	Monitor net.Listener
	// Notify, if set, is told the status at the start, every few seconds, and at the end, when Ended is set. A status needs every lock that
	// the agent has: while Notify is called, nothing is stuck. It is called by one goroutine at a time and must be quick.
	Notify func(Status)
	// Version is the program's version, for display.
	Version string
	// Host names the machine for administrators, and for policies that want two agents on two hosts; empty means the system's name.
	Host string
	// Logger gets one line a check and the life of the link; nil discards.
	Logger *slog.Logger
}

// Agent is one agent. Make it with [New] and run it once.
type Agent struct {
	config    Config
	log       *slog.Logger
	keeper    *identity.Keeper
	validator directory.Validator
	answerer  *Answerer
	link      *link.Link
	proven    *proven // nil for a validator that cannot say which domain it asks
	started   time.Time
	confirmed chan struct{} // receives when a renewed certificate was welcomed
}

// runner is a validator that has something to do while nobody asks.
type runner interface {
	Run(ctx context.Context) error
}

// New puts an agent together; nothing is dialled before [Agent.Run]. Settings that cannot work are refused with [ErrConfig].
func New(c Config) (*Agent, error) {
	if c.Keeper == nil {
		if c.Identity == nil {
			return nil, fmt.Errorf("%w: an identity is needed", ErrConfig)
		}
		c.Keeper = identity.KeepInMemory(c.Identity)
	}
	a := &Agent{config: c, log: c.Logger, keeper: c.Keeper, validator: c.Validator, started: time.Now(), confirmed: make(chan struct{}, 1)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if reader := c.LDAP.Guard.Reader; reader != "" {
		// Wrong passwords for the reader would lock it, and who locks it has switched the guard off.
		local, _, _ := strings.Cut(reader, "@")
		c.Protection.Names = append(slices.Clone(c.Protection.Names), local)
	}
	if err := c.Protection.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if a.validator == nil {
		c.LDAP.Guard.Protection = c.Protection
		if c.LDAP.Logger == nil {
			c.LDAP.Logger = a.log
		}
		v, err := NewValidator(c.LDAP, c.Kerberos, c.Windows)
		if err != nil {
			return nil, fmt.Errorf("%w: directory: %w", ErrConfig, err)
		}
		a.validator = v
	}
	asked := a.validator
	var prover link.Prover
	if p, ok := a.validator.(directory.Prover); ok {
		a.proven = newProven(a.validator, p, a.log)
		asked, prover = a.proven, a.proven
	}
	a.answerer = newAnswerer(a.keeper, asked, c.Limits, a.log)
	a.answerer.protection = c.Protection
	host, err := c.Host, error(nil)
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			host = "unknown"
		}
	}
	a.link, err = link.New(link.Config{
		Identity: passports{a}, Handler: a.answerer, Prover: prover, Version: c.Version, Host: host,
		OS: runtime.GOOS + "/" + runtime.GOARCH, Slots: c.Slots, Health: a.health, Proxy: c.Proxy, Logger: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if a.proven != nil {
		a.proven.again = a.link.Reprove
	}
	return a, nil
}

// Run answers checks until ctx ends, finishes those in flight, and returns nil. It ends by itself, with an error, when the
// service refuses this agent for good (a *link.Refused), when the certificate's time is over (identity.ErrExpired,
// identity.ErrClock), or when the validator gives up.
func (a *Agent) Run(ctx context.Context) error {
	if a.config.Monitor != nil {
		defer a.config.Monitor.Close()
	}
	id := a.keeper.Current()
	if next := a.keeper.Pending(); next != nil {
		id = next
	}
	if err := id.CheckTime(time.Now()); err != nil {
		return err
	}
	f := id.Facts()
	a.log.Info("agent starts", "agent", f.AgentID, "agent_name", f.AgentName, "tenant", f.TenantID, "tenant_name", f.TenantName,
		"directory", f.DirectoryID, "directory_name", f.DirectoryName, "gateway", f.Gateway, "version", a.config.Version,
		"certificate_until", id.NotAfter(), "key_store", id.KeyStore())
	a.announce()
	linkCtx, stopLink := context.WithCancel(ctx)
	defer stopLink()
	// Whoever answers checks outlives the link: those in flight still need the directory.
	restCtx, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	directoryEnded := make(chan error, 1)
	go func() {
		var err error
		if r, ok := a.validator.(runner); ok {
			if err = r.Run(restCtx); restCtx.Err() == nil {
				stopLink() // nobody is left to ask
			} else {
				err = nil
			}
		}
		directoryEnded <- err
	}()
	monitorEnded := make(chan struct{})
	go func() {
		defer close(monitorEnded)
		if a.config.Monitor != nil {
			a.monitor(restCtx, a.config.Monitor)
		}
	}()
	noticesEnded := make(chan struct{})
	go func() {
		defer close(noticesEnded)
		a.notices(restCtx)
	}()
	chronicleEnded := make(chan struct{})
	go func() {
		defer close(chronicleEnded)
		a.chronicle(restCtx)
	}()
	renewalsEnded := make(chan struct{})
	go func() {
		defer close(renewalsEnded)
		a.renewals(linkCtx)
	}()
	err := a.link.Run(linkCtx)
	stopLink()
	<-renewalsEnded
	stopRest()
	directoryErr := <-directoryEnded
	<-chronicleEnded
	<-monitorEnded
	<-noticesEnded
	var refused *link.Refused
	switch {
	case errors.As(err, &refused):
		a.farewell(refused.Error())
		return refused
	case directoryErr != nil:
		a.farewell(directoryErr.Error())
		return fmt.Errorf("directory: %w", directoryErr)
	case ctx.Err() != nil:
		a.farewell("told to stop")
		a.log.Info("agent stops")
		return nil
	}
	a.farewell(fmt.Sprint(err))
	return fmt.Errorf("link: %w", err)
}

// notices tells the status to whoever wants to be notified. It is apart from the chronicle, since a disk that hangs is no reason for a
// watchdog to end an agent that answers.
func (a *Agent) notices(ctx context.Context) {
	if a.config.Notify == nil {
		return
	}
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	for {
		a.config.Notify(a.Status(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// chronicle keeps the status file fresh and the counter stored, and speaks of a certificate that nears its end.
func (a *Agent) chronicle(ctx context.Context) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var reminded time.Time
	var failed bool
	for {
		now := time.Now()
		if id := a.keeper.Current(); now.Sub(reminded) >= expiryReminder && nearsEnd(id.NotBefore(), id.NotAfter(), now) {
			reminded = now
			a.log.Warn("the agent's certificate ends soon and could not be renewed; if that does not change, make a token and run sallyport-agent register --again",
				"until", id.NotAfter(), "left", id.NotAfter().Sub(now).Round(time.Minute).String())
		}
		_ = a.keeper.Settled() // the connection that could not store it has said so
		if err := a.writeStatus(a.Status(now)); err != nil && !failed {
			failed = true // once is enough: a full disk is told by others every second
			a.log.Warn("the status file cannot be written", "err", err)
		} else if err == nil {
			failed = false
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// nearsEnd reports whether nine tenths of a certificate's life are over, by when it should have been renewed.
func nearsEnd(begin, end, now time.Time) bool {
	return now.Sub(begin) >= end.Sub(begin)/10*9
}
