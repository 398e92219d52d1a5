package evaluation

import (
	"bufio"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/sallyport-auth/sallyport/wire"
)

// Tags of operations on the wire (RFC 4511 §4): requests, then answers.
const (
	opBind     = 0x60
	opUnbind   = 0x42
	opSearch   = 0x63
	opModify   = 0x66
	opAdd      = 0x68
	opDelete   = 0x4a
	opRename   = 0x6c
	opCompare  = 0x6e
	opAbandon  = 0x50
	opExtended = 0x77

	tagBindResponse     = 0x61
	tagSearchEntry      = 0x64
	tagSearchDone       = 0x65
	tagSearchReference  = 0x73
	tagExtendedResponse = 0x78
)

const (
	oidStartTLS         = "1.3.6.1.4.1.1466.20037"
	oidDisconnection    = "1.3.6.1.4.1.1466.20036"
	textUnauthenticated = "00002020: Operation unavailable without authentication"
)

// errDropped ends a connection on behalf of a test.
var errDropped = errors.New("evaluation: dropped on demand")

// session is one connection. It is served by one goroutine, in the order of its requests, so an abandon always comes too late.
type session struct {
	server *Server
	conn   net.Conn // TLS, once secure
	in     *bufio.Reader
	secure bool
	bound  *account // nil: anonymous
	buffer []byte   // of the request
	out    []byte   // of the answer
	direct bool     // TLS from the first byte, not by StartTLS
}

// serve answers requests until the client leaves, breaks the rules, is silent for too long, or ctx ends.
func (s *session) serve(ctx context.Context) error {
	if s.direct {
		if err := s.handshake(ctx); err != nil {
			return err
		}
	} else {
		s.in = bufio.NewReaderSize(s.conn, 4096)
	}
	wait := firstRequest
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(min(wait, s.server.idle))); err != nil {
			return err
		}
		var err error
		if s.buffer, err = readMessage(s.in, s.buffer); err != nil {
			if errors.Is(err, errMessage) {
				s.disconnect()
			}
			return err
		}
		wait = s.server.idle
		m, err := decode(s.buffer)
		clear(s.buffer) // it may hold a password
		if err != nil {
			s.disconnect()
			return err
		}
		leave, err := s.answer(ctx, m)
		if err != nil || leave {
			return err
		}
		if cap(s.buffer) > keptBuffer {
			s.buffer = nil
		}
		if cap(s.out) > keptBuffer {
			s.out = nil
		}
	}
}

// handshake makes the connection a TLS one. What the client sent before is dropped: nothing that came in the clear may be
// taken for part of the protected conversation.
func (s *session) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	secured := tls.Server(s.conn, s.server.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	s.conn, s.in, s.secure = secured, bufio.NewReaderSize(secured, 4096), true
	return nil
}

// answer serves one request; leave is true after an unbind.
func (s *session) answer(ctx context.Context, m message) (leave bool, err error) {
	s.out = s.out[:0]
	op := tagOf(m.op)
	if op == opBind {
		defer wipe(m.whole)
	}
	if m.critical && op != opUnbind && op != opAbandon {
		// RFC 4511 §4.1.11: not performed at all.
		return false, s.finish(m.id, responseTag(op), result{code: codeUnavailableCritical, text: "critical control is not known"})
	}
	switch op {
	case opUnbind:
		return true, nil
	case opAbandon:
		return false, nil
	case opBind:
		request, ok := parseBind(m.op)
		if !ok {
			return false, s.malformed()
		}
		return false, s.bind(ctx, m.id, request)
	case opSearch:
		request, ok := parseSearch(m.op)
		if !ok {
			return false, s.malformed()
		}
		request.extended = m.extended
		return false, s.search(m.id, request)
	case opExtended:
		oid, ok := parseExtended(m.op)
		if !ok {
			return false, s.malformed()
		}
		return false, s.extended(ctx, m.id, oid)
	case opModify, opAdd, opDelete, opRename, opCompare:
		r := result{code: codeUnwilling, text: "the evaluation directory is read-only"}
		if s.bound == nil {
			r = result{code: codeOperations, text: textUnauthenticated}
		}
		return false, s.finish(m.id, responseTag(op), r)
	}
	return false, s.malformed()
}

