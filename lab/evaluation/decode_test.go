package evaluation

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// written builds a message.
func written(id int64, tag byte, parts ...*ber.Packet) []byte {
	return appendMessage(nil, id, constructed(tag, parts...))
}

func bindBytes(name, password string) []byte {
	return written(1, opBind, integer(tagInteger, 3), octets(tagOctetString, name), octets(tagSimple, password))
}

func searchBytes(t testing.TB, base, text string) []byte {
	t.Helper()
	f, err := ldap.CompileFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return written(2, opSearch, octets(tagOctetString, base), integer(tagEnumerated, scopeSub), integer(tagEnumerated, 0), integer(tagInteger, 0),
		integer(tagInteger, 0), octets(tagBoolean, "\x00"), f, constructed(tagSequence, octets(tagOctetString, "cn")))
}

// sink is a connection whose other end never speaks and always reads.
type sink struct {
	net.Conn
	in io.Reader
}

func (s sink) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s sink) Write(b []byte) (int, error)      { return len(b), nil }
func (s sink) SetReadDeadline(time.Time) error  { return nil }
func (s sink) SetWriteDeadline(time.Time) error { return nil }

func newTestServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{People: people.Everybody("corp.example.com"), TLS: &tls.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// FuzzSession feeds a whole connection: whatever comes, it ends, and without a panic.
func FuzzSession(f *testing.F) {
	f.Add(bindBytes("alice@corp.example.com", people.RightPassword))
	f.Add(append(bindBytes("alice@corp.example.com", people.RightPassword), searchBytes(f, "DC=corp,DC=example,DC=com", "(&(cn=a*b*c)(!(mail=*))(|(x>=1)(y<=2)(z~=3)(u:1.2.840.113556.1.4.803:=2)))")...))
	f.Add(searchBytes(f, "", "(objectClass=*)"))
	f.Add(written(3, opExtended, octets(tagSimple, "1.2.3")))
	f.Add(written(4, opModify))
	f.Add([]byte("\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"))
	f.Add([]byte("\x30\x84\x00\x00\x00\x05\x02\x01\x01\x42\x00"))
	f.Add([]byte("\x30\x80\x00\x00"))
	server := newTestServer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), oidStartTLS) {
			t.Skip("the handshake is not ours to test")
		}
		s := session{server: server, conn: sink{in: bytes.NewReader(data)}, secure: true}
		if err := s.serve(t.Context()); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errMessage) {
			t.Errorf("ended with %v", err)
		}
	})
}

