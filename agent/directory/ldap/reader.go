package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/wire"
)

var (
	// errUnanswered says that a domain controller did not answer the reader: nothing is known, and nothing may be spent.
	errUnanswered = errors.New("the domain controller does not answer the reader account")
	// errUnread says that the directory answered, and not with what was asked for: the guard has nothing to go by.
	errUnread = errors.New("the reader account may not look")
	// errRefused is an errUnread: the directory does not let the reader in.
	errRefused = fmt.Errorf("%w: the directory does not accept it", errUnread)
)

// transport reports whether an error is none of the directory's answers.
func transport(err error) bool {
	var answer *goldap.Error
	return !errors.As(err, &answer) || answer.ResultCode >= goldap.ErrorNetwork
}

// noAnswer reports whether nobody has answered what was asked: no answer came, or one that says that there is no time for it.
func noAnswer(err error) bool {
	return transport(err) || goldap.IsErrorAnyOf(err, goldap.LDAPResultBusy, goldap.LDAPResultUnavailable, goldap.LDAPResultTimeLimitExceeded)
}

// tries reports whether the reader is to be tried. One that was refused is left alone for a while, or its own account would be locked.
func (g *guardian) tries(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !now.Before(g.pause)
}

// fresh sees to it that policies were read once. Those who come while they are being read for the first time read them too.
func (g *guardian) fresh(ctx context.Context, s *server) error {
	g.mu.Lock()
	known := g.read != nil
	g.mu.Unlock()
	if known {
		return nil
	}
	return g.refresh(ctx, s)
}

// refresh reads what the directory has for all accounts. What was known stays if it fails.
func (g *guardian) refresh(ctx context.Context, s *server) error {
	now := time.Now()
	if !g.tries(now) {
		return errUnread
	}
	var p *policies
	var lacking []string
	err := g.ask(ctx, s, func(c *conn) (err error) {
		p, lacking, err = c.policies(s.baseDN(), g.config.Protection.Groups)
		return err
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		return err
	}
	fresh := g.read == nil
	g.read, g.readAt = p, now
	if fresh && p.known {
		g.log.Info("lockout policy read", "dc", s.address.String(), "threshold", p.domain.Threshold, "window", p.domain.Window, "duration", p.domain.Duration,
			"password_settings_objects", len(p.objects), "reserve", g.config.Reserve)
	}
	before := g.missing
	g.missing = map[string]bool{}
	for _, what := range lacking {
		g.missing[what] = true
		if !before[what] {
			g.log.Warn("the reader account may not read everything; the service's own counters guard where it cannot", "missing", what, "dc", s.address.String())
		}
	}
	return nil
}

// lacks writes down that something of an account could not be read, and says it when that is new. It may be readable of the next account, so
// it is remembered for a while.
func (g *guardian) lacks(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	before, ok := g.hidden[what]
	g.hidden[what] = now
	if ok && now.Sub(before) < hiddenFor {
		return
	}
	g.lastErr, g.lastAt = what+": "+err.Error(), now
	g.log.Warn("the reader account may not read everything; the service's own counters guard where it cannot", "missing", what, "err", err)
}

// ask has f talk to s as the reader, once more if a kept connection was dead. Its error wraps errUnanswered or errUnread.
func (g *guardian) ask(ctx context.Context, s *server, f func(*conn) error) error {
	pool := g.pool(s.address.String())
	select {
	case pool.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnanswered, context.Cause(ctx))
	}
	defer func() { <-pool.slots }()
	for {
		c, kept, err := g.connection(ctx, s, pool)
		if err != nil {
			return g.failed(s, pool, err)
		}
		err = c.within(ctx, readTimeout, func() error { return f(c) })
		if err == nil || !transport(err) {
			c.used, c.seen = time.Now(), time.Now()
			g.giveBack(pool, c)
			switch {
			case err == nil:
				return nil
			case noAnswer(err):
				return g.failed(s, pool, fmt.Errorf("%w: %w", errUnanswered, err))
			}
			return g.failed(s, pool, fmt.Errorf("%w: %w", errUnread, err))
		}
		c.close()
		// One that is silent has had its time; the rest is for another server.
		if !kept || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return g.failed(s, pool, fmt.Errorf("%w: %w", errUnanswered, err))
		}
	}
}

