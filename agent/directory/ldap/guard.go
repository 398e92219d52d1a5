package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/wire"
)

// Guard says what is looked at before somebody's attempt is spent, and as whom.
//
//	live connection ─▶ who is it? ─▶ protected? ─▶ how far from being locked? ─▶ fence ─▶ bind
//	                     │ nobody        │ AccountProtected   │ LockoutSpared
//	                     ▼               ▼                    ▼
//	                   bind as ever    nothing is sent      nothing is sent
//
// What the reader may not see guards nothing, and [GuardStatus] says so. A domain controller that does not answer the reader, or says that it has
// no time, is trouble of its own: nothing is sent then, or whoever floods it would switch the guard off.
type Guard struct {
	// Reader is the account that looks, as name@domain; empty means that nobody looks.
	Reader string
	// Password of the reader. It is kept for as long as the validator.
	Password wire.Secret
	// Reserve is how many attempts are left unspent; 0 means guard.DefaultReserve.
	Reserve int
	// Protection says who is never asked about. Names alone are the caller's to refuse, who has them before the directory is reached.
	Protection guard.Protection
}

// GuardState is how the guard's reader stands.
type GuardState string

// The states.
const (
	GuardOff     GuardState = "off"     // no reader is configured
	GuardUntried GuardState = "untried" // nothing was read yet
	GuardReading GuardState = "reading"
	GuardPartial GuardState = "partial" // something that the guard needs cannot be read
	GuardRefused GuardState = "refused" // the directory does not accept the reader
)

// GuardStatus is how the guard stands, for people and monitoring.
type GuardStatus struct {
	State  GuardState
	Reader string
	// Reserve is how many attempts are left unspent.
	Reserve int
	// Domain is the domain's policy and Strictest the strictest of all that were seen; nil while unknown.
	Domain, Strictest *guard.Policy
	// Objects is how many password settings objects were seen.
	Objects int
	// ReadAt is when policies were last read; zero for never.
	ReadAt time.Time
	// Missing says what cannot be read, and LastError what went wrong last.
	Missing     []string
	LastError   string
	LastErrorAt time.Time
	// Spared and Protected count the attempts that were not spent.
	Spared, Protected uint64
}

// guardian is the guard of one validator.
type guardian struct {
	config Guard
	log    *slog.Logger
	bases  func() *server // the server to read policies at; nil while none serves

	mu       sync.Mutex
	pools    map[string]*readers // by address
	closed   bool
	read     *policies
	readAt   time.Time
	pause    time.Time            // until when a refused reader is not tried again
	missing  map[string]bool      // what could not be read when policies were read last
	hidden   map[string]time.Time // what could not be read of somebody's account, and when last
	busy     map[string]*attempts
	lastErr  string
	lastAt   time.Time
	spared   uint64
	shielded uint64
}

// policies are what the directory has for all accounts.
type policies struct {
	domain  guard.Policy
	known   bool
	objects map[string]guard.Policy // by folded DN
	// ahead is how far the directory's clock is ahead of ours.
	ahead time.Duration
	// others are the names of the forest's other domains, in lower case: an account@other is none of this domain's.
	others map[string]bool
	// groups are the relative identifiers of the protected groups and of those within them, for an account's primary group.
	groups map[string]bool
}

// attempts are those of one account that this agent has under way.
type attempts struct {
	running int
	ended   time.Time     // of the last one that is over
	changed chan struct{} // closed when one ends
}

// readers are the connections of the reader to one server. The first of slots to come has a connection to itself.
type readers struct {
	slots chan struct{}

	// Guarded by guardian.mu.
	idle   []*conn
	left   bool   // the server is not used any more
	said   string // the last complaint that was logged, and when
	saidAt time.Time
}

