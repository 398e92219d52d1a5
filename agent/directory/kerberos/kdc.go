package kerberos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

// kdc is one KDC.
type kdc struct {
	address string
	book    *locate.Book
	port    string

	mu      sync.Mutex
	rests   time.Time // until when it is asked last, because it did not answer
	lastErr error     // why; nil when it has answered since
	lastAt  time.Time
	mute    time.Time // until when it is not asked by UDP, because it did not answer there
	muteErr error     // why
}

func parseKDC(s string, resolver *net.Resolver) (*kdc, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "88"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ @[]") {
		return nil, fmt.Errorf("KDC %q: want a host, or host:port", s)
	}
	return &kdc{address: net.JoinHostPort(host, port), book: locate.NewBook(host, resolver), port: port}, nil
}

func (k *kdc) resting(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Before(k.rests)
}

// lost notes that it did not answer.
func (k *kdc) lost(err error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rests, k.lastErr, k.lastAt = now.Add(restFor), err, now
}

// heard notes that it did.
func (k *kdc) heard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rests, k.lastErr, k.lastAt = time.Time{}, nil, time.Time{}
}

// takesDatagrams reports whether it is worth a try to ask it by UDP.
func (k *kdc) takesDatagrams(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !now.Before(k.mute)
}

// lostSince returns why it did not answer, if that was noted after t; nil else.
func (k *kdc) lostSince(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lastErr != nil && k.lastAt.After(t) {
		return k.lastErr
	}
	return nil
}

// muted notes that a datagram was of no use; nil that one was.
func (k *kdc) muted(err error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil:
		k.mute, k.muteErr = now.Add(muteFor), err
	case !now.Before(k.mute): // else it is known to be of no use, whatever a check that began before has heard
		k.muteErr = nil
	}
}

// Status is how one KDC stands.
type Status struct {
	Address string
	// LastError and its time: why it did not answer when it was last asked; empty if it did, or was never asked.
	LastError   string
	LastErrorAt time.Time
	// UDPError is why UDP was of no use when it was last tried, so that all goes by TCP for a while; empty if it was, or was never tried.
	UDPError string
}

func (k *kdc) status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Address: k.address, LastErrorAt: k.lastAt}
	if k.lastErr != nil {
		s.LastError = k.lastErr.Error()
	}
	if k.muteErr != nil {
		s.UDPError = k.muteErr.Error()
	}
	return s
}

// datagram sends one message by UDP and waits for one answer (RFC 4120 §7.2.1). It is for questions that may be asked twice: nothing is sent again here, but
// whoever gets no answer asks by TCP.
func (k *kdc) datagram(ctx context.Context, message []byte) ([]byte, error) {
	c, err := k.book.Connect(ctx, "udp", k.port) // from now on only what comes from this address is read
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	reply := make([]byte, maxDatagram+1)
	n, err := c.Read(reply)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errors.New("no answer")
	case err != nil:
		return nil, err
	case n > maxDatagram:
		return nil, errReply
	}
	return reply[:n], nil
}

// link is a connection for one message and its answer.
type link struct{ net.Conn }

// dial connects within a limit.
func (k *kdc) dial(ctx context.Context, limit time.Duration) (link, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := k.book.Connect(ctx, "tcp", k.port)
	return link{c}, err
}

var errReply = errors.New("the KDC's answer has an impossible length")

// exchange sends one message and reads the answer; over TCP each has its length before it (RFC 4120 §7.2.2). It closes the connection.
func (l link) exchange(ctx context.Context, message []byte) ([]byte, error) {
	defer l.Close()
	stop := context.AfterFunc(ctx, l.abandon)
	defer stop()
	reply, err := l.talk(message)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return reply, err
}

// abandon closes the connection, and what is not delivered yet never will be: a proof that nobody waits for shall not be judged when the line is back.
func (l link) abandon() {
	if tcp, ok := l.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails on one that is closed
	}
	l.Close()
}

func (l link) talk(message []byte) ([]byte, error) {
	if _, err := l.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(l, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxReply {
		return nil, errReply
	}
	reply := make([]byte, n)
	_, err := io.ReadFull(l, reply)
	return reply, err
}
