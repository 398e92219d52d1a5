package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
)

// Status is a snapshot of a running agent. It travels in a file in the state folder, so that the agent need not listen
// and all systems have one way: the file is replaced every few seconds, and one that is old belongs to an agent that is gone.
type Status struct {
	// Written is when the snapshot was taken, Started when the agent was.
	Written time.Time `json:"written"`
	Started time.Time `json:"started"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	// Ended says why the agent stopped; empty while it runs.
	Ended string `json:"ended,omitempty"`

	Agent         string    `json:"agent"`
	AgentName     string    `json:"agent_name"`
	TenantName    string    `json:"tenant_name"`
	DirectoryName string    `json:"directory_name"`
	Service       string    `json:"service"`
	Certificate   time.Time `json:"certificate_until"`
	// Renewal is when the certificate is to be renewed; KeyStore where the private keys are.
	Renewal  time.Time `json:"renewal_at,omitzero"`
	KeyStore string    `json:"key_store,omitempty"`

	Link Link `json:"link"`
	// Guard is how the lockout guard stands; nil when the directory is not LDAP.
	Guard *Guard `json:"lockout_guard,omitempty"`
	// Validator is which one checks passwords, and why; nil for one that the agent did not make.
	Validator *Asked `json:"validator,omitempty"`
	// Servers are the domain controllers: those of the settings in their order, then those that DNS names; none when the directory is not LDAP.
	Servers []Server `json:"servers,omitempty"`
	// DNS is what it says about domain controllers; nil when it is not asked.
	DNS *DNS `json:"dns,omitempty"`
	// Recent are the newest checks that are over, the newest first.
	Recent []Finished `json:"recent,omitempty"`
	// Tally counts checks by outcome since Started.
	Tally Tally `json:"checks"`
	// Remembered is how many request ids are kept against replay.
	Remembered int `json:"remembered"`
}

// Link is how the link to the gateway stands.
type Link struct {
	State     link.State `json:"state"`
	Address   string     `json:"address"`
	Gateway   string     `json:"gateway,omitempty"`
	Since     time.Time  `json:"since"`
	NextTry   time.Time  `json:"next_try,omitzero"`
	LastError string     `json:"last_error,omitempty"`
	Slots     int        `json:"slots"`
	InFlight  int        `json:"in_flight"`
	// Reconnects counts streams that ended, Failures tries that came to none.
	Reconnects uint64 `json:"reconnects"`
	Failures   uint64 `json:"connect_failures"`
	// SkewMS is how far the gateway's clock is ahead of this host's.
	SkewMS int64 `json:"clock_skew_ms"`
}

// Guard is how the lockout guard stands, and what it read of the directory's policies.
type Guard struct {
	State   ldap.GuardState `json:"state"`
	Reader  string          `json:"reader,omitempty"`
	Reserve int             `json:"reserve"`
	// Domain is the domain's policy, and Strictest the strictest of it and of all password settings objects that may be read.
	Domain    *LockoutPolicy `json:"domain,omitempty"`
	Strictest *LockoutPolicy `json:"strictest,omitempty"`
	Objects   int            `json:"password_settings_objects"`
	ReadAt    time.Time      `json:"read_at,omitzero"`
	// Missing says what the reader may not read.
	Missing     []string  `json:"missing,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Spared and Protected count the attempts that were not spent, since Started.
	Spared    uint64 `json:"spared"`
	Protected uint64 `json:"protected"`
}

// LockoutPolicy is what a directory does about wrong passwords: Threshold of them within Window lock, for Duration. A threshold of 0 never locks, a
// duration of 0 lasts until somebody unlocks.
type LockoutPolicy struct {
	Source     string `json:"source"`
	Threshold  int    `json:"threshold"`
	WindowMS   int64  `json:"window_ms"`
	DurationMS int64  `json:"duration_ms"`
}

func policyOf(p *guard.Policy) *LockoutPolicy {
	if p == nil {
		return nil
	}
	return &LockoutPolicy{Source: line(p.Source, maxName), Threshold: p.Threshold, WindowMS: p.Window.Milliseconds(), DurationMS: p.Duration.Milliseconds()}
}

func guardOf(g ldap.GuardStatus) *Guard {
	return &Guard{State: g.State, Reader: g.Reader, Reserve: g.Reserve, Domain: policyOf(g.Domain), Strictest: policyOf(g.Strictest), Objects: g.Objects,
		ReadAt: g.ReadAt, Missing: g.Missing, LastError: g.LastError, LastErrorAt: g.LastErrorAt, Spared: g.Spared, Protected: g.Protected}
}

// Server is how one domain controller stands.
type Server struct {
	Address string     `json:"address"`
	State   ldap.State `json:"state"`
	Since   time.Time  `json:"since,omitzero"`
	// Idle and InUse count connections.
	Idle  int `json:"idle"`
	InUse int `json:"in_use"`
	// Latency is nil before its first answer to a bind.
	Latency *Latency `json:"latency,omitempty"`
	// LastError stays after the server has recovered; Remedy says what to do about it, if that is known.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Remedy      string    `json:"remedy,omitempty"`
	NextProbe   time.Time `json:"next_probe,omitzero"`
	// Found says that DNS names it. Rank is the order of preference, the lowest first; those of equal rank are chosen among by PingMS, the smoothed
	// time for a harmless question, 0 while nothing was measured. Why says why it is the one that is asked; empty for all others.
	Found  bool    `json:"found,omitempty"`
	Rank   int     `json:"rank"`
	PingMS float64 `json:"ping_ms,omitempty"`
	Why    string  `json:"chosen_because,omitempty"`
}

