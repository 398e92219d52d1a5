package queue

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Every message to a process's inbox begins with one of these bytes.
const (
	frameAck      = 'A' // a gateway has taken a delivery
	frameBeat     = 'B' // it still has it
	frameFence    = 'F' // an agent asks for the Go token of the nonce that follows; the reply is the token, or empty
	frameGo       = 'G' // the token, or nothing after the byte: no
	frameOutcome  = 'O' // the end of a delivery
	frameAskReply = 'J' // JSON of askReply
)

// errFrame is wrapped by every refusal of the decoders below.
var errFrame = errors.New("queue: malformed message")

// askMessage is an ask on the broker. Durations travel instead of times, so that the clocks of two nodes need not agree.
type askMessage struct {
	Request string   `json:"request"`
	Trace   string   `json:"trace,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	Only    string   `json:"only,omitempty"`
	WaitMS  int64    `json:"wait_ms"`
	AgeMS   int64    `json:"age_ms,omitempty"`
}

// askReply is an offer (Agent set), a refusal (Code set), or the news that the ask stands in the gateway's line.
type askReply struct {
	Gateway string    `json:"gateway,omitempty"`
	Agent   string    `json:"agent,omitempty"`
	Slot    string    `json:"slot,omitempty"`
	Weight  float64   `json:"weight,omitempty"`
	Code    wire.Code `json:"code,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Waiting bool      `json:"waiting,omitempty"`
}

func decodeChange(b []byte) (Change, error) {
	var c Change
	if len(b) > maxAsk || json.Unmarshal(b, &c) != nil || !c.valid() {
		return Change{}, fmt.Errorf("%w: change of %d bytes", errFrame, len(b))
	}
	return c, nil
}

func decodeAsk(b []byte) (askMessage, error) {
	var m askMessage
	if len(b) > maxAsk {
		return m, fmt.Errorf("%w: ask of %d bytes", errFrame, len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return askMessage{}, fmt.Errorf("%w: ask: %w", errFrame, err)
	}
	if m.Only != "" && !validToken(m.Only) || len(m.Exclude) > maxExclude || len(m.Request) > maxText || len(m.Trace) > maxText || m.WaitMS < 0 || m.AgeMS < 0 {
		return askMessage{}, fmt.Errorf("%w: ask out of bounds", errFrame)
	}
	m.WaitMS = min(m.WaitMS, AskWithin.Milliseconds())
	m.AgeMS = min(m.AgeMS, AskWithin.Milliseconds())
	return m, nil
}

// decodeAskReply reads what follows the frame byte. An offer's ids must be fit for subjects.
func decodeAskReply(b []byte) (askReply, error) {
	var r askReply
	if len(b) > maxAsk {
		return r, fmt.Errorf("%w: ask reply of %d bytes", errFrame, len(b))
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return askReply{}, fmt.Errorf("%w: ask reply: %w", errFrame, err)
	}
	if r.Waiting || r.Code != 0 {
		return askReply{Waiting: r.Waiting, Code: r.Code, Detail: clip(r.Detail)}, nil
	}
	if r.Weight < 0 || r.Weight > maxWeight {
		return askReply{}, fmt.Errorf("%w: an offer's weight", errFrame)
	}
	if !validToken(r.Gateway) || !validToken(r.Agent) || !validToken(r.Slot) {
		return askReply{}, fmt.Errorf("%w: an offer's ids", errFrame)
	}
	return r, nil
}

// frameVersion is the first byte of a delivery; a gateway refuses what it does not know.
const frameVersion = 1

// encodeDelivery writes: version, then tenant, request, directory, agent, slot and trace each behind its length (one or two
// bytes, uvarint), the time left in milliseconds (uvarint), and the envelope up to the end.
func encodeDelivery(tenantID string, d Delivery, left time.Duration) []byte {
	b := make([]byte, 0, 32+len(tenantID)+len(d.Request)+len(d.Directory)+len(d.Agent)+len(d.Slot)+len(d.Trace)+len(d.Envelope))
	b = append(b, frameVersion)
	for _, s := range [...]string{tenantID, d.Request, d.Directory, d.Agent, d.Slot, d.Trace} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, uint64(max(left.Milliseconds(), 0)))
	return append(b, d.Envelope...)
}

