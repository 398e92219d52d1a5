package evaluation

import ber "github.com/go-asn1-ber/asn1-ber"

// Tags as they are on the wire: class, constructed bit and number in one byte.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSequence    = 0x30
	tagSet         = 0x31

	// Within a context.
	tagSimple        = 0x80 // of a bind; also the name of an extended request
	tagSASL          = 0xa3
	tagExtendedValue = 0x81
	tagExtendedName  = 0x8a // of an extended response
	tagControls      = 0xa0
)

// universal are the universal types that LDAP is made of (RFC 4511 §5.1 and appendix B).
var universal = []byte{tagBoolean, tagInteger, tagOctetString, tagEnumerated, tagSequence, tagSet}

// element makes an empty packet.
func element(tag byte) *ber.Packet {
	return ber.Encode(ber.Class(tag)&ber.ClassBitmask, ber.Type(tag)&ber.TypeBitmask, ber.Tag(tag)&ber.TagBitmask, nil, "")
}

// constructed makes a packet of others. They are copied, so they must be complete.
func constructed(tag byte, children ...*ber.Packet) *ber.Packet {
	p := element(tag)
	for _, child := range children {
		p.AppendChild(child)
	}
	return p
}

func octets(tag byte, s string) *ber.Packet {
	p := element(tag)
	p.Data.WriteString(s)
	return p
}

func integer(tag byte, n int64) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.Tag(tag), n, "")
}

// appendMessage appends an LDAPMessage with one protocol operation (RFC 4511 §4.1.1).
func appendMessage(b []byte, id int64, op *ber.Packet) []byte {
	return append(b, constructed(tagSequence, integer(tagInteger, id), op).Bytes()...)
}

// packet makes the response that ends an operation, an LDAPResult (RFC 4511 §4.1.9); tag says of which operation.
func (r result) packet(tag byte) *ber.Packet {
	p := constructed(tag, integer(tagEnumerated, int64(r.code)), octets(tagOctetString, r.matched), octets(tagOctetString, r.text))
	if r.oid != "" {
		p.AppendChild(octets(tagExtendedName, r.oid))
	}
	return p
}
