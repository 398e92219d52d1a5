package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// The ports of the global catalog, which has every object of the forest with some of its attributes ([MS-ADTS] 3.1.1.1.13): within TLS, and for StartTLS.
const catalogTLSPort, catalogPort = "3269", "3268"

// whoIs reads who was just let in on this connection. A domain controller lets in people of all domains of its forest, and they may share
// a UPN suffix; whom its own domain does not have is looked for in the forest's catalog, by one more bind as that person.
func (v *Validator) whoIs(ctx context.Context, c *conn, check directory.Check) (*wire.Attributes, error) {
	a, err := c.attributes(ctx, check)
	if repeats(err, check.Password) {
		return nil, errors.New(repeated)
	}
	if check.Account != nil || !errors.Is(err, errNoEntry) {
		return a, err
	}
	a, other := v.inCatalog(ctx, c.server, check)
	if repeats(other, check.Password) {
		return nil, errors.New(repeated)
	}
	if other != nil {
		return nil, fmt.Errorf("%w; global catalog: %w", err, other)
	}
	return a, nil
}

// inCatalog finds the person in the global catalog of the server's host.
func (v *Validator) inCatalog(ctx context.Context, s *server, check directory.Check) (*wire.Attributes, error) {
	at := s.address
	switch {
	case at.startTLS && at.port == goldap.DefaultLdapPort:
		at.port = catalogPort
	case !at.startTLS && at.port == goldap.DefaultLdapsPort:
		at.port = catalogTLSPort
	default:
		return nil, errors.New("its port is known only beside the usual ports for LDAP")
	}
	limited, cancel := context.WithTimeout(ctx, s.dialFor)
	defer cancel()
	c, err := dial(limited, at, s.roots, s.book)
	if err != nil {
		return nil, err
	}
	defer c.close()
	err = c.within(ctx, v.bindFor, func() error { return c.bind(check.Name, check.Password) })
	verdict, _, e := judge(err)
	switch {
	case e != nil:
		return nil, e
	case !verdict.Reason.Right():
		return nil, &directory.Refused{Verdict: verdict}
	}
	var a *wire.Attributes
	err = c.within(ctx, attributesTimeout, func() (err error) {
		a, err = c.findInForest(check.Name)
		return err
	})
	return a, err
}

// findInForest finds a user principal name in all domains, explicit, or implicit in the domain that it names.
func (c *conn) findInForest(name string) (*wire.Attributes, error) {
	n := splitName(name)
	if n.upn == "" {
		return nil, errNoEntry
	}
	entry, err := c.one("", "userPrincipalName", n.upn)
	if errors.Is(err, errNoEntry) {
		base := "DC=" + strings.Join(strings.Split(n.domain, "."), ",DC=")
		if dnsName(base) != n.domain {
			return nil, errNoEntry // not the name of a domain
		}
		entry, err = c.one(base, "sAMAccountName", n.account)
	}
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	switch {
	case err != nil:
		return nil, err
	case !bears(token, entry):
		return nil, errOther
	}
	return fromEntry(entry, contextOf(entry.DN))
}

// contextOf is the name of the domain's entry that an entry is below; "" if its name is of another form.
func contextOf(dn string) string {
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return ""
	}
	var labels []string
	for _, rdn := range parsed.RDNs {
		if len(rdn.Attributes) == 1 && strings.EqualFold(rdn.Attributes[0].Type, "DC") {
			labels = append(labels, "DC="+rdn.Attributes[0].Value)
		} else {
			labels = nil // an OU may be called DC=, but not below the domain
		}
	}
	return strings.Join(labels, ",")
}
