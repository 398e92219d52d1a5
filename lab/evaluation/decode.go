package evaluation

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
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

// message is an LDAP request.
type message struct {
	id       int64
	tag      ber.Tag // of the operation
	op       *ber.Packet
	critical bool // it has a critical control; none is known here
}

// decode reads the bytes of one message (RFC 4511 §4.1.1).
func decode(data []byte) (message, error) {
	if rest, err := check(data, 0); err != nil || len(rest) != 0 {
		return message{}, fmt.Errorf("%w: malformed", errMessage)
	}
	packet, err := ber.DecodePacketErr(data)
	if err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if !is(packet, ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence) || len(packet.Children) < 2 || len(packet.Children) > 3 {
		return message{}, fmt.Errorf("%w: not a sequence of id, operation and controls", errMessage)
	}
	m := message{op: packet.Children[1], tag: packet.Children[1].Tag}
	var ok bool
	if m.id, ok = number(packet.Children[0], ber.TagInteger); !ok || m.id < 1 || m.id > 1<<31-1 {
		return message{}, fmt.Errorf("%w: message id", errMessage)
	}
	if m.op.ClassType != ber.ClassApplication {
		return message{}, fmt.Errorf("%w: operation", errMessage)
	}
	if len(packet.Children) == 3 {
		if m.critical, err = criticalControl(packet.Children[2]); err != nil {
			return message{}, err
		}
	}
	return m, nil
}

// criticalControl reports whether one of the controls must be understood (RFC 4511 §4.1.11).
func criticalControl(p *ber.Packet) (bool, error) {
	if !is(p, ber.ClassContext, ber.TypeConstructed, 0) {
		return false, fmt.Errorf("%w: controls", errMessage)
	}
	critical := false
	for _, c := range p.Children {
		if !is(c, ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence) || len(c.Children) < 1 || len(c.Children) > 3 ||
			!is(c.Children[0], ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString) {
			return false, fmt.Errorf("%w: control", errMessage)
		}
		if len(c.Children) > 1 && is(c.Children[1], ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean) && truth(c.Children[1]) {
			critical = true
		}
	}
	return critical, nil
}

// check walks over one element without allocating and returns what follows it. It holds what the decoder does not: definite
// lengths, children that fill their parent, low tag numbers, and a depth at which copying stays cheap.
func check(data []byte, depth int) ([]byte, error) {
	if depth > maxDepth || len(data) < 2 || data[0]&0x1f == 0x1f {
		return nil, errMessage
	}
	tag, length, data := data[0], int(data[1]), data[2:]
	if length >= 0x80 {
		more := length & 0x7f
		if more == 0 || more > 4 || len(data) < more {
			return nil, errMessage
		}
		length = 0
		for _, b := range data[:more] {
			length = length<<8 | int(b)
		}
		data = data[more:]
	}
	if length > len(data) {
		return nil, errMessage
	}
	content, rest := data[:length], data[length:]
	if tag&0x20 != 0 {
		for len(content) > 0 {
			var err error
			if content, err = check(content, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

func is(p *ber.Packet, class ber.Class, kind ber.Type, tag ber.Tag) bool {
	return p.ClassType == class && p.TagType == kind && p.Tag == tag
}

// number reads an integer or enumerated value.
func number(p *ber.Packet, tag ber.Tag) (int64, bool) {
	if !is(p, ber.ClassUniversal, ber.TypePrimitive, tag) || p.Data.Len() < 1 || p.Data.Len() > 8 {
		return 0, false
	}
	n, ok := p.Value.(int64)
	return n, ok
}

// text reads an octet string.
func text(p *ber.Packet) (string, bool) {
	if !is(p, ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString) {
		return "", false
	}
	return p.Data.String(), true
}

func truth(p *ber.Packet) bool {
	b := p.Data.Bytes()
	return len(b) == 1 && b[0] != 0
}

// bindRequest is RFC 4511 §4.2. Any version is taken, as Samba does.
type bindRequest struct {
	name     string
	password []byte
	sasl     bool
}

func parseBind(p *ber.Packet) (bindRequest, bool) {
	if p.TagType != ber.TypeConstructed || len(p.Children) != 3 {
		return bindRequest{}, false
	}
	version, ok := number(p.Children[0], ber.TagInteger)
	if !ok || version < 1 || version > 127 {
		return bindRequest{}, false
	}
	name, ok := text(p.Children[1])
	if !ok {
		return bindRequest{}, false
	}
	switch how := p.Children[2]; {
	case is(how, ber.ClassContext, ber.TypePrimitive, 0):
		return bindRequest{name: name, password: how.Data.Bytes()}, true
	case is(how, ber.ClassContext, ber.TypeConstructed, 3):
		return bindRequest{name: name, sasl: true}, true
	}
	return bindRequest{}, false
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

func parseSearch(p *ber.Packet) (searchRequest, bool) {
	if p.TagType != ber.TypeConstructed || len(p.Children) != 8 {
		return searchRequest{}, false
	}
	var s searchRequest
	var base, scope, limit, attributes bool
	s.base, base = text(p.Children[0])
	s.scope, scope = number(p.Children[1], ber.TagEnumerated)
	s.limit, limit = number(p.Children[3], ber.TagInteger)
	attributes = is(p.Children[7], ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence)
	if !base || !scope || !limit || !attributes || s.limit < 0 || !is(p.Children[5], ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean) {
		return searchRequest{}, false
	}
	s.typesOnly = truth(p.Children[5])
	for _, a := range p.Children[7].Children {
		name, ok := text(a)
		if !ok {
			return searchRequest{}, false
		}
		s.attributes = append(s.attributes, fold(name))
	}
	parts := 0
	var ok bool
	s.filter, ok = parseFilter(p.Children[6], &parts)
	return s, ok
}

// parseExtended reads the name of an extended request (RFC 4511 §4.12).
func parseExtended(p *ber.Packet) (oid string, ok bool) {
	if p.TagType != ber.TypeConstructed || len(p.Children) < 1 || len(p.Children) > 2 || !is(p.Children[0], ber.ClassContext, ber.TypePrimitive, 0) {
		return "", false
	}
	return p.Children[0].Data.String(), true
}