func newGuardian(c Guard, log *slog.Logger) (*guardian, error) {
	if err := c.Protection.Check(); err != nil {
		return nil, err
	}
	if c.Reserve < 0 {
		return nil, errors.New("the lockout reserve must not be negative")
	}
	if c.Reserve == 0 {
		c.Reserve = guard.DefaultReserve
	}
	if c.Reader != "" {
		check := directory.Check{Name: c.Reader, Password: c.Password, Fence: func(context.Context) error { return nil }}
		if e := check.Refuse(); e != nil {
			return nil, fmt.Errorf("reader account: %w", e.Cause)
		}
	}
	return &guardian{config: c, log: log, pools: map[string]*readers{}, missing: map[string]bool{}, hidden: map[string]time.Time{}, busy: map[string]*attempts{}}, nil
}

// run reads policies now and then until ctx ends, and closes what is idle.
func (g *guardian) run(ctx context.Context) {
	if g.config.Reader == "" {
		return
	}
	for ctx.Err() == nil {
		pause := policyRetry
		if s := g.bases(); s != nil {
			if g.refresh(ctx, s) == nil {
				pause = policyEvery
			}
		}
		g.sweep(time.Now())
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	g.mu.Lock()
	g.closed = true
	var idle []*conn
	for _, p := range g.pools {
		idle, p.idle = append(idle, p.idle...), nil
	}
	g.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// leave closes what is kept to a server that is not used any more.
func (g *guardian) leave(s *server) {
	g.mu.Lock()
	p := g.pools[s.address.String()]
	if p != nil {
		p.left = true
		delete(g.pools, s.address.String())
	}
	g.mu.Unlock()
	if p != nil {
		g.empty(p)
	}
}

// status describes the guard for people.
func (g *guardian) status() GuardStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GuardStatus{State: GuardUntried, Reader: g.config.Reader, Reserve: g.config.Reserve, ReadAt: g.readAt, LastError: g.lastErr, LastErrorAt: g.lastAt,
		Spared: g.spared, Protected: g.shielded}
	s.Missing = slices.Collect(maps.Keys(g.missing))
	for what, at := range g.hidden {
		if time.Since(at) < hiddenFor {
			s.Missing = append(s.Missing, what)
		}
	}
	slices.Sort(s.Missing)
	if p := g.read; p != nil {
		s.State, s.Objects = GuardReading, len(p.objects)
		if p.known {
			domain := p.domain
			strictest := domain
			for _, o := range p.objects {
				if o.Stricter(strictest) {
					strictest = o
				}
			}
			s.Domain, s.Strictest = &domain, &strictest
		}
	}
	switch {
	case g.config.Reader == "":
		s.State = GuardOff
	case time.Now().Before(g.pause):
		s.State = GuardRefused
	case len(s.Missing) > 0:
		s.State = GuardPartial
	}
	return s
}

// admit decides whether an attempt of this check's name may be spent at s. When it may, done is to be called after the bind. A name that the
// domain does not have is the directory's to refuse, after the same questions as for one that it has.
func (g *guardian) admit(ctx context.Context, s *server, check directory.Check) (done func(), e *directory.Error) {
	nothing := func() {}
	if g.config.Reader == "" || !g.tries(time.Now()) {
		return nothing, nil
	}
	if err := g.fresh(ctx, s); errors.Is(err, errUnanswered) {
		return nil, g.unreachable(ctx, err)
	}
	for {
		began := time.Now()
		found, err := g.look(ctx, s, check)
		switch {
		case errors.Is(err, errUnanswered):
			return nil, g.unreachable(ctx, err)
		case err != nil:
			return nothing, nil // fallen back, and written down
		case slices.ContainsFunc(found, func(a account) bool { return a.protected }):
			g.mu.Lock()
			g.shielded++
			g.mu.Unlock()
			return nil, &directory.Error{Code: wire.AccountProtected, Cause: errors.New("a protected account is never asked about")}
		}
		done, again, e := g.reserve(found, began, time.Now())
		if again == nil {
			return done, e
		}
		select {
		case <-again:
		case <-ctx.Done():
			return nil, &directory.Error{Code: wire.AgentTooSlow, Cause: context.Cause(ctx)}
		}
	}
}

// Admit asks the guard whether one more attempt of this name may be spent, for a validator that asks the domain controllers by another protocol. dc is the
// one that it is about to ask, as host and port of that protocol: the counts are read there if it is one of ours, since each has its own, and
// else at the one that is used first. When the attempt may be spent, done is to be called after it. The codes are those of [Validator.Validate].
func (v *Validator) Admit(ctx context.Context, dc string, check directory.Check) (done func(), refused *directory.Error) {
	if v.guard.config.Reader == "" {
		return func() {}, nil
	}
	host, _, err := net.SplitHostPort(dc)
	if err != nil {
		host = dc
	}
	s, e := v.serving(ctx, host)
	if e != nil {
		return nil, e
	}
	return v.guard.admit(ctx, s, check)
}

// serving returns the server on this host, if it serves and has told of its domain, and else the one that is used first.
func (v *Validator) serving(ctx context.Context, host string) (*server, *directory.Error) {
	s := v.firstServing()
	for _, other := range v.servers() {
		if strings.EqualFold(other.address.host, host) && other.admits() && other.baseDN() != "" {
			s = other
			break
		}
	}
	if s == nil { // the background has not met one yet, or all are down
		c, err := v.take(ctx)
		if err != nil {
			return nil, v.guard.unreachable(ctx, fmt.Errorf("%w: %w", errUnanswered, err))
		}
		s = c.server
		s.put(c)
	}
	return s, nil
}

func (g *guardian) unreachable(ctx context.Context, err error) *directory.Error {
	code := wire.DirectoryUnreachable
	if ctx.Err() != nil {
		code = wire.AgentTooSlow
	}
	return &directory.Error{Code: code, Cause: fmt.Errorf("lockout guard: %w", err)}
}

// again is closed: look once more at once.
var atOnce = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// reserve counts one more attempt for these accounts, if each bears it along with those that are under way here. The counts were read since
// began: an attempt that ended after that may or may not be among them, so they are to be read again. again is not nil when it is worth looking
// once more, as soon as it is closed: an attempt that is under way may turn out to have been right.
func (g *guardian) reserve(found []account, began, now time.Time) (done func(), again <-chan struct{}, e *directory.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ahead time.Duration
	if g.read != nil {
		ahead = g.read.ahead
	}
	for _, a := range found {
		if !a.counted || a.policy.Threshold <= 0 {
			continue // whatever others do, nothing is counted
		}
		b := g.busy[a.key]
		running := 0
		if b != nil {
			if !b.ended.Before(began) {
				return nil, atOnce, nil
			}
			running = b.running
		}
		at := now.Add(ahead)
		d := guard.Decide(a.policy, a.count, a.last, at, g.config.Reserve)
		if d.Spend && running > 0 {
			d = guard.Decide(a.policy, guard.Standing(a.policy, a.count, a.last, at)+running, at, at, g.config.Reserve)
			if !d.Spend {
				return nil, b.changed, nil
			}
		}
		if !d.Spend {
			g.spared++
			return nil, nil, &directory.Error{Code: wire.LockoutSpared, Cause: spared(a, d, g.config.Reserve)}
		}
	}
	for _, a := range found {
		b := g.busy[a.key]
		if b == nil {
			b = &attempts{changed: make(chan struct{})}
			g.busy[a.key] = b
		}
		b.running++
	}
	return func() { g.ended(found) }, nil, nil
}

// ended takes an attempt of these accounts off.
func (g *guardian) ended(found []account) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range found {
		b := g.busy[a.key]
		b.running--
		b.ended = time.Now()
		close(b.changed)
		b.changed = make(chan struct{})
	}
	if len(g.busy) > sweepAbove {
		g.forget(time.Now())
	}
}

