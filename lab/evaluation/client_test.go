package evaluation_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

const startTLSOID = "1.3.6.1.4.1.1466.20037"

// answer is what a directory said to one ask, without what differs from run to run.
type answer struct {
	Code    int      `json:"code"`
	Matched string   `json:"matched,omitempty"`
	Text    string   `json:"text,omitempty"`
	Entries []entry  `json:"entries,omitempty"`
	Refer   []string `json:"references,omitempty"`
	Closed  bool     `json:"closed,omitempty"` // the connection was closed instead of, or after, an answer
	// Extended is true when an extended response came in place of the one that belongs to the request.
	Extended bool `json:"extended,omitempty"`
}

type entry struct {
	DN         string              `json:"dn"`
	Attributes map[string][]string `json:"attributes"`
}

// place is one directory under test.
type place struct {
	ldaps, plain string // addresses
	host         string
	roots        *x509.CertPool
	// replace fills {guid:…}, {sid:…} and {octets:…}.
	replace func(string) string
	unlock  func(t *testing.T, sam string)
}

// client speaks LDAP by hand, so that it can say what no library would.
type client struct {
	t       *testing.T
	place   place
	conn    net.Conn
	in      *bufio.Reader
	message int64
}

func (p place) tls() *tls.Config { return &tls.Config{RootCAs: p.roots, ServerName: p.host} }

func dial(t *testing.T, p place, transport string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	address := p.plain
	if transport == "ldaps" {
		address = p.ldaps
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := &client{t: t, place: p, conn: conn}
	if transport == "ldaps" {
		c.secure()
	}
	c.in = bufio.NewReader(c.conn)
	if transport == "starttls" {
		if a := c.ask(ask{Extended: startTLSOID}); a.Code != 0 {
			t.Fatalf("StartTLS: %+v", a)
		}
		c.secure()
		c.in = bufio.NewReader(c.conn)
	}
	return c
}

func (c *client) secure() {
	c.t.Helper()
	conn := tls.Client(c.conn, c.place.tls())
	if err := conn.HandshakeContext(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.conn = conn
}

func octets(tag ber.Tag, class ber.Class, s string) *ber.Packet {
	p := ber.Encode(class, ber.TypePrimitive, tag, nil, "")
	p.Data.WriteString(s)
	return p
}

func str(s string) *ber.Packet { return octets(ber.TagOctetString, ber.ClassUniversal, s) }

func integer(tag ber.Tag, n int64) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, tag, n, "")
}

func application(tag ber.Tag, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	for _, child := range children {
		p.AppendChild(child)
	}
	return p
}

// encode builds the request and names the tag of the answer that ends it.
func (c *client) encode(a ask) (op *ber.Packet, last ber.Tag) {
	switch {
	case a.Bind != nil:
		version := int64(3)
		if a.Bind.Version != 0 {
			version = int64(a.Bind.Version)
		}
		return application(0, integer(ber.TagInteger, version), str(c.place.replace(a.Bind.Name)), octets(0, ber.ClassContext, a.Bind.Password)), 1
	case a.SASL != "":
		sasl := ber.Encode(ber.ClassContext, ber.TypeConstructed, 3, nil, "")
		sasl.AppendChild(str(a.SASL))
		return application(0, integer(ber.TagInteger, 3), str(""), sasl), 1
	case a.Extended != "":
		return application(23, octets(0, ber.ClassContext, a.Extended)), 24
	case a.Write != "":
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		values.AppendChild(str("changed"))
		attribute, change, changes := ber.NewSequence(""), ber.NewSequence(""), ber.NewSequence("")
		attribute.AppendChild(str("description"))
		attribute.AppendChild(values)
		change.AppendChild(integer(ber.TagEnumerated, 2))
		change.AppendChild(attribute)
		changes.AppendChild(change)
		return application(6, str(a.Write), changes), 7
	}
	filter, err := ldap.CompileFilter(c.place.replace(a.Search.Filter))
	if err != nil {
		c.t.Fatalf("%s: %v", a.Search.Filter, err)
	}
	attributes := ber.NewSequence("")
	for _, name := range a.Search.Attributes {
		attributes.AppendChild(str(name))
	}
	return application(3, str(c.place.replace(a.Search.Base)), integer(ber.TagEnumerated, int64(a.Search.Scope)), integer(ber.TagEnumerated, 0),
		integer(ber.TagInteger, 0), integer(ber.TagInteger, 0), ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, a.Search.TypesOnly, ""),
		filter, attributes), 5
}

