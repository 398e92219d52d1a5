package evaluation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// errMessage is wrapped by every refusal of bytes that are no LDAP message. The connection ends after it.
var errMessage = errors.New("evaluation: not an LDAP message")

// readMessage reads the bytes of one message into buffer, which grows as needed and is returned. io.EOF means that the client
// left between messages.
func readMessage(r *bufio.Reader, buffer []byte) ([]byte, error) {
	tag, err := r.ReadByte()
	if err != nil {
		return buffer, err
	}
	if tag != tagSequence {
		return buffer, fmt.Errorf("%w: begins with %#x", errMessage, tag)
	}
	buffer = append(buffer[:0], tag)
	first, err := r.ReadByte()
	if err != nil {
		return buffer, cut(err)
	}
	buffer = append(buffer, first)
	length := int(first)
	if first >= 0x80 {
		more := int(first & 0x7f)
		if more == 0 || more > 4 { // RFC 4511 §5.1: definite lengths only
			return buffer, fmt.Errorf("%w: length of length %d", errMessage, more)
		}
		length = 0
		for range more {
			b, err := r.ReadByte()
			if err != nil {
				return buffer, cut(err)
			}
			buffer = append(buffer, b)
			length = length<<8 | int(b)
		}
	}
	if length > maxMessage {
		return buffer, fmt.Errorf("%w: %d bytes", errMessage, length)
	}
	start := len(buffer)
	if need := start + length; cap(buffer) < need {
		buffer = append(make([]byte, 0, need), buffer...)
	}
	buffer = buffer[:start+length]
	if _, err := io.ReadFull(r, buffer[start:]); err != nil {
		return buffer, cut(err)
	}
	return buffer, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// element is one BER element within the bytes of a message, which must outlive it.
type element struct {
	tag     byte // class, constructed bit and number in one, as on the wire; the number is below 31
	content []byte
}

// next takes the first element off data (X.690 §8.1). Lengths must be definite and numbers of tags low (RFC 4511 §5.1).
func next(data []byte) (e element, rest []byte, ok bool) {
	if len(data) < 2 || data[0]&0x1f == 0x1f {
		return element{}, nil, false
	}
	e.tag = data[0]
	length := int(data[1])
	data = data[2:]
	if length >= 0x80 {
		more := length & 0x7f
		if more == 0 || more > 4 || len(data) < more {
			return element{}, nil, false
		}
		length = 0
		for _, b := range data[:more] {
			length = length<<8 | int(b)
		}
		data = data[more:]
	}
	if length > len(data) {
		return element{}, nil, false
	}
	e.content = data[:length]
	return e, data[length:], true
}

// take reads the next element of a sequence, which must have the tag; ok stays false once it was.
func take(rest *[]byte, tag byte, ok *bool) []byte {
	if !*ok {
		return nil
	}
	var e element
	if e, *rest, *ok = next(*rest); !*ok || e.tag != tag {
		*ok = false
		return nil
	}
	return e.content
}

// number reads an integer that is not negative and below 2^31, as all of LDAP's are.
func number(rest *[]byte, tag byte, ok *bool) int64 {
	content := take(rest, tag, ok)
	if !*ok || len(content) < 1 || len(content) > 8 || content[0] >= 0x80 {
		*ok = false
		return 0
	}
	n := int64(0)
	for _, b := range content {
		n = n<<8 | int64(b)
	}
	if n > 1<<31-1 {
		*ok = false
	}
	return n
}

// boolean reads a truth value; anything but zero is true.
func boolean(rest *[]byte, ok *bool) bool {
	content := take(rest, tagBoolean, ok)
	if !*ok || len(content) != 1 {
		*ok = false
		return false
	}
	return content[0] != 0
}

// message is an LDAP request.
type message struct {
	id       int64
	op       element
	critical bool // it has a critical control; none is known here
}

// decode reads the bytes of one message (RFC 4511 §4.1.1). The result refers to data.
func decode(data []byte) (message, error) {
	outer, rest, ok := next(data)
	if !ok || outer.tag != tagSequence || len(rest) != 0 {
		return message{}, fmt.Errorf("%w: malformed", errMessage)
	}
	var m message
	rest = outer.content
	if m.id = number(&rest, tagInteger, &ok); !ok || m.id == 0 {
		return message{}, fmt.Errorf("%w: message id", errMessage)
	}
	if m.op, rest, ok = next(rest); !ok {
		return message{}, fmt.Errorf("%w: operation", errMessage)
	}
	if len(rest) > 0 {
		if m.critical, ok = criticalControl(rest); !ok {
			return message{}, fmt.Errorf("%w: controls", errMessage)
		}
	}
	return m, nil
}

// criticalControl reports whether one of the controls must be understood (RFC 4511 §4.1.11).
func criticalControl(data []byte) (critical, ok bool) {
	controls, rest, ok := next(data)
	if !ok || controls.tag != tagControls || len(rest) != 0 {
		return false, false
	}
	for rest = controls.content; len(rest) > 0; {
		control := take(&rest, tagSequence, &ok)
		_ = take(&control, tagOctetString, &ok)
		if ok && len(control) > 0 && control[0] == tagBoolean {
			critical = boolean(&control, &ok) || critical
		}
		if ok && len(control) > 0 {
			_ = take(&control, tagOctetString, &ok)
		}
		if !ok || len(control) != 0 {
			return false, false
		}
	}
	return critical, true
}

// bindRequest is RFC 4511 §4.2. Any version is taken, as Samba does. The password refers to the message.
type bindRequest struct {
	name     string
	password []byte
	sasl     bool
}

func parseBind(op []byte) (bindRequest, bool) {
	ok := true
	version := number(&op, tagInteger, &ok)
	name := take(&op, tagOctetString, &ok)
	if !ok || version < 1 || version > 127 {
		return bindRequest{}, false
	}
	how, rest, ok := next(op)
	if !ok || len(rest) != 0 || how.tag != tagSimple && how.tag != tagSASL {
		return bindRequest{}, false
	}
	return bindRequest{name: string(name), password: how.content, sasl: how.tag == tagSASL}, true
}

// searchRequest is RFC 4511 §4.5.1.
type searchRequest struct {
	base       string
	scope      int64
	limit      int64
	typesOnly  bool
	filter     *filter
	attributes []string // folded
}

const (
	scopeBase = 0
	scopeOne  = 1
	scopeSub  = 2
)

func parseSearch(op []byte) (searchRequest, bool) {
	var s searchRequest
	ok := true
	s.base = string(take(&op, tagOctetString, &ok))
	s.scope = number(&op, tagEnumerated, &ok)
	_ = number(&op, tagEnumerated, &ok) // there are no aliases to follow
	s.limit = number(&op, tagInteger, &ok)
	_ = number(&op, tagInteger, &ok) // no search takes a second
	s.typesOnly = boolean(&op, &ok)
	if !ok {
		return searchRequest{}, false
	}
	f, op, ok := next(op)
	if !ok {
		return searchRequest{}, false
	}
	parts := 0
	if s.filter, ok = parseFilter(f, &parts, 0); !ok {
		return searchRequest{}, false
	}
	for list := take(&op, tagSequence, &ok); ok && len(list) > 0; {
		s.attributes = append(s.attributes, fold(string(take(&list, tagOctetString, &ok))))
	}
	return s, ok && len(op) == 0
}

// parseExtended reads the name of an extended request (RFC 4511 §4.12).
func parseExtended(op []byte) (oid string, ok bool) {
	ok = true
	oid = string(take(&op, tagSimple, &ok))
	if ok && len(op) > 0 {
		_ = take(&op, tagExtendedValue, &ok)
	}
	return oid, ok && len(op) == 0
}