func (g *guardian) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(now)
}

// forget drops accounts whose last attempt ended before anything that is still being looked at began.
func (g *guardian) forget(now time.Time) {
	for key, b := range g.busy {
		if b.running == 0 && now.Sub(b.ended) > busyFor {
			delete(g.busy, key)
		}
	}
}

// spared says why an attempt was not spent.
func spared(a account, d guard.Decision, reserve int) error {
	until := "an administrator unlocks it or a right password comes"
	if !d.Until.IsZero() {
		until = d.Until.UTC().Format(time.RFC3339)
	}
	return fmt.Errorf("%d more wrong passwords lock the account by the policy of %s (%d), and %d are kept in reserve; not asked until %s",
		d.Left, a.policy.Source, a.policy.Threshold, reserve, until)
}

// account is what the reader saw of one account.
type account struct {
	key       string
	protected bool
	// counted says that policy, count and last are known, and that the account is not locked already: then the directory counts nothing.
	counted bool
	policy  guard.Policy
	count   int
	last    time.Time
}

// accountAttributes are read of an account. Two are made by the directory when asked for: which password settings object holds, and whether the
// account is locked now (MS-ADTS 3.1.1.4.5.35, 3.1.1.4.5.17).
var accountAttributes = []string{"objectSid", "sAMAccountName", "userPrincipalName", "primaryGroupID", "badPwdCount", "badPasswordTime", "msDS-ResultantPSO",
	"msDS-User-Account-Control-Computed"}