// failed writes an error down and returns it. Of each server it logs an error that is new, one in a while since many hold the number of a port,
// and that the reader is refused each time, which is every few minutes.
func (g *guardian) failed(s *server, pool *readers, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if errors.Is(err, errUnanswered) {
		s.suspect()
	}
	switch {
	case errors.Is(err, errRefused):
		if now.Before(g.pause) {
			break // another check has said so
		}
		g.pause = now.Add(readerPause)
		g.log.Error("the reader account is refused: neither lockout in the directory nor protected groups are looked at", "code", int(wire.ReaderRefused),
			"reader", g.config.Reader, "dc", s.address.String(), "err", err, "again_in", readerPause)
	case err.Error() != pool.said && now.Sub(pool.saidAt) >= complainEvery:
		pool.said, pool.saidAt = err.Error(), now
		g.log.Warn("the reader account cannot look", "dc", s.address.String(), "err", err)
	}
	g.lastErr, g.lastAt = s.address.String()+": "+err.Error(), now
	return err
}

func (g *guardian) pool(address string) *readers {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pools[address]
	if p == nil {
		p = &readers{slots: make(chan struct{}, readConnections)}
		g.pools[address] = p
	}
	return p
}

// connection returns one that is bound as the reader, kept or new. A kept one that may be silent is asked first, as those for binds are, and none is
// trusted from before the server was last down.
func (g *guardian) connection(ctx context.Context, s *server, pool *readers) (c *conn, kept bool, err error) {
	for c = g.pop(pool); c != nil; c = g.pop(pool) {
		if !c.dead() && time.Since(c.used) < readIdle && !c.used.Before(s.servingSince()) {
			if time.Since(c.seen) < freshFor {
				return c, true, nil
			}
			_, err := c.ping(ctx, pingTimeout)
			if err == nil {
				return c, true, nil
			}
			if errors.Is(err, context.DeadlineExceeded) {
				g.empty(pool) // what has silenced one has silenced all
			}
		}
		c.close()
	}
	limited, cancel := context.WithTimeout(ctx, s.dialFor)
	defer cancel()
	if c, err = dial(limited, s.address, s.roots, s.book); err != nil {
		return nil, false, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	err = c.within(ctx, readTimeout, func() error { return c.bind(g.config.Reader, g.config.Password) })
	v, _, trouble := judge(err)
	switch {
	case repeats(err, g.config.Password):
		err = fmt.Errorf("%w: %s", errRefused, repeated)
	case trouble != nil && (transport(err) || trouble.Code == wire.DirectoryUnreachable):
		err = fmt.Errorf("%w: %w", errUnanswered, trouble.Cause)
	case trouble != nil:
		err = fmt.Errorf("%w: %w", errRefused, trouble.Cause)
	case v.Reason != wire.Accepted:
		err = fmt.Errorf("%w: %s (%s)", errRefused, v.Reason, v.Diagnostic)
	default:
		return c, false, nil
	}
	c.close()
	return nil, false, err
}

// pop takes out the connection that was used last; nil if none is idle.
func (g *guardian) pop(pool *readers) *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(pool.idle)
	if n == 0 {
		return nil
	}
	c := pool.idle[n-1]
	pool.idle = pool.idle[:n-1]
	return c
}

// empty closes all that are idle.
func (g *guardian) empty(pool *readers) {
	for c := g.pop(pool); c != nil; c = g.pop(pool) {
		c.close()
	}
}

func (g *guardian) giveBack(pool *readers, c *conn) {
	g.mu.Lock()
	keep := !g.closed && !pool.left && !c.dead()
	if keep {
		pool.idle = append(pool.idle, c)
	}
	g.mu.Unlock()
	if !keep {
		c.close()
	}
}