// FuzzDN checks that writing a value into a DN and reading it back changes nothing.
func FuzzDN(f *testing.F) {
	for _, s := range []string{"Alice Archer", ` a,b+c"d\e<f>g;h=i#j `, "", "\x00", "ü", `\`, "a  b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if _, err := parseDN(value); err != nil && !errors.Is(err, errDN) {
			t.Errorf("%q: %v", value, err)
		}
		if value == "" {
			return
		}
		parts, err := parseDN("CN=" + escapeValue(value) + ",DC=x")
		if err != nil || len(parts) != 2 || parts[0].value != value || parts[1].value != "x" {
			t.Errorf("%q became %q, %v", value, parts, err)
		}
	})
}

func TestReadMessage(t *testing.T) {
	whole := bindBytes("alice", "secret")
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, io.EOF}, {"whole", whole, nil}, {"cut", whole[:len(whole)-1], io.ErrUnexpectedEOF}, {"one byte", whole[:1], io.ErrUnexpectedEOF},
		{"cut in the length", []byte{0x30, 0x84, 0, 0}, io.ErrUnexpectedEOF}, {"not a sequence", []byte{0x31, 0}, errMessage},
		{"too long", []byte{0x30, 0x83, 0x03, 0xe8, 0x01}, errMessage}, {"at the limit, cut", []byte{0x30, 0x83, 0x03, 0xe8, 0x00}, io.ErrUnexpectedEOF},
	} {
		got, err := readMessage(bufio.NewReader(bytes.NewReader(c.data)), nil)
		if !errors.Is(err, c.want) || c.want == nil && !bytes.Equal(got, c.data) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
	// Active Directory's own clients write every length in four bytes.
	m, err := decode([]byte("\x30\x84\x00\x00\x00\x12\x02\x01\x07\x60\x84\x00\x00\x00\x09\x02\x01\x03\x04\x01a\x80\x01b"))
	if err != nil || m.id != 7 {
		t.Fatal(m, err)
	}
	b, ok := parseBind(m.op)
	if !ok || b.name != "a" || string(b.password) != "b" {
		t.Errorf("%+v", b)
	}
}

// TestDecodeRefuses shows what is refused before the library sees it, since it would take memory out of proportion.
func TestDecodeRefuses(t *testing.T) {
	nested := func(levels, size int) *ber.Packet {
		p := octets(tagOctetString, strings.Repeat("x", size))
		for range levels {
			p = constructed(tagSequence, p)
		}
		return p
	}
	many := func(n int) *ber.Packet {
		p := element(tagSequence)
		p.Data.WriteString(strings.Repeat("\x04\x00", n))
		return p
	}
	raw := func(s string) *ber.Packet {
		p := element(opModify)
		p.Data.WriteString(s)
		return p
	}
	for name, c := range map[string]struct {
		op *ber.Packet
		ok bool
	}{
		"deep": {constructed(opModify, nested(maxDepth-2, 1)), true}, "deeper": {constructed(opModify, nested(maxDepth-1, 1)), false},
		"large": {constructed(opModify, nested(2, 250_000)), true}, "large and deep": {constructed(opModify, nested(10, 250_000)), false},
		"many": {constructed(opModify, many(2500)), true}, "too many": {constructed(opModify, many(3000)), false},
		"indefinite": {raw("\x30\x80\x00\x00"), false}, "end of content": {raw("\x00\x00"), false}, "high tag": {raw("\x9f\x81\x01\x00"), false},
		"beyond the end": {raw("\x04\x05abc"), false}, "cut": {raw("\x04"), false}, "a real number": {raw("\x09\x01\x03"), false}, "a string in parts": {raw("\x24\x03\x04\x01a"), false},
	} {
		if m, err := decode(appendMessage(nil, 1, c.op)); (err == nil) != c.ok || err != nil && !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestWipe checks that nothing that a message still refers to holds the password of its bind.
func TestWipe(t *testing.T) {
	s := session{server: newTestServer(t), conn: sink{}, secure: true}
	m, err := decode(bindBytes("alice@corp.example.com", people.RightPassword))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(m.whole.Bytes(), []byte(people.RightPassword)) {
		t.Fatal("the message does not hold its password")
	}
	if _, err := s.answer(t.Context(), m); err != nil || s.bound == nil {
		t.Fatal("not bound", err)
	}
	if strings.Trim(m.whole.Data.String()+m.op.Data.String()+m.op.Children[2].Data.String(), "\x00") != "" {
		t.Errorf("after the bind: %x", m.whole.Bytes())
	}
}

func TestNames(t *testing.T) {
	same := [][2]string{
		{"CN=Alice Archer,DC=x", "cn=alice  archer , dc=X"}, {`CN=a\,b,DC=x`, `cn=a\2cB,dc=x`}, {`CN=ü,DC=x`, `CN=\c3\bc,DC=x`},
		{`CN=\ a,DC=x`, `CN=a,DC=x`}, {"", " "},
	}
	for _, c := range same {
		a, errA := keyOf(c[0])
		b, errB := keyOf(c[1])
		if errA != nil || errB != nil || a != b {
			t.Errorf("%q and %q: %q %v, %q %v", c[0], c[1], a, errA, b, errB)
		}
	}
	for _, bad := range []string{"x", "=x", "CN=", "CN=a,", "CN=a,,DC=x", `CN=a\`, "CN=a+SN=b", "CN=<a>", `CN="a"`, "C,N=a"} {
		if _, err := keyOf(bad); !errors.Is(err, errDN) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := policy{threshold: 3, duration: 10 * time.Minute, window: 30 * time.Minute}
	locked := tally{wrong: 3, lastWrong: now, locked: now}
	for _, c := range []struct {
		name   string
		before tally
		in     people.Person
		policy policy
		right  bool
		after  time.Duration
		want   string // reason
		wrong  int
		locks  bool
	}{
		{"first wrong", tally{}, people.Person{State: people.Normal}, p, false, 0, "bad_password", 1, false},
		{"third wrong locks", tally{wrong: 2, lastWrong: now}, people.Person{State: people.Normal}, p, false, time.Minute, "bad_password", 3, true},
		{"locked, right", locked, people.Person{State: people.Normal}, p, true, time.Minute, "account_locked", 3, true},
		{"locked, wrong", locked, people.Person{State: people.Normal}, p, false, time.Minute, "account_locked", 3, true},
		{"lock over, right", locked, people.Person{State: people.Normal}, p, true, 10 * time.Minute, "accepted", 0, false},
		{"lock over, wrong within the window locks again", locked, people.Person{State: people.Normal}, p, false, 11 * time.Minute, "bad_password", 4, true},
		{"window over", tally{wrong: 2, lastWrong: now}, people.Person{State: people.Normal}, p, false, 31 * time.Minute, "bad_password", 1, false},
		{"locked for good", locked, people.Person{State: people.Normal}, policy{threshold: 3, window: p.window}, true, 1e6 * time.Hour, "account_locked", 3, true},
		{"right forgets", tally{wrong: 2, lastWrong: now}, people.Person{State: people.Normal}, p, true, 0, "accepted", 0, false},
		{"right but disabled forgets nothing", tally{wrong: 2, lastWrong: now}, people.Person{State: people.Disabled}, p, true, 0, "account_disabled", 2, false},
		{"wrong and disabled", tally{}, people.Person{State: people.Disabled}, p, false, 0, "bad_password", 1, false},
		{"restricted", tally{}, people.Person{State: people.Restricted}, p, false, 0, "account_restricted", 0, false},
		{"no threshold", tally{}, people.Person{State: people.Normal}, policy{}, false, 0, "bad_password", 0, false},
		{"restricted and locked", locked, people.Person{State: people.Locked, Also: people.Restricted}, p, true, time.Minute, "account_restricted", 3, true},
		{"disabled and locked", locked, people.Person{State: people.Disabled, Also: people.Locked}, p, true, time.Minute, "account_locked", 3, true},
		{"disabled, once locked", tally{}, people.Person{State: people.Disabled, Also: people.Locked}, p, true, 0, "account_disabled", 0, false},
		{"expired and disabled, wrong", tally{}, people.Person{State: people.PasswordExpired, Also: people.Disabled}, p, false, 0, "bad_password", 1, false},
		{"once locked, then unlocked", tally{}, people.Person{State: people.Locked}, p, true, 0, "accepted", 0, false},
	} {
		reason, after := judge(c.before, c.in.States(), c.policy, c.right, now.Add(c.after))
		locks := after.isLocked(c.policy, now.Add(c.after))
		if string(reason) != c.want || after.wrong != c.wrong || locks != c.locks {
			t.Errorf("%s: %s, count %d, locked %v; want %s, %d, %v", c.name, reason, after.wrong, locks, c.want, c.wrong, c.locks)
		}
	}
}

// BenchmarkBind measures one connection without TLS and network: the directory's own share.
func BenchmarkBind(b *testing.B) {
	for _, c := range []struct{ name, password string }{{"right", people.RightPassword}, {"wrong", people.WrongPassword}} {
		b.Run(c.name, func(b *testing.B) {
			server := newTestServer(b)
			one := bindBytes("bob@corp.example.com", c.password)
			s := session{server: server, conn: sink{in: &endless{one: one, left: b.N}}, secure: true}
			b.ReportAllocs()
			b.ResetTimer()
			if err := s.serve(b.Context()); !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
			if got := server.Binds("bob"); got != b.N {
				b.Fatalf("%d of %d binds were judged", got, b.N)
			}
		})
	}
}

// endless repeats one message.
type endless struct {
	one  []byte
	left int
	at   int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := copy(b, e.one[e.at:])
	if e.at += n; e.at == len(e.one) {
		e.at, e.left = 0, e.left-1
	}
	return n, nil
}
