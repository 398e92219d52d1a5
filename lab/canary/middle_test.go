package canary_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// middle stands between the agents and a directory and ends TLS, so that a test can hold binds back, lose them, or answer them in
// the directory's place.
type middle struct {
	address string
	backend func() (net.Conn, error)
	conf    *tls.Config

	mu    sync.Mutex
	on    func(id int64, password []byte) (answer []byte, forward bool) // nil: everything is forwarded
	l     net.Listener
	conns map[net.Conn]bool
}

// listen begins to serve, at the address it had before if it had one.
func (m *middle) listen(t *testing.T) {
	t.Helper()
	at := m.address
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := tls.Listen("tcp", at, m.conf)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.l, m.address, m.conns = l, l.Addr().String(), map[net.Conn]bool{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c)
		}
	}()
}

// close loses everything, as a domain controller does that is switched off.
func (m *middle) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.l.Close()
	for c := range m.conns {
		_ = c.Close()
	}
}

// bind sets what happens to binds.
func (m *middle) bind(on func(id int64, password []byte) (answer []byte, forward bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
}

func (m *middle) serve(c net.Conn) {
	defer c.Close()
	back, err := m.backend()
	if err != nil {
		return
	}
	defer back.Close()
	m.mu.Lock()
	m.conns[c], m.conns[back] = true, true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, c)
		delete(m.conns, back)
	}()
	go func() {
		defer c.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := back.Read(buffer)
			if n > 0 {
				if _, err := c.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		p, err := ber.ReadPacket(c)
		if err != nil {
			return
		}
		m.mu.Lock()
		on := m.on
		m.mu.Unlock()
		if on != nil && len(p.Children) == 2 && p.Children[1].Tag == 0 && len(p.Children[1].Children) == 3 { // BindRequest, RFC 4511 §4.2
			id, _ := p.Children[0].Value.(int64)
			answer, forward := on(id, p.Children[1].Children[2].Data.Bytes())
			if answer != nil {
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
			if !forward && answer == nil {
				return
			}
			if !forward {
				continue
			}
		}
		if _, err := back.Write(p.Bytes()); err != nil {
			return
		}
	}
}

// answered is a BindResponse (RFC 4511 §4.2.2).
func answered(id int64, code int64, words string) []byte {
	message := ber.NewSequence("LDAPMessage")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, "messageID"))
	response := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 1, nil, "bindResponse")
	response.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, "resultCode"))
	response.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", "matchedDN"))
	response.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, words, "diagnosticMessage"))
	message.AppendChild(response)
	return message.Bytes()
}