// ExamineGuard tries a guard's reader at one server, given as in [Config], within a dozen seconds: it binds once, and a wrong password counts. What
// it may not read, of policies and of somebody else's entry, stands in the status; the error says that nothing could be tried.
func ExamineGuard(ctx context.Context, server string, roots *x509.CertPool, resolver *net.Resolver, c Guard) (GuardStatus, error) {
	v, err := New(Config{Servers: []string{server}, RootCAs: roots, Resolver: resolver, DialTimeout: examineFor, Guard: c})
	if err != nil {
		return GuardStatus{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, examineFor)
	defer func() {
		cancel()
		_ = v.Run(ctx) // closes what is idle, and ends at once
	}()
	on, err := v.take(ctx)
	if err != nil {
		return GuardStatus{}, err
	}
	on.server.put(on)
	if c.Reader != "" && v.guard.refresh(ctx, on.server) == nil {
		_, _ = v.guard.look(ctx, on.server, v.guard.somebody(ctx, on.server)) // what it lacks is in the status
	}
	return v.guard.status(), nil
}

// somebody is a check of an account that is not the reader's own, of which everybody may read all; nor of those that every domain has, which are never
// asked about and whose rights are others. Where there is no other it is the reader's.
func (g *guardian) somebody(ctx context.Context, s *server) directory.Check {
	check := directory.Check{Name: g.config.Reader}
	_ = g.ask(ctx, s, func(c *conn) error {
		r, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: s.baseDN(), Scope: goldap.ScopeWholeSubtree, SizeLimit: mostTried, EnforceSizeLimit: true,
			Filter: "(&(objectCategory=person)(objectClass=user))", Attributes: []string{"objectSid", "sAMAccountName", "userPrincipalName"}})
		if r == nil || err != nil && !goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) && !errors.Is(err, goldap.ErrSizeLimitExceeded) {
			return err
		}
		reader := splitName(g.config.Reader)
		for _, e := range r.Entries {
			rid, ok := guard.RID(e.GetRawAttributeValue("objectSid"))
			if ok && rid >= firstOwn && !strings.EqualFold(e.GetAttributeValue("userPrincipalName"), reader.upn) &&
				!strings.EqualFold(e.GetAttributeValue("sAMAccountName"), reader.account) {
				check.Account = &directory.Account{DN: e.DN}
				break
			}
		}
		return nil
	})
	return check
}

// baseDN is the name of the domain's entry, "" before the server has told.
func (s *server) baseDN() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base
}

// few returns the entries that a filter finds, which are few: the names of accounts are nearly always unique.
func (c *conn) few(base, filter string, attributes ...string) ([]*goldap.Entry, error) {
	r, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: base, Scope: goldap.ScopeWholeSubtree, SizeLimit: mostFound, EnforceSizeLimit: true,
		Filter: filter, Attributes: attributes})
	switch {
	case goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) || errors.Is(err, goldap.ErrSizeLimitExceeded):
		return nil, goldap.NewError(goldap.LDAPResultSizeLimitExceeded, errors.New("more entries than were expected"))
	case err != nil:
		return nil, err
	}
	return r.Entries, nil
}

// oneEntry reads the entry of a name; nil if it is not there, or hidden.
func (c *conn) oneEntry(dn string, attributes ...string) (*goldap.Entry, error) {
	r, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: dn, Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)", SizeLimit: 1,
		EnforceSizeLimit: true, Attributes: attributes})
	switch {
	case goldap.IsErrorAnyOf(err, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInsufficientAccessRights, goldap.LDAPResultInvalidDNSyntax):
		return nil, nil
	case err != nil:
		return nil, err
	case len(r.Entries) == 0:
		return nil, nil
	}
	return r.Entries[0], nil
}

