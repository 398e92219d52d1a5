package ldap

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// recorded is a connection on which a server has already said all that it will ever say; it takes whatever is sent.
type recorded struct {
	net.Conn
	said *bytes.Reader
}

func (r recorded) Read(b []byte) (int, error)  { return r.said.Read(b) }
func (r recorded) Write(b []byte) (int, error) { return len(b), nil }
func (r recorded) Close() error                { return nil }

// said encodes one answer of a directory.
func said(id int64, tag ber.Tag, parts ...*ber.Packet) []byte {
	p := ber.NewSequence("")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	for _, part := range parts {
		op.AppendChild(part)
	}
	p.AppendChild(op)
	return p.Bytes()
}

func result(id int64, tag ber.Tag, code int64, diagnostic string) []byte {
	return said(id, tag, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), octets(""), octets(diagnostic))
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func found(id int64, values map[string]string) []byte {
	attributes := ber.NewSequence("")
	for name, value := range values {
		attribute, set := ber.NewSequence(""), ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		set.AppendChild(octets(value))
		attribute.AppendChild(octets(name))
		attribute.AppendChild(set)
		attributes.AppendChild(attribute)
	}
	return said(id, goldap.ApplicationSearchResultEntry, octets("CN=Sam,DC=corp"), attributes)
}

// FuzzAnswers is a directory that says anything at all: one message to the bind, and one to each of the searches for whose it was.
// Nothing panics, nothing outlasts its time, and what is taken for an answer keeps its bounds.
func FuzzAnswers(f *testing.F) {
	entry := found(2, map[string]string{"objectGUID": "\x01\x00\x00\x00\x02\x00\x03\x00abcdefgh", "userPrincipalName": "sam@corp", "memberOf": "CN=Sales,DC=corp"})
	good, nothing := result(1, goldap.ApplicationBindResponse, 0, ""), result(2, goldap.ApplicationSearchResultDone, 0, "")
	f.Add(result(1, goldap.ApplicationBindResponse, 49, "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1\x00"), []byte{}, []byte{})
	f.Add(good, append(entry, nothing...), []byte{})
	f.Add(good, nothing, result(3, goldap.ApplicationSearchResultDone, 4, "x"))
	f.Add([]byte{0x30, 0x80}, []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Fuzz(func(t *testing.T, bind, first, second []byte) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			go func() {
				request := make([]byte, 1<<16)
				for _, answer := range [][]byte{bind, first, second} {
					if _, err := far.Read(request); err != nil {
						return
					}
					if _, err := far.Write(answer); err != nil {
						return
					}
				}
				far.Close()
			}()
			between := &spender{Conn: near}
			c := &conn{server: &server{base: "DC=corp"}, raw: near, spender: between, ldap: goldap.NewConn(between, true)}
			c.ldap.Start()
			defer c.close()
			began := time.Now()
			password := wire.NewSecret([]byte("correct horse"))
			verdict, _, trouble := judge(c.within(t.Context(), defaultBindTimeout, func() error { return c.bind("sam@corp", password) }))
			if (trouble == nil) != verdict.Reason.Known() {
				t.Fatalf("%+v, %v", verdict, trouble)
			}
			if trouble == nil && verdict.Reason.Right() {
				if a, err := c.attributes(t.Context(), directory.Check{Name: "sam@corp"}); err == nil {
					hold(t, a)
				}
			}
			if took := time.Since(began); took > defaultBindTimeout+attributesTimeout {
				t.Fatalf("it took %s", took)
			}
		})
	})
}

func hold(t *testing.T, a *wire.Attributes) {
	t.Helper()
	if parsed, err := uuid.Parse(a.Anchor); err != nil || parsed == uuid.Nil {
		t.Errorf("anchor %q", a.Anchor)
	}
	for _, s := range append([]string{a.UPN, a.DisplayName, a.GivenName, a.FamilyName, a.Email}, a.Groups...) {
		if len(s) > maxText && len(a.Groups) == 0 || !utf8.ValidString(s) {
			t.Errorf("%d bytes, %q", len(s), s)
		}
	}
}

// FuzzEntry feeds the values of a user's entry.
func FuzzEntry(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), "sam@corp.example", "sam", "Sam Smith", "CN=Sales,DC=corp", "DC=corp,DC=example")
	f.Add([]byte{}, "", "", "\xff", "", "O=corp")
	f.Add(make([]byte, 16), "", "sam", strings.Repeat("ü", maxText), `CN=\2c`, "DC=a+DC=b")
	f.Fuzz(func(t *testing.T, id []byte, upn, account, words, group, base string) {
		a, err := fromEntry(goldap.NewEntry("CN=x", map[string][]string{"objectGUID": {string(id)}, "userPrincipalName": {upn}, "sAMAccountName": {account},
			"displayName": {words}, "givenName": {words}, "sn": {words}, "mail": {words}, "memberOf;range=0-1": {group}}), base)
		if err == nil {
			hold(t, a)
		}
	})
}

// nested is an answer with an octet string below so many sequences.
func nested(depth, size int) []byte {
	header := func(tag byte, n int) []byte { return []byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)} }
	var b []byte
	for i := range depth {
		b = append(b, header(0x30, size+5*(depth-i))...)
	}
	return append(append(b, header(0x04, size)...), make([]byte, size)...)
}

// A message within the limit must not grow to a thousand times its size, least of all one that anybody on the way can write.
func TestAnswersThatGrow(t *testing.T) {
	grown := func(read func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		read()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	deep := nested(900, maxPacket-5*901)
	if n := grown(func() { _ = startTLS(recorded{said: bytes.NewReader(deep)}) }); n > 1<<20 {
		t.Errorf("before TLS: %d bytes", n)
	}
	if n := grown(func() {
		if p, err := ber.ReadPacket(bytes.NewReader(deep)); err == nil {
			t.Errorf("a packet of depth 900 is read: %d parts", len(p.Children))
		}
	}); n > maxDepth*8<<20 {
		t.Errorf("within TLS: %d bytes", n)
	}
	if n := grown(func() { _, _ = ber.ReadPacket(bytes.NewReader(nested(maxDepth-1, maxPacket-5*maxDepth))) }); n > maxDepth*8<<20 {
		t.Errorf("as deep as may be: %d bytes", n)
	}
}

// FuzzStartTLS feeds what comes before TLS, which anybody on the way can write.
func FuzzStartTLS(f *testing.F) {
	f.Add(result(1, goldap.ApplicationExtendedResponse, 0, ""))
	f.Add(result(1, goldap.ApplicationExtendedResponse, 52, "unavailable"))
	f.Add(said(1, goldap.ApplicationExtendedResponse))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if err := startTLS(recorded{said: bytes.NewReader(answer)}); err == nil && !bytes.Contains(answer, []byte{0x78}) { // [APPLICATION 24]
			t.Fatalf("TLS begins after %x", answer)
		}
	})
}

// FuzzAddress feeds an administrator's --dc.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"ldaps://dc1.corp.example", "ldap://[::1]:389/", "dc1:636", "ldaps://user@dc1", "//", "dc1.:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			return
		}
		if host, port, err := net.SplitHostPort(a.String()); err != nil || host == "" || port == "" || port == "0" {
			t.Fatalf("%q became %q", s, a)
		}
	})
}