// accountLocked is UF_LOCKOUT of msDS-User-Account-Control-Computed.
const accountLocked = 0x10

// look finds the accounts that a name may belong to. Where there are several and [meant] cannot tell, all have to bear the attempt, since only the
// directory knows which it takes. The questions are the same for a name that nobody has. An error that is not errUnanswered was written down.
func (g *guardian) look(ctx context.Context, s *server, check directory.Check) ([]account, error) {
	g.mu.Lock()
	p := g.read
	g.mu.Unlock()
	if p == nil {
		return nil, errUnread
	}
	filter := nameFilter(check.Name, p.others)
	if check.Account != nil {
		filter = "(distinguishedName=" + goldap.EscapeFilter(check.Account.DN) + ")"
	}
	base := s.baseDN()
	var entries []*goldap.Entry
	var members map[string]bool
	err := g.ask(ctx, s, func(c *conn) (err error) {
		if entries, err = c.few(base, filter, accountAttributes...); err != nil || len(g.config.Protection.Groups) == 0 {
			return err
		}
		members, err = c.membersOf(g.config.Protection.Groups, entries, base)
		if err != nil && !noAnswer(err) {
			g.lacks("members of protected groups", err)
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if check.Account == nil {
		entries = meant(entries, check.Name, base)
	}
	var found []account
	for _, e := range entries {
		found = append(found, g.accountOf(e, p, members[e.DN]))
	}
	return found, nil
}

func (g *guardian) accountOf(e *goldap.Entry, p *policies, member bool) account {
	sid := e.GetRawAttributeValue("objectSid")
	a := account{key: string(sid), protected: member || g.config.Protection.Protects(e.GetAttributeValue("sAMAccountName"), sid) ||
		p.groups[e.GetAttributeValue("primaryGroupID")]}
	if a.key == "" {
		a.key = strings.ToLower(e.DN)
	}
	control, shown := guard.Count(e.GetAttributeValue("msDS-User-Account-Control-Computed"))
	if shown && control&accountLocked != 0 {
		return a
	}
	a.policy = p.domain
	if dn := e.GetAttributeValue("msDS-ResultantPSO"); dn != "" {
		own, ok := p.objects[strings.ToLower(dn)]
		if ok {
			a.policy = own
		} else {
			g.lacks("a password settings object that holds for somebody", fmt.Errorf("%.200q", dn))
		}
	}
	// Counts are not replicated (MS-ADA1 badPwdCount): a domain controller at which nobody has been this account yet has none. Who may not see
	// them does not see what is computed of the account either.
	counted := func(name string) string {
		value := e.GetAttributeValue(name)
		if value == "" && shown {
			return "0"
		}
		return value
	}
	var okCount, okLast bool
	a.count, okCount = guard.Count(counted("badPwdCount"))
	a.last, okLast = guard.Filetime(counted("badPasswordTime"))
	if !okCount || !okLast {
		g.lacks("badPwdCount and badPasswordTime of accounts", errors.New("no such value in an account's entry"))
	}
	a.counted = okCount && okLast && (p.known || a.policy.Source != "")
	return a
}

// nameFilter finds the accounts that a directory may take a name for (MS-ADTS 5.1.1.1.1): by userPrincipalName, by sAMAccountName with any domain
// but another one of the forest, and by what else a name of this form can be, which nobody should use.
func nameFilter(name string, others map[string]bool) string {
	name = strings.TrimSpace(name)
	local, domain := name, ""
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		local, domain = name[:at], name[at+1:]
	}
	local = local[strings.LastIndexByte(local, '\\')+1:]
	account := ""
	if !others[strings.ToLower(domain)] {
		account = "(sAMAccountName=" + goldap.EscapeFilter(local) + ")"
	}
	whole := goldap.EscapeFilter(name)
	return "(&(objectClass=user)(|(userPrincipalName=" + whole + ")" + account + "(displayName=" + whole + ")(servicePrincipalName=" + whole + ")))"
}

// meant leaves out accounts that a directory does not take a name for while another one has it. An explicit userPrincipalName goes before all else
// (MS-ADTS 5.1.1.1.1), and the implicit one before displayName and servicePrincipalName, which people can write: everybody may by default make ten
// computers and name them, and their wrong passwords must not keep out the person whose name they bear. Spellings that differ by more than case
// prove nothing here.
func meant(entries []*goldap.Entry, name, base string) []*goldap.Entry {
	n := splitName(name)
	if explicit := having(entries, "userPrincipalName", n.upn); len(explicit) == 1 {
		return explicit
	}
	if implicit := having(entries, "sAMAccountName", n.account); len(implicit) == 1 && strings.EqualFold(n.domain, dnsName(base)) {
		return slices.DeleteFunc(slices.Clone(entries), func(e *goldap.Entry) bool { return e != implicit[0] && e.GetAttributeValue("userPrincipalName") == "" })
	}
	return entries
}

// having are the entries whose attribute has this value, in any case; none for no value.
func having(entries []*goldap.Entry, attribute, value string) (those []*goldap.Entry) {
	for _, e := range entries {
		if value != "" && strings.EqualFold(e.GetAttributeValue(attribute), value) {
			those = append(those, e)
		}
	}
	return those
}

// inChain matches what is linked directly or through other objects (LDAP_MATCHING_RULE_IN_CHAIN, MS-ADTS 3.1.1.3.4.4.3).
const inChain = ":1.2.840.113556.1.4.1941:="

// membersOf says which entries are members of one of the groups, direct or through others. It looks at the groups' member, which by the schema's default every
// signed-in user may read, and not at the users' memberOf, which hardened domains hide: the filter would then find nobody, and nothing would say why. For no
// entry it asks as for one that is no member.
func (c *conn) membersOf(groups []string, entries []*goldap.Entry, base string) (map[string]bool, error) {
	members := map[string]bool{}
	dns := []string{base}
	if len(entries) > 0 {
		dns = nil
	}
	for _, e := range entries {
		dns = append(dns, e.DN)
	}
	for _, dn := range dns {
		found, err := c.few(base, holdersFilter(groups, dn), "1.1")
		if err != nil {
			return members, err
		}
		members[dn] = len(found) > 0
	}
	return members, nil
}

// holdersFilter finds those of the groups of which dn is a member.
func holdersFilter(groups []string, dn string) string {
	var b strings.Builder
	b.WriteString("(&(objectClass=group)(|")
	for _, g := range groups {
		b.WriteString("(distinguishedName=" + goldap.EscapeFilter(g) + ")")
	}
	return b.String() + ")(member" + inChain + goldap.EscapeFilter(dn) + "))"
}

// innerFilter finds the groups that are members of a group, direct or through others.
func innerFilter(group string) string {
	return "(&(objectClass=group)(memberOf" + inChain + goldap.EscapeFilter(group) + "))"
}
