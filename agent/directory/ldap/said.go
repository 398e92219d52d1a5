package ldap

import (
	"context"
	"crypto/x509"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/wire"
)

// Said is a server's answer to one bind, word for word.
type Said struct {
	// Result is the LDAP result code (RFC 4511 §4.1.9), Text the diagnostic message.
	Result int
	Text   string
}

// Say binds once at one server, given as in [Config], on a connection of its own, and returns what the server answered. A wrong password
// counts. The error says why nobody answered.
func Say(ctx context.Context, server string, roots *x509.CertPool, name string, password wire.Secret) (Said, error) {
	if e := (directory.Check{Name: name, Password: password, Fence: func(context.Context) error { return nil }}).Refuse(); e != nil {
		return Said{}, e
	}
	c, err := connectTo(ctx, server, roots)
	if err != nil {
		return Said{}, err
	}
	defer c.close()
	err = c.within(ctx, examineFor, func() error { return c.bind(name, password) })
	return saidOf(err, password)
}

// Root asks one server for attributes of its root entry, which everybody may read. What is not there is absent. Names come in their
// extended form where the server knows it.
func Root(ctx context.Context, server string, roots *x509.CertPool, attributes ...string) (map[string][]string, error) {
	c, err := connectTo(ctx, server, roots)
	if err != nil {
		return nil, err
	}
	defer c.close()
	out := map[string][]string{}
	err = c.within(ctx, examineFor, func() error {
		r, err := c.ldap.Search(&goldap.SearchRequest{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: attributes, SizeLimit: 1,
			EnforceSizeLimit: true, Controls: []goldap.Control{goldap.NewControlString(extendedDN, false, extendedDNText)}})
		if err == nil && len(r.Entries) == 1 {
			for _, a := range r.Entries[0].Attributes {
				out[strings.ToLower(a.Name)] = a.Values
			}
		}
		return err
	})
	return out, err
}

// connectTo dials one server.
func connectTo(ctx context.Context, server string, roots *x509.CertPool) (*conn, error) {
	a, err := parseAddress(server)
	if err != nil {
		return nil, err
	}
	dialling, cancel := context.WithTimeout(ctx, examineFor)
	defer cancel()
	return dial(dialling, a, roots, locate.NewBook(a.host, nil))
}
