package evaluation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// errMessage is wrapped by every refusal of bytes that are no LDAP message. The connection ends after it.
var errMessage = errors.New("evaluation: not an LDAP message")

// readMessage reads the bytes of one message into buffer, which grows as needed and is returned. The library would read from the
// connection itself, but knows only one limit of sizes for the whole process. io.EOF means that the client left between
// messages.
func readMessage(r *bufio.Reader, buffer []byte) ([]byte, error) {
	head, err := r.Peek(1)
	if err != nil {
		return buffer, err
	}
	if head[0] != tagSequence {
		return buffer, fmt.Errorf("%w: begins with %#x", errMessage, head[0])
	}
	if head, err = r.Peek(2); err == nil && head[1] > 0x80 {
		head, err = r.Peek(min(2+int(head[1]&0x7f), maxHeader))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return buffer, err
	}
	start, length, ok := header(head)
	if !ok {
		return buffer, fmt.Errorf("%w: header %x", errMessage, head)
	}
	buffer = slices.Grow(buffer[:0], start+length)[:start+length]
	_, err = io.ReadFull(r, buffer)
	return buffer, err
}

// header reads where the content of the element at the beginning of data starts and how long it says it is. Lengths must be definite
// (RFC 4511 §5.1) and within maxMessage; numbers of tags are low.
func header(data []byte) (start, length int, ok bool) {
	if len(data) < 2 || data[0]&0x1f == 0x1f {
		return 0, 0, false
	}
	if data[1] < 0x80 {
		return 2, int(data[1]), true
	}
	start = 2 + int(data[1]&0x7f)
	if start == 2 || start > min(len(data), maxHeader) {
		return 0, 0, false
	}
	long := uint32(0)
	for _, b := range data[2:start] {
		long = long<<8 | uint32(b)
	}
	return start, int(long), long <= maxMessage
}

// affordable looks at the headers of the elements in data, before the library makes packets of them: a packet may take hundreds of
// times its element, and holds its content once more for each level above it. Of the universal types only those that
// LDAP is made of may occur, since the library judges the content of others.
func affordable(data []byte, depth int, budget *int) bool {
	for len(data) > 0 {
		start, length, ok := header(data)
		if !ok || length > len(data)-start {
			return false
		}
		if *budget -= packetCost + length; *budget < 0 {
			return false
		}
		tag, content := data[0], data[start:start+length]
		if tag < 0x40 && !slices.Contains(universal, tag) {
			return false
		}
		if tag&byte(ber.TypeConstructed) != 0 && (depth == 0 || !affordable(content, depth-1, budget)) {
			return false
		}
		data = data[start+length:]
	}
	return true
}

// tagOf is the first byte of a packet on the wire: class, constructed bit and number in one.
func tagOf(p *ber.Packet) byte { return byte(p.ClassType) | byte(p.TagType) | byte(p.Tag) }

// take takes the next packet of a sequence, which must have the tag; ok stays false, and the packet empty, once it was not there.
func take(rest *[]*ber.Packet, tag byte, ok *bool) *ber.Packet {
	if *ok = *ok && len(*rest) > 0 && tagOf((*rest)[0]) == tag; !*ok {
		return &ber.Packet{Data: new(bytes.Buffer)}
	}
	p := (*rest)[0]
	*rest = (*rest)[1:]
	return p
}

// text takes a string.
func text(rest *[]*ber.Packet, tag byte, ok *bool) string { return take(rest, tag, ok).Data.String() }

// number takes an integer that is not negative and below 2^31, as all of LDAP's are.
func number(rest *[]*ber.Packet, tag byte, ok *bool) int64 {
	p := take(rest, tag, ok)
	n, _ := p.Value.(int64)
	*ok = *ok && p.Data.Len() >= 1 && p.Data.Len() <= 8 && n >= 0 && n <= 1<<31-1
	return n
}

// boolean takes a truth value; anything but zero is true.
func boolean(rest *[]*ber.Packet, ok *bool) bool {
	p := take(rest, tagBoolean, ok)
	*ok = *ok && p.Data.Len() == 1
	b, _ := p.Value.(bool)
	return b
}

// message is an LDAP request.
type message struct {
	id       int64
	op       *ber.Packet
	critical bool // it has a critical control that is not known here
	extended bool // names are wanted in their extended form
	whole    *ber.Packet
}