// packet writes a message.
func packet(id int64, op *ber.Packet, controls ...*ber.Packet) []byte {
	p := ber.NewSequence("")
	p.AppendChild(integer(ber.TagInteger, id))
	p.AppendChild(op)
	for _, c := range controls {
		p.AppendChild(c)
	}
	return p.Bytes()
}

// skipOrFail skips a test that lacks a program, or fails it where everything must be there.
func skipOrFail(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SALLYPORT_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// ask sends one request and collects its answer.
func (c *client) ask(a ask) answer {
	c.t.Helper()
	if a.Unlock != "" {
		c.place.unlock(c.t, a.Unlock)
	}
	op, last := c.encode(a)
	c.message++
	var extra []*ber.Packet
	if a.Critical != "" {
		control, controls := ber.NewSequence(""), ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		control.AppendChild(str(a.Critical))
		control.AppendChild(ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, ""))
		controls.AppendChild(control)
		extra = append(extra, controls)
	}
	if _, err := c.conn.Write(packet(c.message, op, extra...)); err != nil {
		return answer{Closed: true}
	}
	var out answer
	for {
		p, err := ber.ReadPacket(c.in)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatalf("no answer to %+v", a)
			}
			out.Closed = true
			return out
		}
		if len(p.Children) < 2 {
			c.t.Fatalf("an odd message: %x", p.Bytes())
		}
		body := p.Children[1]
		switch {
		case body.Tag == 4:
			out.Entries = append(out.Entries, readEntry(body))
		case body.Tag == 19:
			for _, r := range body.Children {
				out.Refer = append(out.Refer, r.Data.String())
			}
		case body.Tag == 24 && last != 24:
			out.readResult(body)
			out.Extended = true
			return out
		case body.Tag == last:
			out.readResult(body)
			slices.SortFunc(out.Entries, func(x, y entry) int { return strings.Compare(x.DN, y.DN) })
			slices.Sort(out.Refer)
			return out
		default:
			c.t.Fatalf("unexpected answer with tag %d to %+v", body.Tag, a)
		}
	}
}

func (a *answer) readResult(p *ber.Packet) {
	a.Code, a.Matched, a.Text = int(p.Children[0].Value.(int64)), p.Children[1].Data.String(), p.Children[2].Data.String()
}

func readEntry(p *ber.Packet) entry {
	e := entry{DN: p.Children[0].Data.String(), Attributes: map[string][]string{}}
	for _, a := range p.Children[1].Children {
		values := []string{}
		for _, v := range a.Children[1].Children {
			values = append(values, masked(a.Children[0].Data.String(), v.Data.String()))
		}
		slices.Sort(values)
		e.Attributes[a.Children[0].Data.String()] = values
	}
	return e
}

// masked replaces values that differ from run to run by their kind.
func masked(name, value string) string {
	switch strings.ToLower(name) {
	case "objectguid", "objectsid":
		return fmt.Sprintf("<%d bytes>", len(value))
	case "whencreated", "whenchanged":
		return "<time>"
	case "pwdlastset", "lastlogon", "badpasswordtime", "lockouttime", "lastlogontimestamp", "accountexpires":
		if value != "0" && value != "9223372036854775807" && value != "-1" {
			return "<time>"
		}
	case "usncreated", "usnchanged", "logoncount":
		return "<number>"
	}
	return value
}

// guidText is an objectGUID as text: the first three groups are little endian ([MS-DTYP] 2.3.4).
func guidText(b []byte) string {
	g := slices.Clone(b)
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	h := hex.EncodeToString(g)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// sidText is an objectSid as text ([MS-DTYP] 2.4.2).
func sidText(b []byte) string {
	s := fmt.Sprintf("S-%d-%d", b[0], b[7])
	for i := 8; i+4 <= len(b); i += 4 {
		s += fmt.Sprintf("-%d", uint32(b[i])|uint32(b[i+1])<<8|uint32(b[i+2])<<16|uint32(b[i+3])<<24)
	}
	return s
}

// escapedOctets writes every byte as a filter escapes it.
func escapedOctets(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%02x`, c)
	}
	return s.String()
}
