package ldap_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// authority is a CA of a test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{key, cert}
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a server certificate for 127.0.0.1, changed by edit.
func (a authority) issue(t testing.TB, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"dc1.corp.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// negativeSerial makes a certificate's serial number -127, which crypto/x509 makes for nobody, and signs it again.
func (a authority) negativeSerial(t testing.TB) tls.Certificate {
	t.Helper()
	c := a.issue(t, nil)
	var parts struct {
		TBS asn1.RawValue
		Alg asn1.RawValue
		Sig asn1.BitString
	}
	_, err := asn1.Unmarshal(c.Certificate[0], &parts)
	must(t, err)
	body := parts.TBS.FullBytes
	at := strings.Index(string(body), "\x02\x01\x01") // INTEGER 1, the serial, follows the version
	body[at+2] = 0x81
	sum := sha256.Sum256(body)
	sig, err := a.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(t, err)
	parts.TBS = asn1.RawValue{FullBytes: body}
	parts.Sig = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	c.Certificate[0], err = asn1.Marshal(parts)
	must(t, err)
	return c
}

// said is what a scripted does with a bind.
type said struct {
	code   int
	text   string
	hangup bool            // close the connection instead of answering
	raw    []byte          // send this instead of an answer
	until  <-chan struct{} // answer only after this
}

// scripted is an LDAP server with just enough behaviour: it answers binds as told, describes itself, and finds entries by one
// attribute.
type scripted struct {
	t        testing.TB
	listener net.Listener
	config   *tls.Config
	startTLS bool
	bind     func(name, password string) said
	base     string
	token    []string
	entries  []*goldap.Entry
	silent   chan struct{} // not nil: no search is answered until it is closed
	searches func(filter string)
	results  func(base string) int // of a search below the root entry; nil finds what is there
	words    string                // beside a result that is not 0

	mu    sync.Mutex
	conns map[net.Conn]bool
	binds []string
	dials int
}

// begin starts a scripted after edit has changed it. It ends with the test.
func begin(t testing.TB, a authority, edit func(*scripted)) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &scripted{t: t, listener: l, config: &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}}, base: "DC=corp,DC=example",
		bind: func(string, string) said { return said{} }, conns: map[net.Conn]bool{}}
	if edit != nil {
		edit(s)
	}
	t.Cleanup(s.stop)
	go s.accept(s.listener)
	return s
}

func (s *scripted) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.dials++
		s.mu.Unlock()
		go s.serve(c)
	}
}

// stop closes the listener and every connection; restart listens at the same address again.
func (s *scripted) stop() { s.listener.Close(); s.hangUp() }

func (s *scripted) restart() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.listener.Addr().String())
	must(s.t, err)
	s.listener = l
	go s.accept(s.listener)
}

// hangUp closes every connection and keeps listening.
func (s *scripted) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

func (s *scripted) open() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.conns) }

func (s *scripted) counts() (dials int, binds []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials, append([]string(nil), s.binds...)
}

func (s *scripted) url() string {
	if s.startTLS {
		return "ldap://" + s.listener.Addr().String()
	}
	return "ldaps://" + s.listener.Addr().String()
}

func response(id int64, tag ber.Tag, code int, text string) []byte {
	p := ber.NewSequence("")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	r := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	r.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, text, ""))
	p.AppendChild(r)
	return p.Bytes()
}

func found(id int64, e *goldap.Entry) []byte {
	p := ber.NewSequence("")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	r := ber.Encode(ber.ClassApplication, ber.TypeConstructed, goldap.ApplicationSearchResultEntry, nil, "")
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, e.DN, ""))
	list := ber.NewSequence("")
	for _, a := range e.Attributes {
		one := ber.NewSequence("")
		one.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, a.Name, ""))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.Values {
			set.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, v, ""))
		}
		one.AppendChild(set)
		list.AppendChild(one)
	}
	r.AppendChild(list)
	p.AppendChild(r)
	return p.Bytes()
}

func (s *scripted) serve(bare net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, bare)
		s.mu.Unlock()
		bare.Close()
	}()
	c := bare
	if !s.startTLS {
		c = tls.Server(bare, s.config)
	}
	for {
		p, err := ber.ReadPacket(c)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, op := p.Children[0].Value.(int64), p.Children[1]
		switch op.Tag {
		case goldap.ApplicationExtendedRequest:
			c.Write(response(id, goldap.ApplicationExtendedResponse, 0, ""))
			if c != bare {
				continue // within TLS: the mode for fast binds
			}
			c = tls.Server(bare, s.config)
		case goldap.ApplicationBindRequest:
			name, password := op.Children[1].Value.(string), op.Children[2].Data.String()
			s.mu.Lock()
			s.binds = append(s.binds, name+"/"+password)
			s.mu.Unlock()
			what := s.bind(name, password)
			if what.until != nil {
				<-what.until
			}
			switch {
			case what.hangup:
				return
			case what.raw != nil:
				c.Write(what.raw)
			default:
				c.Write(response(id, goldap.ApplicationBindResponse, what.code, what.text))
			}
		case goldap.ApplicationSearchRequest:
			s.mu.Lock()
			silent := s.silent
			s.mu.Unlock()
			if silent != nil {
				<-silent
			}
			result, base := 0, op.Children[0].Value.(string)
			if base != "" && s.results != nil {
				result = s.results(base)
			}
			switch {
			case result != 0:
			case base == "":
				c.Write(found(id, goldap.NewEntry("", map[string][]string{"defaultNamingContext": {s.base}, "schemaNamingContext": {"CN=Schema," + s.base}, "tokenGroups": s.token})))
			default:
				filter, _ := goldap.DecompileFilter(op.Children[6])
				if s.searches != nil {
					s.searches(filter)
				}
				for _, e := range s.entries {
					for _, a := range e.Attributes {
						if len(a.Values) > 0 && strings.Contains(filter, "("+a.Name+"="+goldap.EscapeFilter(a.Values[0])+")") {
							c.Write(found(id, e))
							break
						}
					}
				}
			}
			words := ""
			if result != 0 {
				words = s.words
			}
			c.Write(response(id, goldap.ApplicationSearchResultDone, result, words))
		default:
			return
		}
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}