// responseTag is that of the answer which ends an operation: the request's number plus one, except for a search.
func responseTag(request byte) byte {
	if request == opSearch {
		return tagSearchDone
	}
	return 0x60 | (request+1)&0x1f
}

// bind judges a password (RFC 4511 §4.2).
func (s *session) bind(ctx context.Context, id int64, b bindRequest) error {
	if err := s.server.misbehave(ctx); err != nil {
		return err
	}
	r := s.judge(b)
	if s.server.dropAfterBind.Load() {
		return errDropped
	}
	return s.finish(id, tagBindResponse, r)
}

func (s *session) judge(b bindRequest) result {
	if b.sasl {
		return result{code: codeOperations, text: "SASL: Failed to start authentication system: NT_STATUS_INVALID_PARAMETER"}
	}
	if b.name == "" && len(b.password) == 0 {
		s.bound = nil
		return result{}
	}
	if !s.secure {
		return result{code: codeStrongerAuth, text: "BindSimple: Transport encryption required."}
	}
	e := s.server.directory.lookup(b.name)
	switch {
	case e == nil:
		return refusal(wire.BadPassword)
	case !e.secured:
		return refusal("") // Samba fails in general on objects without a security identifier
	case e.account == nil:
		return refusal(wire.BadPassword)
	}
	typed := b.password
	for i, c := range typed {
		if c == 0 { // Samba ends passwords at a NUL
			typed = typed[:i]
			break
		}
	}
	right := subtle.ConstantTimeCompare(typed, e.account.person.Password.Reveal()) == 1
	reason := e.account.try(s.server.directory.policy, right, time.Now())
	if !reason.Right() {
		return refusal(reason)
	}
	s.bound = e.account
	return result{}
}

// search answers entries and then the end. Only the root DSE is shown to strangers.
func (s *session) search(id int64, request searchRequest) error {
	var r result
	if s.bound == nil && (request.base != "" || request.scope != scopeBase) {
		r = result{code: codeOperations, text: textUnauthenticated}
	} else {
		r = s.server.directory.search(request, s.direct, func(op *ber.Packet) {
			s.out = appendMessage(s.out, id, op)
		})
	}
	return s.finish(id, tagSearchDone, r)
}

// extended serves StartTLS and nothing else (RFC 4511 §4.14).
func (s *session) extended(ctx context.Context, id int64, oid string) error {
	switch {
	case oid != oidStartTLS:
		return s.finish(id, tagExtendedResponse, result{code: codeProtocol, text: "Extended Operation(" + oid + ") not supported"})
	case s.secure:
		return s.finish(id, tagExtendedResponse, result{code: codeOperations, text: "START-TLS: TLS is already enabled on this LDAP session", oid: oidStartTLS})
	}
	if err := s.finish(id, tagExtendedResponse, result{oid: oidStartTLS}); err != nil {
		return err
	}
	return s.handshake(ctx)
}

// malformed tells the client why the connection ends (RFC 4511 §4.1.1.1).
func (s *session) malformed() error {
	s.disconnect()
	return errMessage
}

// disconnect sends a notice of disconnection; message id 0 marks it as unsolicited (RFC 4511 §4.4.1).
func (s *session) disconnect() {
	s.out = s.out[:0]
	// The connection ends whether or not the notice arrives.
	_ = s.finish(0, tagExtendedResponse, result{code: codeProtocol, text: "not an LDAP request", oid: oidDisconnection})
}

// finish appends the end of an answer and writes all of it.
func (s *session) finish(id int64, tag byte, r result) error {
	s.out = appendMessage(s.out, id, r.packet(tag))
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.out)
	return err
}