// DNS is what it says about the domain controllers of a domain.
type DNS struct {
	Domain string `json:"domain"`
	// Site is the one whose domain controllers go first, empty while none is known; SiteLearned says that a domain controller has named it, SiteUnknown that DNS does not know it.
	Site        string `json:"site,omitempty"`
	SiteLearned bool   `json:"site_learned,omitempty"`
	SiteUnknown bool   `json:"site_unknown,omitempty"`
	// Named are the hosts in use, of so many Records; LeftOut usable ones are beyond the limit, and Foreign are examples of names outside of the domain.
	Named   []string  `json:"named,omitempty"`
	Records int       `json:"records"`
	LeftOut int       `json:"left_out,omitempty"`
	Foreign []string  `json:"foreign,omitempty"`
	FoundAt time.Time `json:"found_at,omitzero"`
	// LastError is why the last question led to nothing; what was found before stays in use.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

func dnsOf(l ldap.Located) *DNS {
	d := &DNS{Domain: l.Domain, Site: l.Site, SiteLearned: l.Learned, SiteUnknown: l.Found.SiteUnknown, Records: l.Found.Records, LeftOut: l.Found.Beyond,
		FoundAt: l.FoundAt, LastError: line(l.LastError, maxDetail), LastErrorAt: l.LastErrorAt}
	for _, t := range l.Found.Targets {
		d.Named = append(d.Named, t.Host)
	}
	for _, name := range l.Found.Foreign {
		d.Foreign = append(d.Foreign, line(name, maxName))
	}
	return d
}

// Running reports whether the agent that wrote the snapshot is alive at now, as far as a file can tell. A snapshot of the future
// was written before the clock was set back, and says nothing about now.
func (s Status) Running(now time.Time) bool {
	return s.Ended == "" && now.Sub(s.Written).Abs() < statusStale
}

// Attached reports whether the agent runs and can be given checks.
func (s Status) Attached(now time.Time) bool { return s.Running(now) && s.Link.State == link.Attached }

// Status takes a snapshot. It may be called at any time.
func (a *Agent) Status(now time.Time) Status {
	id := a.keeper.Current()
	l, f := a.link.Status(), id.Facts()
	s := Status{
		Written: now, Started: a.started, PID: os.Getpid(), Version: a.config.Version,
		Agent: f.AgentID, AgentName: f.AgentName, TenantName: f.TenantName, DirectoryName: f.DirectoryName, Service: f.Service,
		Certificate: id.NotAfter(), Renewal: identity.RenewAt(id.NotBefore(), id.NotAfter(), id.Serial()), KeyStore: id.KeyStore(),
		Link: Link{State: l.State, Address: l.Address, Gateway: l.Gateway, Since: l.Since, NextTry: l.NextTry, LastError: l.LastError,
			Slots: l.Slots, InFlight: l.InFlight, SkewMS: l.ClockSkew.Milliseconds(),
			Reconnects: l.Reconnects, Failures: l.Failures},
		Recent: a.answerer.ledger.newest(), Tally: a.answerer.Tally(), Remembered: a.answerer.seen.size(),
	}
	s.Validator = a.asked()
	if v, ok := a.validator.(interface{ Status() []ldap.ServerStatus }); ok {
		for _, d := range v.Status() {
			s.Servers = append(s.Servers, Server{Address: d.Address, State: d.State, Since: d.Since, Idle: d.Idle, InUse: d.InUse,
				LastError: d.LastError, LastErrorAt: d.LastErrorAt, Remedy: d.Remedy, NextProbe: d.NextProbe, Latency: a.answerer.ledger.latency(d.Address),
				Found: d.Found, Rank: d.Rank, PingMS: float64(d.Latency.Microseconds()) / 1000, Why: d.Why})
		}
	}
	if v, ok := a.validator.(interface{ Located() (ldap.Located, bool) }); ok {
		if l, asked := v.Located(); asked {
			s.DNS = dnsOf(l)
		}
	}
	if v, ok := a.validator.(interface{ GuardStatus() ldap.GuardStatus }); ok {
		s.Guard = guardOf(v.GuardStatus())
	}
	return s
}

func (a *Agent) writeStatus(s Status) error {
	if a.config.StatusFile == "" {
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(a.config.StatusFile, append(text, '\n'), false)
}

// farewell leaves a last status that says why the agent stopped.
func (a *Agent) farewell(why string) {
	s := a.Status(time.Now())
	s.Ended = why
	if a.config.Notify != nil {
		a.config.Notify(s)
	}
	if err := a.writeStatus(s); err != nil {
		a.log.Warn("the status file cannot be written", "err", err)
	}
}

// ReadStatus reads what an agent wrote. The error wraps fs.ErrNotExist when none has run with this file yet.
func ReadStatus(path string) (Status, error) {
	f, err := os.Open(path)
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxStatus+1))
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(text)
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w; a running agent writes it anew within seconds: start the agent, or remove the file", path, err)
	}
	return s, nil
}

var errStatus = errors.New("not a status file")

func parseStatus(text []byte) (Status, error) {
	var s Status
	if len(text) > maxStatus {
		return s, fmt.Errorf("%w: larger than %d bytes", errStatus, maxStatus)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, fmt.Errorf("%w: %w", errStatus, err)
	}
	if s.Written.IsZero() {
		return Status{}, fmt.Errorf("%w: no time of writing", errStatus)
	}
	return s, nil
}

// NeverRan reports whether an error of [ReadStatus] means that no agent has run there yet.
func NeverRan(err error) bool { return errors.Is(err, fs.ErrNotExist) }