// decodeDelivery reads a delivery; the envelope shares b's memory. The deadline counts from now.
func decodeDelivery(b []byte, now time.Time) (tenantID string, d Delivery, err error) {
	if len(b) > maxMessage || len(b) == 0 || b[0] != frameVersion {
		return "", Delivery{}, fmt.Errorf("%w: delivery of %d bytes or of another version", errFrame, len(b))
	}
	b = b[1:]
	for i, into := range [...]*string{&tenantID, &d.Request, &d.Directory, &d.Agent, &d.Slot, &d.Trace} {
		if *into, b, err = cutString(b); err != nil {
			return "", Delivery{}, fmt.Errorf("%w: delivery, member %d", err, i)
		}
	}
	left, n := binary.Uvarint(b)
	if n <= 0 || left > uint64(time.Hour/time.Millisecond) {
		return "", Delivery{}, fmt.Errorf("%w: delivery, time left", errFrame)
	}
	d.Deadline = now.Add(time.Duration(left) * time.Millisecond)
	d.Envelope = b[n:]
	if len(d.Envelope) == 0 || len(d.Envelope) > MaxEnvelope {
		return "", Delivery{}, fmt.Errorf("%w: envelope of %d bytes", errFrame, len(d.Envelope))
	}
	for _, s := range [...]string{tenantID, d.Request, d.Directory, d.Agent, d.Slot} {
		if !validToken(s) {
			return "", Delivery{}, fmt.Errorf("%w: %q is not an id", errFrame, s)
		}
	}
	return tenantID, d, nil
}

// The kinds of an outcome, the byte after frameOutcome.
const (
	outcomeSealed  = 's' // the sealed answer follows
	outcomeRefused = 'r' // uvarint code, then the detail
	outcomeLost    = 'l' // the detail follows
)

func encodeOutcome(o Outcome) []byte {
	switch {
	case len(o.Sealed) > 0:
		b := make([]byte, 0, 2+len(o.Sealed))
		return append(append(b, frameOutcome, outcomeSealed), o.Sealed...)
	case o.Refused > 0:
		b := binary.AppendUvarint([]byte{frameOutcome, outcomeRefused}, uint64(o.Refused))
		return append(b, clip(o.Detail)...)
	default:
		return append([]byte{frameOutcome, outcomeLost}, clip(o.Detail)...)
	}
}

// decodeOutcome reads what follows frameOutcome. Exactly one of the three members is set in what it returns.
func decodeOutcome(b []byte) (Outcome, error) {
	if len(b) == 0 {
		return Outcome{}, fmt.Errorf("%w: empty outcome", errFrame)
	}
	kind, b := b[0], b[1:]
	switch kind {
	case outcomeSealed:
		if len(b) == 0 || len(b) > MaxEnvelope {
			return Outcome{}, fmt.Errorf("%w: sealed answer of %d bytes", errFrame, len(b))
		}
		return Outcome{Sealed: b}, nil
	case outcomeRefused:
		code, n := binary.Uvarint(b)
		if n <= 0 || code == 0 || code > 1<<20 {
			return Outcome{}, fmt.Errorf("%w: code of a refusal", errFrame)
		}
		return Outcome{Refused: wire.Code(code), Detail: clip(string(b[n:]))}, nil
	case outcomeLost:
		return Outcome{Lost: true, Detail: clip(string(b))}, nil
	}
	return Outcome{}, fmt.Errorf("%w: outcome of kind %q", errFrame, kind)
}

func cutString(b []byte) (string, []byte, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > maxText || n > uint64(len(b)-used) {
		return "", nil, errFrame
	}
	b = b[used:]
	return string(b[:n]), b[n:], nil
}

// validToken reports whether s may stand between the dots of a subject: 1 to 64 ASCII letters, digits, hyphens and
// underscores. Dots, wildcards and spaces would let one tenant's id reach another's subject.
func validToken(s string) bool {
	if len(s) == 0 || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// clip shortens a detail to what a frame may hold and takes control characters out of it: it ends in logs.
func clip(s string) string {
	out := make([]rune, 0, min(len(s), maxText))
	size := 0
	for _, c := range s {
		if c < 0x20 || (c >= 0x7f && c < 0xa0) {
			c = ' '
		}
		size += len(string(c))
		if size > maxText {
			break
		}
		out = append(out, c)
	}
	return string(out)
}
