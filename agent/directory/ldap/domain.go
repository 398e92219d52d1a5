package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

// extendedDN asks for names in the form <GUID=…>;<SID=…>;DN (MS-ADTS 3.1.1.3.4.1.5, LDAP_SERVER_EXTENDED_DN_OID). In the root entry, which
// everybody may read, it tells GUID and SID of the domain to somebody without an account.
const extendedDN = "1.2.840.113556.1.4.529"

// extendedDNText is the control's value: SEQUENCE { INTEGER 1 }, numbers as text rather than in hexadecimal.
const extendedDNText = "\x30\x03\x02\x01\x01"

var _ directory.Prover = (*Validator)(nil)

// expectation is the one domain whose servers are used; that of the first server that answers, until the service has said.
type expectation struct {
	mu     sync.Mutex
	domain directory.Domain
	known  bool
}

// foreign is a server of another domain than the others.
type foreign struct{ shown, expected directory.Domain }

func (f foreign) Error() string {
	return fmt.Sprintf("the server serves %s; this agent's directory is %s", f.shown, f.expected)
}

// admit returns an error for a server of another domain. A server that tells nothing of itself is no domain controller, and left to
// what its answers will show.
func (e *expectation) admit(shown directory.Domain) error {
	if shown.NamingContext == "" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known {
		e.domain, e.known = shown, true
	}
	if !shown.Is(e.domain) {
		return foreign{shown, e.domain}
	}
	return nil
}

// Expect holds the servers to one domain; see [directory.Prover]. Those that have shown another are put out of use.
func (v *Validator) Expect(d directory.Domain) {
	v.expected.mu.Lock()
	v.expected.domain, v.expected.known = d, true
	v.expected.mu.Unlock()
	for _, s := range v.servers() {
		s.mu.Lock()
		shown := s.domain
		s.mu.Unlock()
		if err := v.expected.admit(shown); err != nil {
			s.report(unreachable, err)
		}
	}
}

// Prove asks the first server that answers which domain it serves; see [directory.Prover].
func (v *Validator) Prove(ctx context.Context) (directory.Domain, error) {
	limited, cancel := context.WithTimeout(ctx, fenceWithin)
	defer cancel()
	c, err := v.take(limited)
	if err != nil {
		for _, s := range v.servers() {
			s.mu.Lock()
			var f foreign
			answered := errors.As(s.lastErr, &f)
			s.mu.Unlock()
			if answered {
				return f.shown, nil
			}
		}
		return directory.Domain{}, err
	}
	d, err := c.domain(ctx, examineFor)
	if err != nil || d.NamingContext == "" {
		c.server.drop(c)
		if err == nil {
			err = errors.New("the server tells no defaultNamingContext: it is no domain controller")
		}
		return directory.Domain{}, fmt.Errorf("%s: %w", c.server.address, err)
	}
	c.server.put(c)
	return d, nil
}

// domain asks for the root entry, which every server gives to everybody, and returns which domain the server serves, as far as it tells.
func (c *conn) domain(ctx context.Context, limit time.Duration) (d directory.Domain, err error) {
	err = c.within(ctx, limit, func() error {
		r, err := c.ldap.Search(&goldap.SearchRequest{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)",
			Attributes: []string{"defaultNamingContext", "rootDomainNamingContext", "dnsHostName"}, SizeLimit: 1, EnforceSizeLimit: true,
			Controls: []goldap.Control{goldap.NewControlString(extendedDN, false, extendedDNText)}})
		if err == nil && len(r.Entries) == 1 {
			d = domainOf(r.Entries[0])
		}
		return err
	})
	if err == nil {
		c.seen = time.Now()
	}
	return d, err
}

func domainOf(root *goldap.Entry) directory.Domain {
	var d directory.Domain
	d.NamingContext, d.GUID, d.SID = splitExtended(root.GetAttributeValue("defaultNamingContext"))
	d.Forest, _, _ = splitExtended(root.GetAttributeValue("rootDomainNamingContext"))
	if d.DC = root.GetAttributeValue("dnsHostName"); len(d.DC) > maxText {
		d.DC = ""
	}
	return d
}

// splitExtended takes a name apart that may have GUID and SID before it. What is not of that form is a plain name, without either.
func splitExtended(name string) (dn, guid, sid string) {
	if len(name) > maxDN {
		return "", "", ""
	}
	rest := name
	for strings.HasPrefix(rest, "<") {
		part, after, ok := strings.Cut(rest[1:], ">;")
		kind, value, named := strings.Cut(part, "=")
		switch {
		case !ok || !named:
			return name, "", ""
		case strings.EqualFold(kind, "GUID"):
			u, err := uuid.Parse(value)
			if err != nil || len(value) != 36 || u == uuid.Nil {
				return name, "", ""
			}
			guid = u.String()
		case strings.EqualFold(kind, "SID"):
			if !isSID(value) {
				return name, "", ""
			}
			sid = value
		}
		rest = after
	}
	return rest, guid, sid
}

// isSID reports whether s is a security identifier as Windows prints it (MS-DTYP 2.4.2.1): S-1- and numbers.
func isSID(s string) bool {
	rest, ok := strings.CutPrefix(s, "S-1-")
	if !ok || len(s) > 184 { // 15 sub-authorities of ten digits
		return false
	}
	for _, number := range strings.Split(rest, "-") {
		if number == "" || len(number) > 15 || strings.Trim(number, "0123456789") != "" {
			return false
		}
	}
	return true
}
