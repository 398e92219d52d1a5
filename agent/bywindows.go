package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
)

// byWindows has Windows check passwords, and LDAP, where its servers are given, tell people's attributes and guard against lockout.
type byWindows struct {
	windows *windows.Validator
	ldap    *ldap.Validator // nil: Windows tells what it knows
}

func newByWindows(l ldap.Config, c windows.Config) (directory.Validator, error) {
	var v byWindows
	var err error
	if len(l.Servers) > 0 || l.Domain != "" {
		if v.ldap, err = ldap.New(l); err != nil {
			return nil, err
		}
		c.Attributes, c.Guard = v.ldap, v.ldap
	} else if l.Guard.Reader != "" || len(l.Guard.Protection.Groups) > 0 {
		return nil, errors.New("the reader account and protected groups are looked at by LDAP: add --domain or --dc")
	}
	if c.Logger == nil {
		c.Logger = l.Logger
	}
	if v.windows, err = windows.New(c); err != nil {
		return nil, err
	}
	return &v, nil
}

func (b *byWindows) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	return b.windows.Validate(ctx, c)
}

// Find has LDAP look a name up; see [directory.Finder].
func (b *byWindows) Find(ctx context.Context, attribute, name string) (*directory.Account, *directory.Error) {
	if b.ldap == nil {
		return nil, cannotFind()
	}
	return b.ldap.Find(ctx, attribute, name)
}

// Run runs both, until ctx ends or Windows turns out to say yes to anybody.
func (b *byWindows) Run(ctx context.Context) error {
	if b.ldap == nil {
		return b.windows.Run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.ldap.Run(ctx) }) // it returns but ctx's error
	err := b.windows.Run(ctx)
	stop()
	wg.Wait()
	return err
}

// Prove says which domain the host is a member of.
func (b *byWindows) Prove(ctx context.Context) (directory.Domain, error) { return b.windows.Prove(ctx) }

func (b *byWindows) Expect(d directory.Domain) {
	b.windows.Expect(d)
	if b.ldap != nil {
		b.ldap.Expect(d)
	}
}

// Locate has LDAP ask DNS once; see [ldap.Validator.Locate].
func (b *byWindows) Locate(ctx context.Context) error {
	if b.ldap == nil {
		return nil
	}
	return b.ldap.Locate(ctx)
}

// Located is what DNS said to LDAP.
func (b *byWindows) Located() (ldap.Located, bool) {
	if b.ldap == nil {
		return ldap.Located{}, false
	}
	return b.ldap.Located()
}

// Status shows the domain controller that Windows named like those of LDAP, which come after it.
func (b *byWindows) Status() []ldap.ServerStatus {
	all := []ldap.ServerStatus{standing(b.windows.Status())}
	if b.ldap != nil {
		all = append(all, b.ldap.Status()...)
	}
	return all
}

// GuardStatus shows the guard of LDAP; without its servers nobody looks.
func (b *byWindows) GuardStatus() ldap.GuardStatus {
	if b.ldap == nil {
		return ldap.GuardStatus{State: ldap.GuardOff}
	}
	return b.ldap.GuardStatus()
}

// standing says of Windows what is said of servers. The domain stands for a domain controller that is not known yet.
func standing(w windows.Status) ldap.ServerStatus {
	s := ldap.ServerStatus{Address: w.DC, State: ldap.Serving, LastError: w.LastError, LastErrorAt: w.LastErrorAt}
	switch {
	case w.LastError != "":
		s.State, s.Remedy = ldap.Down, "Look at it with nltest /dsgetdc:"+w.Domain+" and nltest /sc_verify:"+w.Domain+" on this host."
	case !w.Sound || w.DC == "":
		s.State = ldap.Untried
	}
	if s.Address == "" {
		s.Address = w.Domain
	}
	return s
}
