// Package locatetest is a name server for tests, on a loopback port over UDP and TCP, that can be told to misbehave: to be silent, to be slow, to fail, to
// lie, and to give answers that do not fit into a datagram. It refuses to forward: what it was not told does not exist.
//
// Tests of package locate and of those above it call it.
package locatetest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// SRV is one record of the kind.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string
}

// Server is a name server. The zero value of its zone knows nothing. Its methods may be called by several goroutines.
type Server struct {
	udp net.PacketConn
	tcp net.Listener

	mu      sync.Mutex
	srv     map[string][]SRV
	hosts   map[string]net.IP
	failing dnsmessage.RCode
	late    time.Duration
	ended   chan struct{}  // closed when the server ends
	silent  chan struct{}  // not nil: nothing is answered; closed with the first question swallowed
	asked   map[string]int // by protocol and name
	lines   []net.Conn     // of those who ask by Resolver
}

// Start starts one for a test, and ends it with the test.
func Start(t testing.TB) *Server { t.Helper(); return StartAt(t, "127.0.0.1:0") }

// StartAt starts one at an address, for programs that ask at the port of DNS alone.
func StartAt(t testing.TB, address string) *Server {
	t.Helper()
	s := &Server{srv: map[string][]SRV{}, hosts: map[string]net.IP{}, asked: map[string]int{}, ended: make(chan struct{})}
	var err error
	for range 20 { // a port that is free for one protocol may be taken for the other
		if s.udp, err = net.ListenPacket("udp", address); err != nil {
			t.Fatal(err)
		}
		if s.tcp, err = net.Listen("tcp", s.udp.LocalAddr().String()); err == nil {
			break
		}
		s.udp.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(s.datagrams)
	ended.Go(func() {
		for {
			c, err := s.tcp.Accept()
			if err != nil {
				return
			}
			ended.Go(func() { s.stream(c) })
		}
	})
	t.Cleanup(func() {
		close(s.ended)
		s.udp.Close()
		s.tcp.Close()
		ended.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.lines {
			c.Close()
		}
	})
	return s
}

// Resolver asks this server alone. What it still waits for when the server ends, ends too: after a question was given up it would wait for seconds.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, s.udp.LocalAddr().String())
		if err == nil {
			s.mu.Lock()
			s.lines = append(s.lines, c)
			s.mu.Unlock()
		}
		return c, err
	}}
}

// Services sets the records of a name; none take it away.
func (s *Server) Services(name string, records ...SRV) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv[strings.ToLower(name)+"."] = records
}

// Host sets the address of a name.
func (s *Server) Host(name string, ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[strings.ToLower(name)+"."] = ip
}

// Fail makes every answer this code from now on; RCodeSuccess ends that.
func (s *Server) Fail(code dnsmessage.RCode) { s.mu.Lock(); s.failing = code; s.mu.Unlock() }

// Delay makes every answer come so late from now on; 0 ends that.
func (s *Server) Delay(d time.Duration) { s.mu.Lock(); s.late = d; s.mu.Unlock() }

// Silence swallows every question from now on, and returns what is closed when the first one was.
func (s *Server) Silence() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = make(chan struct{})
	return s.silent
}

// Speak ends a silence.
func (s *Server) Speak() { s.mu.Lock(); s.silent = nil; s.mu.Unlock() }

// Asked is how often a name was asked for over "udp" or "tcp".
func (s *Server) Asked(network, name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[network+" "+strings.ToLower(name)+"."]
}

func (s *Server) datagrams() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer("udp", buf[:n]); answer != nil {
			s.wait()
			if len(answer) > 512 {
				answer = truncated(answer)
			}
			_, _ = s.udp.WriteTo(answer, from)
		}
	}
}

func (s *Server) stream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		answer := s.answer("tcp", question)
		if answer == nil {
			continue
		}
		s.wait()
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// wait takes the time that an answer is late.
func (s *Server) wait() {
	s.mu.Lock()
	late := s.late
	s.mu.Unlock()
	select {
	case <-time.After(late):
	case <-s.ended:
	}
}

// truncated is an answer without its records, and the word that TCP has them (RFC 1035 §4.2.1).
func truncated(answer []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil {
		return nil
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return nil
	}
	h.Truncated = true
	short, err := (&dnsmessage.Message{Header: h, Questions: questions}).Pack()
	if err != nil {
		return nil
	}
	return short
}

// answer makes the answer to one question; nil for none.
func (s *Server) answer(network string, question []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(q.Name.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[network+" "+name]++
	if s.silent != nil {
		select {
		case <-s.silent:
		default:
			close(s.silent)
		}
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionAvailable: true, RCode: s.failing}, Questions: []dnsmessage.Question{q}}
	if s.failing == dnsmessage.RCodeSuccess {
		m.Answers, err = s.records(name, q)
		if err != nil {
			return nil
		}
		if len(m.Answers) == 0 && s.hosts[name] == nil && len(s.srv[name]) == 0 {
			m.RCode = dnsmessage.RCodeNameError
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (s *Server) records(name string, q dnsmessage.Question) (out []dnsmessage.Resource, err error) {
	h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 1}
	switch q.Type {
	case dnsmessage.TypeSRV:
		for _, r := range s.srv[name] {
			target, bad := dnsmessage.NewName(r.Target)
			err = errors.Join(err, bad)
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.SRVResource{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: target}})
		}
	case dnsmessage.TypeA:
		if ip := s.hosts[name].To4(); ip != nil {
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte(ip)}})
		}
	}
	return out, err
}
