package evaluation

// BER for answers (X.690): definite lengths, written from the front. Responses are built by appending, children first into a
// buffer of their own where their length is not known before.

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

// appendTLV appends one element.
func appendTLV(b []byte, tag byte, content []byte) []byte {
	return append(appendHeader(b, tag, len(content)), content...)
}

// appendString appends one element whose content is a string.
func appendString(b []byte, tag byte, content string) []byte {
	return append(appendHeader(b, tag, len(content)), content...)
}

func appendHeader(b []byte, tag byte, length int) []byte {
	switch {
	case length < 0x80:
		return append(b, tag, byte(length))
	case length < 0x100:
		return append(b, tag, 0x81, byte(length))
	case length < 0x10000:
		return append(b, tag, 0x82, byte(length>>8), byte(length))
	}
	return append(b, tag, 0x84, byte(length>>24), byte(length>>16), byte(length>>8), byte(length))
}

// appendInteger appends a number that is not negative.
func appendInteger(b []byte, tag byte, n int64) []byte {
	size := 1
	for v := n; v > 0x7f; v >>= 8 {
		size++
	}
	b = append(b, tag, byte(size))
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

// appendMessage appends an LDAPMessage with one protocol operation (RFC 4511 §4.1.1).
func appendMessage(b []byte, id int64, tag byte, op []byte) []byte {
	var head [8]byte
	number := appendInteger(head[:0], tagInteger, id)
	length := len(number) + len(appendHeader(make([]byte, 0, 8), tag, len(op))) + len(op)
	b = appendHeader(b, tagSequence, length)
	b = append(b, number...)
	return appendTLV(b, tag, op)
}

// appendResult appends an LDAPResult in a message (RFC 4511 §4.1.9); tag says of which operation.
func appendResult(b []byte, id int64, tag byte, r result) []byte {
	op := make([]byte, 0, 16+len(r.matched)+len(r.text))
	op = appendInteger(op, tagEnumerated, int64(r.code))
	op = appendString(op, tagOctetString, r.matched)
	op = appendString(op, tagOctetString, r.text)
	if r.oid != "" {
		op = appendString(op, tagExtendedName, r.oid)
	}
	return appendMessage(b, id, tag, op)
}