// policies reads what the directory has for all accounts, and says what of it cannot be read. It is called within a limit.
func (c *conn) policies(base string, protected []string) (*policies, []string, error) {
	p := &policies{objects: map[string]guard.Policy{}, others: map[string]bool{}, groups: map[string]bool{}}
	var lacking []string
	root, err := c.oneEntry("", "currentTime", "configurationNamingContext")
	if err != nil {
		return nil, nil, err
	}
	if root != nil {
		if t, err := time.Parse("20060102150405.0Z", root.GetAttributeValue("currentTime")); err == nil {
			p.ahead = time.Until(t)
		}
	}
	domain, err := c.oneEntry(base, "lockoutThreshold", "lockoutDuration", "lockOutObservationWindow")
	if err != nil {
		return nil, nil, err
	}
	if domain != nil {
		p.domain, p.known = guard.NewPolicy(domain.GetAttributeValue("lockoutThreshold"), domain.GetAttributeValue("lockoutDuration"),
			domain.GetAttributeValue("lockOutObservationWindow"), "the domain")
	}
	if !p.known {
		lacking = append(lacking, "the domain's lockout policy")
	}
	seen, err := c.settingsObjects(p, base)
	if err != nil {
		return nil, nil, err
	}
	if !seen {
		lacking = append(lacking, "password settings objects")
	}
	if root != nil {
		if err := c.otherDomains(p, base, root.GetAttributeValue("configurationNamingContext")); err != nil {
			return nil, nil, err
		}
	}
	for _, dn := range protected {
		group, err := c.oneEntry(dn, "objectSid")
		if err != nil {
			return nil, nil, err
		}
		if group == nil {
			lacking = append(lacking, "the protected group "+dn)
			continue
		}
		p.addGroup(group)
		inner, err := c.few(base, innerFilter(dn), "objectSid")
		if err != nil && noAnswer(err) {
			return nil, nil, err
		} else if err != nil {
			lacking = append(lacking, "groups within the protected group "+dn)
		}
		for _, e := range inner {
			p.addGroup(e)
		}
	}
	return p, lacking, nil
}

func (p *policies) addGroup(e *goldap.Entry) {
	if rid, ok := guard.RID(e.GetRawAttributeValue("objectSid")); ok {
		p.groups[strconv.FormatUint(uint64(rid), 10)] = true
	}
}

// settingsObjects reads the password settings objects (MS-ADTS 3.1.1.3.1.1.6, msDS-PasswordSettings). seen is false if one of them, or
// all, cannot be read, as by anybody whom no administrator gave the right.
func (c *conn) settingsObjects(p *policies, base string) (seen bool, err error) {
	container := "CN=Password Settings Container,CN=System," + base
	found, err := c.few(container, "(|(objectClass=msDS-PasswordSettings)(objectClass=msDS-PasswordSettingsContainer))",
		"cn", "msDS-LockoutThreshold", "msDS-LockoutDuration", "msDS-LockoutObservationWindow")
	if err != nil && noAnswer(err) {
		return false, err
	}
	seen = len(found) > 0
	for _, e := range found {
		if strings.EqualFold(e.DN, container) {
			continue
		}
		own, ok := guard.NewPolicy(e.GetAttributeValue("msDS-LockoutThreshold"), e.GetAttributeValue("msDS-LockoutDuration"),
			e.GetAttributeValue("msDS-LockoutObservationWindow"), "password settings object "+text(e, "cn"))
		if ok {
			p.objects[strings.ToLower(e.DN)] = own
		}
		seen = seen && ok
	}
	return seen, nil
}

// otherDomains reads the names of the forest's other domains, by which accounts of theirs are told from this domain's.
func (c *conn) otherDomains(p *policies, base, configuration string) error {
	if configuration == "" {
		return nil
	}
	found, err := c.few("CN=Partitions,"+configuration, "(&(objectClass=crossRef)(nETBIOSName=*))", "nCName", "dnsRoot", "nETBIOSName")
	if err != nil && noAnswer(err) {
		return err
	}
	for _, e := range found {
		if strings.EqualFold(e.GetAttributeValue("nCName"), base) {
			continue
		}
		for _, name := range []string{e.GetAttributeValue("dnsRoot"), e.GetAttributeValue("nETBIOSName")} {
			if name != "" {
				p.others[strings.ToLower(name)] = true
			}
		}
	}
	return nil
}
