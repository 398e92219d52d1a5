package wire

import (
	"errors"
	"fmt"
	"log/slog"
)

// redacted is what a [Secret] shows in place of its bytes, whatever asks.
const redacted = "[secret]"

// Secret is a password on its way: readable only through [Secret.Reveal], printed as "[secret]" by every formatter and
// logger, and refused by JSON and text encoders, so that no struct that holds one can leak it by being encoded.
//
// Copies share the same bytes: [Secret.Wipe] on one wipes all. The zero value is an empty secret. A Secret must not be
// used by one goroutine while another wipes it.
type Secret struct{ b []byte }

// NewSecret takes ownership of b: the caller must neither keep nor change it.
func NewSecret(b []byte) Secret { return Secret{b: b} }

// Reveal returns the bytes themselves, not a copy. The caller must not keep them past the call that needs them.
func (s Secret) Reveal() []byte { return s.b }

// Len returns the length in bytes; 0 for the zero value and for an empty password.
func (s Secret) Len() int { return len(s.b) }

// Wipe overwrites the bytes with zeros. What the runtime, a TLS stack or a string conversion copied is beyond its reach.
func (s Secret) Wipe() { clear(s.b) }

// Clone returns an independent copy, to be wiped on its own.
func (s Secret) Clone() Secret { return Secret{b: append([]byte(nil), s.b...)} }

// String returns "[secret]".
func (Secret) String() string { return redacted }

// GoString returns "[secret]", for %#v.
func (Secret) GoString() string { return redacted }

// Format writes "[secret]" for every verb, among them %x and %s, which would otherwise reach the bytes by reflection.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue makes log/slog print "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ErrSecretEncoded is returned by every encoder that meets a [Secret].
var ErrSecretEncoded = errors.New("wire: a secret must not be encoded")

// MarshalJSON refuses.
func (Secret) MarshalJSON() ([]byte, error) { return nil, ErrSecretEncoded }

// MarshalText refuses.
func (Secret) MarshalText() ([]byte, error) { return nil, ErrSecretEncoded }

// MarshalBinary refuses, which also stops encoding/gob.
func (Secret) MarshalBinary() ([]byte, error) { return nil, ErrSecretEncoded }
