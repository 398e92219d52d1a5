package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/wire"
)

// Examination is what a server shows to somebody who has no account: nobody's password is sent.
type Examination struct {
	// Address is host and port, StartTLS whether TLS begins by that.
	Address  string
	StartTLS bool
	// Err says why the server cannot be used, Remedy what to do about it; nil and empty if it can. The rest is filled as far as things went.
	Err    error
	Remedy string
	// Took is the time for TCP, TLS and the first answer.
	Took time.Duration
	// Chain is what the server showed in the handshake, its own certificate first, also when it was refused.
	Chain []*x509.Certificate
	// Host and NamingContext are what the server says it is and serves; Clock is its time, and ClockSkew how far that is ahead of this
	// machine's, to about a second.
	Host, NamingContext string
	Clock               time.Time
	ClockSkew           time.Duration
	// Lockout is the domain's policy; nil where it is not told without an account, as AD does by default.
	Lockout *LockoutPolicy
	// Rights are what somebody without an account may read.
	Rights Rights
}

// Rights are what somebody may read besides the root entry, which everybody may.
type Rights struct {
	// Domain is the domain's own entry, People the entries of people.
	Domain, People bool
}

// LockoutPolicy is a domain's account lockout (MS-ADA1 lockoutThreshold and its neighbours). Durations are zero where they were not told.
type LockoutPolicy struct {
	Threshold        int // 0: accounts are never locked
	Duration, Window time.Duration
}

// Examine looks at one server, given as in [Config], within ctx and a dozen seconds. A nil resolver is the system's.
func Examine(ctx context.Context, server string, roots *x509.CertPool, resolver *net.Resolver) Examination {
	a, err := parseAddress(server)
	if err != nil {
		return Examination{Address: server, Err: err, Remedy: "Write ldaps://dc1.corp.example, or ldap://dc1.corp.example for StartTLS."}
	}
	e := Examination{Address: a.String(), StartTLS: a.startTLS}
	ctx, cancel := context.WithTimeout(ctx, examineFor)
	defer cancel()
	began := time.Now()
	c, err := dial(ctx, a, roots, locate.NewBook(a.host, resolver))
	if err != nil {
		var refused *tls.CertificateVerificationError
		if errors.As(err, &refused) {
			e.Chain = refused.UnverifiedCertificates
		}
		e.Err, e.Remedy = err, remedy(err)
		return e
	}
	defer c.close()
	if secure, ok := c.spender.Conn.(*tls.Conn); ok {
		e.Chain = secure.ConnectionState().PeerCertificates
	}
	root, err := c.entry(ctx, "", "defaultNamingContext", "dnsHostName", "currentTime")
	e.Took = time.Since(began)
	if err != nil {
		e.Err, e.Remedy = err, remedy(err)
		return e
	}
	e.Host, e.NamingContext = root.GetAttributeValue("dnsHostName"), root.GetAttributeValue("defaultNamingContext")
	if t, err := time.Parse("20060102150405.0Z", root.GetAttributeValue("currentTime")); err == nil { // GeneralizedTime as AD writes it
		e.Clock, e.ClockSkew = t, time.Until(t)
	}
	if e.NamingContext == "" {
		e.Err = errors.New("the server has no defaultNamingContext: it is no domain controller")
		e.Remedy = "Give the address of a domain controller; a global catalog or another LDAP server is none."
		return e
	}
	e.Rights, e.Lockout = c.rights(ctx, e.NamingContext)
	return e
}

// ExamineAs looks at what an account may read: it binds once, with the password, and a wrong one counts. The error says why nothing was
// seen, also that the directory did not accept name or password.
func ExamineAs(ctx context.Context, server string, roots *x509.CertPool, resolver *net.Resolver, name string, password wire.Secret) (Rights, *LockoutPolicy, error) {
	a, err := parseAddress(server)
	if err != nil {
		return Rights{}, nil, err
	}
	if e := (directory.Check{Name: name, Password: password, Fence: func(context.Context) error { return nil }}).Refuse(); e != nil {
		return Rights{}, nil, e
	}
	ctx, cancel := context.WithTimeout(ctx, examineFor)
	defer cancel()
	c, err := dial(ctx, a, roots, locate.NewBook(a.host, resolver))
	if err != nil {
		return Rights{}, nil, err
	}
	defer c.close()
	base, err := c.ping(ctx, examineFor)
	if err != nil {
		return Rights{}, nil, err
	}
	err = c.within(ctx, examineFor, func() error { return c.bind(name, password) })
	if v, _, e := judge(err); repeats(err, password) {
		return Rights{}, nil, errors.New(repeated)
	} else if e != nil {
		return Rights{}, nil, e
	} else if !v.Reason.Right() {
		return Rights{}, nil, fmt.Errorf("the directory says %s (%s)", v.Reason, v.Diagnostic)
	}
	r, policy := c.rights(ctx, base)
	return r, policy, nil
}

// Preference says in which order servers that were examined would be asked, as positions, and why the first is the first. ranks are their order of
// preference, the lowest first; among equals the time for everything decides, while no question was measured by itself.
func Preference(examined []Examination, ranks []int) (order []int, reason string) {
	all := make([]standing, len(examined))
	for i, e := range examined {
		all[i] = standing{ranks[i], e.Err == nil, e.Took}
	}
	order = choose(all, -1)
	return order, why(all, order)
}

// rights looks at what may be read on this connection. What cannot be read is no error: that is the answer.
func (c *conn) rights(ctx context.Context, base string) (r Rights, policy *LockoutPolicy) {
	if domain, err := c.entry(ctx, base, "lockoutThreshold", "lockoutDuration", "lockOutObservationWindow"); err == nil {
		r.Domain, policy = true, lockoutOf(domain)
	}
	_ = c.within(ctx, examineFor, func() error {
		// One more than the limit allows is an error and says as much.
		found, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: base, Scope: goldap.ScopeWholeSubtree, Filter: "(&(objectCategory=person)(objectClass=user))",
			Attributes: []string{"1.1"}, SizeLimit: 1, EnforceSizeLimit: true})
		r.People = err == nil && len(found.Entries) > 0 || goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) || errors.Is(err, goldap.ErrSizeLimitExceeded)
		return err
	})
	return r, policy
}

// entry reads one entry by its name.
func (c *conn) entry(ctx context.Context, dn string, attributes ...string) (entry *goldap.Entry, err error) {
	err = c.within(ctx, examineFor, func() error {
		r, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: dn, Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)",
			Attributes: attributes, SizeLimit: 1, EnforceSizeLimit: true})
		if err == nil && len(r.Entries) == 0 {
			err = errors.New("the server answers without an entry")
		}
		if err == nil {
			entry = r.Entries[0]
		}
		return err
	})
	return entry, err
}

// lockoutOf reads the policy of a domain's entry; nil if the threshold is not told.
func lockoutOf(e *goldap.Entry) *LockoutPolicy {
	threshold, err := strconv.Atoi(strings.TrimSpace(e.GetAttributeValue("lockoutThreshold")))
	if err != nil {
		return nil
	}
	return &LockoutPolicy{Threshold: threshold, Duration: interval(e.GetAttributeValue("lockoutDuration")),
		Window: interval(e.GetAttributeValue("lockOutObservationWindow"))}
}

// interval reads a span of AD: negative hundreds of nanoseconds (MS-ADTS 2.2.16). What is none, or would last for ever, is 0.
func interval(s string) time.Duration {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n >= 0 || n < -int64(time.Duration(1<<62)/100) {
		return 0
	}
	return time.Duration(-n) * 100
}
