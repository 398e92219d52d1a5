package ldap

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/sallyport-auth/sallyport/wire"
)

// spender is the connection between the LDAP library and TLS. The library takes a password as a string and copies it into every
// layer of the message that it builds; a string cannot be wiped, and garbage keeps its bytes until the memory is used again. So
// the library is given a stand-in of the same length, and here, where the message is complete, the password takes its place for
// the one write into TLS, which keeps no copy. The password ends a bind request without controls (RFC 4511 §4.2).
type spender struct {
	net.Conn

	mu       sync.Mutex
	password []byte // while a bind is to be written; it is the caller's
}

// standIn is what the library is given in place of each byte.
const standIn = "x"

var errNotABind = errors.New("the LDAP library has not written the bind request as expected; nothing was sent")

// Write puts the password where the stand-in is. While a bind is to be written nothing else is.
func (s *spender) Write(message []byte) (int, error) {
	s.mu.Lock()
	password := s.password
	if password == nil {
		s.mu.Unlock()
		return s.Conn.Write(message)
	}
	s.password = nil
	at := len(message) - len(password)
	if at < 0 || string(message[at:]) != strings.Repeat(standIn, len(password)) {
		s.mu.Unlock()
		return 0, errNotABind
	}
	whole := make([]byte, len(message))
	defer clear(whole)
	copy(whole, message[:at])
	copy(whole[at:], password)
	s.mu.Unlock()
	return s.Conn.Write(whole)
}

// hold sets the password of the bind that follows, or nil. When hold(nil) has returned, the password is not read any more.
func (s *spender) hold(password []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// bind sends one bind request and waits for its answer.
func (c *conn) bind(name string, password wire.Secret) error {
	c.spender.hold(password.Reveal())
	defer c.spender.hold(nil)
	return c.ldap.Bind(name, strings.Repeat(standIn, password.Len()))
}

// repeated stands for words of a directory that hold the password, which no directory in order says.
const repeated = "[left out: the directory repeated the password]"

// leastRepeated is the length from which a password in a directory's words is taken for one that was repeated: shorter ones are
// found there by chance ("data 52e").
const leastRepeated = 4

// repeats reports whether what a directory said, and the library made an error of, holds the password.
func repeats(err error, password wire.Secret) bool {
	return err != nil && password.Len() >= leastRepeated && bytes.Contains([]byte(err.Error()), password.Reveal())
}
