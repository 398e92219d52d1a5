package envelope

import (
	"bytes"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// The refusals. They are wrapped: test with errors.Is. None of their texts holds a name or a password.
var (
	ErrFormat     = errors.New("envelope: not an envelope of this format")
	ErrSuite      = errors.New("envelope: unknown suite")
	ErrKey        = errors.New("envelope: unusable key")
	ErrDevice     = errors.New("envelope: the device that holds the key failed")
	ErrKeyID      = errors.New("envelope: sealed to another key")
	ErrStale      = errors.New("envelope: not within its time")
	ErrExpired    = fmt.Errorf("%w: expired", ErrStale)
	ErrAhead      = fmt.Errorf("%w: its expiry lies too far ahead", ErrStale)
	ErrUnreadable = errors.New("envelope: cannot be opened: damaged, or bound to something else")
	ErrBinding    = errors.New("envelope: incomplete binding")
	ErrTooLong    = errors.New("envelope: name, password or attribute too long")
	ErrAnswer     = errors.New("envelope: not an answer to this check")
)

// Check is what an agent is asked: is this the password of this name? Bytes pass untouched, whatever they are.
type Check struct {
	// Name as the person typed it, at most [MaxName] bytes.
	Name string
	// Password as the person typed it, at most [MaxPassword] bytes; it may be empty here, which agents refuse.
	Password wire.Secret
	// WantAttributes asks for the user's attributes if the password is right.
	WantAttributes bool
	// NameAttribute has the agent look for an account whose attribute of this name, such as mail, has the value Name, besides one whose user principal
	// name it is; at most [MaxAttribute] bytes, empty for none. Agents that do not know of it refuse the envelope.
	NameAttribute string
}

// The flags of version 1; others are refused.
const (
	flagAttributes = 1 << iota
	flagNameAttribute
)

// encode writes flags, name and password, and the attribute if there is one, and pads with zeros. The caller wipes the result.
func (c Check) encode() []byte {
	size := 1 + 2 + len(c.Name) + 2 + c.Password.Len()
	if c.NameAttribute != "" {
		size += 2 + len(c.NameAttribute)
	}
	// One allocation of the final size: growing would leave copies of the password behind.
	b := make([]byte, 1, (size+padStep-1)/padStep*padStep)
	if c.WantAttributes {
		b[0] = flagAttributes
	}
	b = appendString(b, c.Name)
	b = appendString(b, c.Password.Reveal())
	if c.NameAttribute != "" {
		b[0] |= flagNameAttribute
		b = appendString(b, c.NameAttribute)
	}
	return b[:cap(b)]
}

// decodeCheck reads what encode wrote and nothing else. The password is a copy of its own.
func decodeCheck(b []byte) (Check, error) {
	if len(b) == 0 || len(b)%padStep != 0 || b[0]&^(flagAttributes|flagNameAttribute) != 0 {
		return Check{}, fmt.Errorf("%w: content", ErrFormat)
	}
	name, rest, okName := cutString(b[1:], MaxName)
	password, padding, okPassword := cutString(rest, MaxPassword)
	var attribute []byte
	okAttribute := true
	if b[0]&flagNameAttribute != 0 {
		attribute, padding, _ = cutString(padding, MaxAttribute)
		okAttribute = len(attribute) > 0
	}
	if !okName || !okPassword || !okAttribute || len(padding) >= padStep || len(bytes.TrimLeft(padding, "\x00")) > 0 {
		return Check{}, fmt.Errorf("%w: content", ErrFormat)
	}
	return Check{Name: string(name), Password: wire.NewSecret(append(make([]byte, 0, len(password)), password...)),
		WantAttributes: b[0]&flagAttributes != 0, NameAttribute: string(attribute)}, nil
}

func cutString(b []byte, limit int) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > limit || n > len(b)-2 {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// Seal seals one check to one agent's key. It fails with [ErrSuite] for a zero key, [ErrBinding] and [ErrTooLong]. The
// caller keeps the [Sender] until the answer has come. The check's password is read, not kept and not wiped.
func Seal(to PublicKey, b Binding, c Check) (sealed []byte, s *Sender, err error) {
	if err := b.check(); err != nil {
		return nil, nil, err
	}
	if len(c.Name) > MaxName || c.Password.Len() > MaxPassword || len(c.NameAttribute) > MaxAttribute {
		return nil, nil, ErrTooLong
	}
	_, kdf, aead, err := to.suite.algorithms() // the zero key has no suite
	if err != nil {
		return nil, nil, err
	}
	h := header{suite: to.suite, keyID: to.id, expires: b.Expires.UnixMilli()}
	if h.expires <= 0 {
		return nil, nil, fmt.Errorf("%w: no expiry", ErrBinding)
	}
	enc, ctx, err := hpke.NewSender(to.key, kdf, aead, bind(labelInfo, h, b))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	plaintext := c.encode()
	defer clear(plaintext)
	ciphertext, err := ctx.Seal(bind(labelCheck, h, b), plaintext)
	if err != nil {
		return nil, nil, fmt.Errorf("seal envelope: %w", err)
	}
	session, err := newSession(ctx, h, b)
	if err != nil {
		return nil, nil, err
	}
	sealed = make([]byte, 0, headerSize+len(enc)+len(ciphertext))
	sealed = append(append(h.appendTo(sealed), enc...), ciphertext...)
	return sealed, &Sender{session}, nil
}

// Open opens an envelope as the agent that b names. b.Expires is not used: the expiry in the header is bound like all the
// rest. It fails with [ErrFormat], [ErrSuite], [ErrKeyID] (not sealed to k), [ErrStale] (as [ErrExpired]: now is not before the
// expiry, or [ErrAhead]: that lies more than [MaxLife] ahead), [ErrBinding], [ErrDevice] or [ErrUnreadable]. The check's password is the
// caller's, to be wiped.
func Open(k PrivateKey, b Binding, sealed []byte, now time.Time) (Check, *Receiver, error) {
	if err := b.check(); err != nil {
		return Check{}, nil, err
	}
	h, body, err := parseHeader(sealed)
	if err != nil {
		return Check{}, nil, err
	}
	_, kdf, aead, err := h.suite.algorithms()
	if err != nil {
		return Check{}, nil, err
	}
	encSize := h.suite.encSize()
	// The largest plaintext is a full name, password and attribute with their lengths and flags, and less than one step of padding.
	if len(body) < encSize+padStep || len(body) >= encSize+7+MaxName+MaxPassword+MaxAttribute+padStep+16 {
		return Check{}, nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(sealed))
	}
	if k.key == nil || h.suite != k.public.suite || h.keyID != k.public.id {
		return Check{}, nil, ErrKeyID
	}
	switch at := now.UnixMilli(); {
	case h.expires <= at:
		return Check{}, nil, ErrExpired
	case h.expires-at > MaxLife.Milliseconds():
		return Check{}, nil, ErrAhead
	}
	ctx, err := hpke.NewRecipient(body[:encSize], k.key, kdf, aead, bind(labelInfo, h, b))
	if errors.Is(err, ErrDevice) {
		return Check{}, nil, err
	}
	if err != nil {
		return Check{}, nil, ErrUnreadable
	}
	plaintext, err := ctx.Open(bind(labelCheck, h, b), body[encSize:])
	if err != nil {
		return Check{}, nil, ErrUnreadable
	}
	defer clear(plaintext)
	c, err := decodeCheck(plaintext)
	if err != nil {
		return Check{}, nil, err
	}
	session, err := newSession(ctx, h, b)
	if err != nil {
		c.Password.Wipe()
		return Check{}, nil, err
	}
	return c, &Receiver{session: session}, nil
}
