package samba

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameserver passes DNS questions of a network on to a domain controller of the domain that the question is about, over UDP. Samba's own DNS
// can hand on to one other server only.
type nameserver struct {
	address netip.AddrPort
	conn    *net.UDPConn
	tasks   sync.WaitGroup

	mu      sync.Mutex
	servers map[string][]string // domain → addresses of its domain controllers, host:port
}

const (
	// nameTime bounds the wait for one domain controller's answer.
	nameTime = time.Second
	// maxDatagram is the largest DNS message over UDP that is carried.
	maxDatagram = 4096
)

func serveNames(address netip.AddrPort) (*nameserver, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, err
	}
	s := &nameserver{address: address, conn: conn, servers: map[string][]string{}}
	s.tasks.Go(s.serve)
	return s, nil
}

func (s *nameserver) close() {
	_ = s.conn.Close()
	s.tasks.Wait()
}

// add makes a domain controller answer for its domain.
func (s *nameserver) add(domain string, dc netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[domain] = append(s.servers[domain], netip.AddrPortFrom(dc, 53).String())
}

// of returns who answers for a name: the domain controllers of the longest domain that it ends with.
func (s *nameserver) of(name string) []string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if found, ok := s.servers[name]; ok {
			return found
		}
		_, rest, more := strings.Cut(name, ".")
		if !more {
			return nil
		}
		name = rest
	}
}

func (s *nameserver) serve() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		question := append([]byte(nil), buffer[:n]...)
		s.tasks.Go(func() {
			if answer := s.answer(question); answer != nil {
				_, _ = s.conn.WriteToUDPAddrPort(answer, from) // a lost answer is asked for again
			}
		})
	}
}

// answer asks the domain controllers in turn; a name of no domain is refused, so that nobody waits.
func (s *nameserver) answer(question []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil || header.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	for _, server := range s.of(q.Name.String()) {
		if answer := ask(server, question); answer != nil {
			return answer
		}
	}
	refusal := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, RCode: dnsmessage.RCodeRefused}, Questions: []dnsmessage.Question{q}}
	raw, err := refusal.Pack()
	if err != nil {
		return nil
	}
	return raw
}

func ask(server string, question []byte) []byte {
	conn, err := net.Dial("udp4", server)
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(nameTime))
	if _, err := conn.Write(question); err != nil {
		return nil
	}
	answer := make([]byte, maxDatagram)
	n, err := conn.Read(answer)
	if err != nil {
		return nil
	}
	return answer[:n]
}
