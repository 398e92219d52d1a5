package ldap

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

// The limits on packets are variables of the BER package, 2 GB and a depth of 1000 unless set, which every reader of every connection
// reads: they can be set without a race only before the first.
func init() { ber.MaxPacketLengthBytes, ber.MaxNestingDepth = maxPacket, maxDepth }

// address is where a server listens and how TLS begins there.
type address struct {
	host, port string
	startTLS   bool
}

// parseAddress reads "ldaps://host[:port]", "ldap://host[:port]" (StartTLS) or "host[:port]" (as ldaps).
func parseAddress(s string) (address, error) {
	text := s
	if !strings.Contains(s, "://") {
		text = "ldaps://" + s
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("domain controller %q: %w", s, err)
	}
	a := address{host: strings.TrimSuffix(u.Hostname(), "."), port: u.Port()}
	switch u.Scheme {
	case "ldaps":
		a.port = cmp.Or(a.port, goldap.DefaultLdapsPort)
	case "ldap":
		a.port, a.startTLS = cmp.Or(a.port, goldap.DefaultLdapPort), true
	default:
		return address{}, fmt.Errorf("domain controller %q: want ldaps://host, or ldap://host for StartTLS", s)
	}
	if n, err := strconv.ParseUint(a.port, 10, 16); err != nil || n == 0 {
		return address{}, fmt.Errorf("domain controller %q: the port is not a number from 1 to 65535", s)
	}
	if a.host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return address{}, fmt.Errorf("domain controller %q: want a host and no more than a port", s)
	}
	if h, _, err := net.SplitHostPort(a.String()); err != nil || h != a.host { // net/url lets "]" pass
		return address{}, fmt.Errorf("domain controller %q: the host cannot be dialled", s)
	}
	return a, nil
}

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// conn is one kept connection. It is used by one goroutine at a time.
type conn struct {
	server  *server
	raw     net.Conn
	spender *spender
	ldap    *goldap.Conn
	// seen is when the server last answered on it; used is when a check last had it.
	seen, used time.Time
	// broken says that within has closed the socket, which the library's reader may not have noticed yet.
	broken bool
}

// dial connects to a's host, of which b is the address book, begins TLS and verifies the server. Everything ends with ctx.
func dial(ctx context.Context, a address, roots *x509.CertPool, b *locate.Book) (*conn, error) {
	raw, err := b.Connect(ctx, "tcp", a.port)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if a.startTLS {
		if err := startTLS(raw); err != nil {
			raw.Close()
			return nil, ended(ctx, fmt.Errorf("start tls: %w", err))
		}
	}
	secure := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: a.host, MinVersion: tls.VersionTLS12})
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, ended(ctx, fmt.Errorf("tls: %w", brief{err}))
	}
	// No SetTimeout: it would start a goroutine for each request and leaves a blocked write alone. Every request here runs under
	// within, which closes the socket at its deadline; that ends reads and writes alike.
	between := &spender{Conn: secure}
	l := goldap.NewConn(between, true)
	l.Start()
	return &conn{raw: raw, spender: between, ldap: l}, nil
}

// brief is an error in few words. One about a certificate lists all its names, and it may be that of somebody on the way.
type brief struct{ error }

func (b brief) Error() string {
	text := b.error.Error()
	if len(text) > maxError {
		return strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}

func (b brief) Unwrap() error { return b.error }

// ended prefers to say that the time was over than what closing the socket did to the handshake.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// startTLS asks for TLS (RFC 4511 §4.14) on the bare connection. Reading the one answer without a buffer means that nothing that
// somebody slipped in before the handshake can be taken for part of the secured conversation.
func startTLS(raw net.Conn) error {
	packet := ber.NewSequence("LDAP Request")
	packet.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, "MessageID"))
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, goldap.ApplicationExtendedRequest, nil, "Start TLS")
	request.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, "1.3.6.1.4.1.1466.20037", "Start TLS"))
	packet.AppendChild(request)
	if _, err := raw.Write(packet.Bytes()); err != nil {
		return err
	}
	answer, err := ber.ReadPacket(io.LimitReader(raw, maxStartTLS))
	if err != nil {
		return err
	}
	if len(answer.Children) < 2 || answer.Children[1].Tag != goldap.ApplicationExtendedResponse {
		return errors.New("not an answer to it")
	}
	return goldap.GetLDAPError(answer)
}

// within runs f, which talks on the connection, and closes the socket when ctx or the time is over. A connection whose
// socket was closed is dead.
func (c *conn) within(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, c.abandon)
	err := f()
	if c.broken = !stop(); c.broken && err != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// abandon closes the socket, and what is not delivered yet never will be: the kernel would go on for a minute and more, and a password be judged, and
// counted, long after its owner was told that nobody knows.
func (c *conn) abandon() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails on one that is closed
	}
	c.raw.Close()
}

// dead reports whether the connection is known to be over: closed by us, by the server, or broken.
func (c *conn) dead() bool { return c.broken || c.ldap.IsClosing() }

// close never waits for the other side: the socket is closed first.
func (c *conn) close() {
	c.raw.Close()
	c.ldap.Close()
}

// ping asks for the root entry, which every server gives to everybody, and returns the name of the domain's entry if it
// says one.
func (c *conn) ping(ctx context.Context, limit time.Duration) (base string, err error) {
	err = c.within(ctx, limit, func() error {
		r, err := c.ldap.Search(&goldap.SearchRequest{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)",
			Attributes: []string{"defaultNamingContext"}, SizeLimit: 1, EnforceSizeLimit: true})
		if err == nil && len(r.Entries) == 1 {
			base = r.Entries[0].GetAttributeValue("defaultNamingContext")
		}
		return err
	})
	if err == nil {
		c.seen = time.Now()
	}
	return base, err
}