// decode reads the bytes of one message (RFC 4511 §4.1.1), as readMessage returns them. The result does not refer to data.
func decode(data []byte) (message, error) {
	budget := maxParsed
	if !affordable(data, maxDepth, &budget) {
		return message{}, fmt.Errorf("%w: malformed, too deep or too many parts", errMessage)
	}
	whole, err := ber.DecodePacketErr(data)
	if err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	m := message{whole: whole}
	rest, ok := whole.Children, true
	if m.id = number(&rest, tagInteger, &ok); !ok || m.id == 0 {
		return message{}, fmt.Errorf("%w: message id", errMessage)
	}
	if len(rest) == 0 {
		return message{}, fmt.Errorf("%w: operation", errMessage)
	}
	m.op, rest = rest[0], rest[1:]
	if len(rest) > 0 {
		controls := take(&rest, tagControls, &ok)
		if m.critical, m.extended = readControls(controls, &ok); !ok || len(rest) != 0 {
			return message{}, fmt.Errorf("%w: controls", errMessage)
		}
	}
	return m, nil
}

// oidExtendedDN asks for names with GUID and SID before them (MS-ADTS 3.1.1.3.4.1.5), and extendedAsText is the one form that is given: the
// numbers as text.
const (
	oidExtendedDN  = "1.2.840.113556.1.4.529"
	extendedAsText = "\x30\x03\x02\x01\x01"
)

// readControls reports whether one of the controls must be understood (RFC 4511 §4.1.11) and is not, and whether extended names are wanted.
func readControls(controls *ber.Packet, ok *bool) (critical, extended bool) {
	for list := controls.Children; *ok && len(list) > 0; {
		control := take(&list, tagSequence, ok).Children
		oid, must, value := text(&control, tagOctetString, ok), false, ""
		if len(control) > 0 && tagOf(control[0]) == tagBoolean {
			must = boolean(&control, ok)
		}
		if len(control) > 0 {
			value = text(&control, tagOctetString, ok)
		}
		if oid == oidExtendedDN && value == extendedAsText {
			extended = true
		} else {
			critical = critical || must
		}
		*ok = *ok && len(control) == 0
	}
	return critical, extended
}

// wipe overwrites what a message holds, for one with a password. It cannot reach all of it: while decoding, the library makes a copy of
// a password as it reads it and one more for each level above, and forgets them; the readers of the connection, ours and
// TLS's, keep bytes until the next ones come. Those stay in memory until it is used again. The passwords of an evaluation are
// made up; this is no example for handling others.
func wipe(p *ber.Packet) {
	clear(p.Data.Bytes())
	clear(p.ByteValue)
	for _, child := range p.Children {
		wipe(child)
	}
}

// bindRequest is RFC 4511 §4.2. Any version is taken, as Samba does. The password refers to the message.
type bindRequest struct {
	name     string
	password []byte
	sasl     bool
}

func parseBind(op *ber.Packet) (bindRequest, bool) {
	rest, ok := op.Children, true
	version := number(&rest, tagInteger, &ok)
	name := text(&rest, tagOctetString, &ok)
	if !ok || version < 1 || version > 127 || len(rest) != 1 {
		return bindRequest{}, false
	}
	how := tagOf(rest[0])
	return bindRequest{name: name, password: rest[0].Data.Bytes(), sasl: how == tagSASL}, how == tagSimple || how == tagSASL
}

// searchRequest is RFC 4511 §4.5.1.
type searchRequest struct {
	base       string
	scope      int64
	limit      int64
	typesOnly  bool
	filter     *filter
	attributes []string // folded
	extended   bool     // names with GUID and SID before them, in the root entry
}

const (
	scopeBase = 0
	scopeOne  = 1
	scopeSub  = 2
)

func parseSearch(op *ber.Packet) (searchRequest, bool) {
	var s searchRequest
	rest, ok := op.Children, true
	s.base = text(&rest, tagOctetString, &ok)
	s.scope = number(&rest, tagEnumerated, &ok)
	_ = number(&rest, tagEnumerated, &ok) // there are no aliases to follow
	s.limit = number(&rest, tagInteger, &ok)
	_ = number(&rest, tagInteger, &ok) // no search takes a second
	s.typesOnly = boolean(&rest, &ok)
	if !ok || len(rest) != 2 {
		return searchRequest{}, false
	}
	parts := 0
	if s.filter, ok = parseFilter(rest[0], &parts); !ok {
		return searchRequest{}, false
	}
	rest = rest[1:]
	for list := take(&rest, tagSequence, &ok).Children; ok && len(list) > 0; {
		s.attributes = append(s.attributes, fold(text(&list, tagOctetString, &ok)))
	}
	return s, ok
}

// parseExtended reads the name of an extended request (RFC 4511 §4.12).
func parseExtended(op *ber.Packet) (oid string, ok bool) {
	rest, ok := op.Children, true
	oid = text(&rest, tagSimple, &ok)
	if len(rest) > 0 {
		_ = take(&rest, tagExtendedValue, &ok)
	}
	return oid, ok && len(rest) == 0
}
