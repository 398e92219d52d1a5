package envelope

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Binding says for whom, for what and until when an envelope is. All four identifiers must be given, of at most [MaxField]
// bytes each. The expiry is kept in whole milliseconds.
type Binding struct {
	Tenant, Directory, Agent, Request string
	Expires                           time.Time
}

func (b Binding) check() error {
	for _, f := range []string{b.Tenant, b.Directory, b.Agent, b.Request} {
		if f == "" || len(f) > MaxField {
			return fmt.Errorf("%w: an identifier of the binding has %d bytes", ErrBinding, len(f))
		}
	}
	return nil
}

// header is what stands in clear before the sealed bytes. All of it is bound.
//
//	"SPEV"  version  suite  key id  expiry (Unix milliseconds)
//	   4       1       2      16      8                          big-endian
type header struct {
	suite   Suite
	keyID   [keyIDSize]byte
	expires int64
}

const (
	magic         = "SPEV"
	formatVersion = 1
	headerSize    = len(magic) + 1 + 2 + keyIDSize + 8
)

func (h header) appendTo(b []byte) []byte {
	b = append(append(b, magic...), formatVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(h.suite))
	b = append(b, h.keyID[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(h.expires))
}

// parseHeader returns the header and what follows it.
func parseHeader(sealed []byte) (header, []byte, error) {
	if len(sealed) < headerSize || string(sealed[:4]) != magic || sealed[4] != formatVersion {
		return header{}, nil, fmt.Errorf("%w: header", ErrFormat)
	}
	h := header{suite: Suite(binary.BigEndian.Uint16(sealed[5:])), expires: int64(binary.BigEndian.Uint64(sealed[23:]))}
	copy(h.keyID[:], sealed[7:])
	return h, sealed[headerSize:], nil
}

// KeyIDOf tells to which key an envelope is sealed, without opening it: hexadecimal, as [PublicKey.ID]. It proves nothing.
func KeyIDOf(sealed []byte) (string, error) {
	h, _, err := parseHeader(sealed)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.keyID[:]), nil
}

// The uses of a context. A label keeps the bytes of one use from ever being those of another.
const (
	labelInfo   = "sallyport envelope 1 info"
	labelCheck  = "sallyport envelope 1 check"
	labelGo     = "sallyport envelope 1 go"
	labelHold   = "sallyport envelope 1 hold"
	labelFence  = "sallyport envelope 1 fence"
	labelAnswer = "sallyport envelope 1 answer"
	labelSeed   = "sallyport envelope 1 seed" // of half a key, not of an envelope
)

// bind writes label, header and identifiers, each after its length in two bytes, so that no two sets of values give the
// same bytes. The result is HPKE's info, and additional data of both messages, by its label.
func bind(label string, h header, b Binding) []byte {
	out := make([]byte, 0, 256)
	for _, part := range []string{label, string(h.appendTo(nil)), b.Tenant, b.Directory, b.Agent, b.Request} {
		out = appendString(out, part)
	}
	return out
}

// appendString appends a length in two bytes and the bytes; callers have limited s.
func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
