package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// session is what both ends keep of a context: the key of go tokens, the cipher of the answer and what the answer is bound to.
// Nothing in it changes.
type session struct {
	goKey   []byte
	answer  cipher.AEAD
	aad     []byte
	expires int64
}

// newSession exports the two secrets (RFC 9180 §5.3) under labels of their own, so that neither tells the other.
func newSession(ctx interface {
	Export(context string, length int) ([]byte, error)
}, h header, b Binding) (session, error) {
	goKey, err := ctx.Export(labelGo, 32)
	if err != nil {
		return session{}, fmt.Errorf("export go key: %w", err)
	}
	key, err := ctx.Export(labelAnswer, 32)
	if err != nil {
		return session{}, fmt.Errorf("export answer key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return session{}, fmt.Errorf("answer cipher: %w", err)
	}
	// AES-256-GCM with a random nonce of 12 bytes in front of the message. The key serves one answer, for which any nonce would
	// do; but an agent that lost its memory of seen requests could be given the same envelope twice and would then derive the
	// same key, and a fixed nonce would be used twice with it. A random one is safe even so.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return session{goKey: goKey, answer: aead, aad: bind(labelAnswer, h, b), expires: h.expires}, err
}

// GoToken returns the 32 bytes that say "go" to the fence with this nonce, and to no other: HMAC-SHA256 under a key that both ends
// export. A nonce of less than [MinNonce] or more than [MaxNonce] bytes gets nil, which is no token. Compare in constant time.
//
// The agent makes the nonce anew for each fence and tells it with the fence: so a token that was overheard says nothing to an
// agent that was given the same envelope again, and has lost its memory of the first time.
func (s session) GoToken(nonce []byte) []byte {
	if len(nonce) < MinNonce || len(nonce) > MaxNonce {
		return nil
	}
	mac := hmac.New(sha256.New, s.goKey)
	mac.Write(nonce)
	return mac.Sum(nil)
}

// Expires returns when the envelope loses its validity: until then the agent has to remember its request.
func (s session) Expires() time.Time { return time.UnixMilli(s.expires) }

// Sender is the sealing service's side of one envelope. Safe for concurrent use.
type Sender struct{ session }

// OpenAnswer opens and checks the agent's answer. Whatever is wrong with it, the error is [ErrAnswer]: not made by the agent
// for this very envelope, too large, not JSON, unknown fields or an unknown reason, or not exactly one of verdict and trouble.
func (s *Sender) OpenAnswer(sealed []byte) (wire.Answer, error) {
	if len(sealed) > MaxAnswer {
		return wire.Answer{}, fmt.Errorf("%w: %d bytes", ErrAnswer, len(sealed))
	}
	plaintext, err := s.answer.Open(nil, nil, sealed, s.aad)
	if err != nil {
		if (len(sealed)-s.answer.Overhead())%padStep != 0 {
			return wire.Answer{}, fmt.Errorf("%w: not authentic, and of a length that no agent makes: %d bytes", ErrAnswer, len(sealed))
		}
		return wire.Answer{}, fmt.Errorf("%w: not authentic", ErrAnswer)
	}
	return decodeAnswer(plaintext)
}

func decodeAnswer(plaintext []byte) (wire.Answer, error) {
	d := json.NewDecoder(bytes.NewReader(plaintext))
	d.DisallowUnknownFields()
	var a wire.Answer
	if err := d.Decode(&a); err != nil {
		return wire.Answer{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return wire.Answer{}, fmt.Errorf("%w: more than one value", ErrAnswer)
	}
	if err := checkAnswer(a); err != nil {
		return wire.Answer{}, err
	}
	return a, nil
}

func checkAnswer(a wire.Answer) error {
	switch {
	case (a.Verdict == nil) == (a.Trouble == nil):
		return fmt.Errorf("%w: not exactly one of verdict and trouble", ErrAnswer)
	case a.Verdict != nil && !a.Verdict.Reason.Known():
		return fmt.Errorf("%w: unknown reason %.32q", ErrAnswer, string(a.Verdict.Reason))
	case a.Verdict != nil && a.Verdict.Attributes != nil && !a.Verdict.Reason.Right():
		return fmt.Errorf("%w: attributes without acceptance", ErrAnswer)
	case a.Trouble != nil && a.Trouble.Code <= 0:
		return fmt.Errorf("%w: trouble without a number", ErrAnswer)
	}
	return nil
}

// Receiver is the agent's side of one opened envelope. Safe for concurrent use.
type Receiver struct {
	session
	answered atomic.Bool
}

// SealAnswer seals the agent's one answer. It fails with [ErrAnswer] for an answer that OpenAnswer would refuse, and for
// a second one.
func (r *Receiver) SealAnswer(a wire.Answer) ([]byte, error) {
	if err := checkAnswer(a); err != nil {
		return nil, err
	}
	plaintext, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	// Spaces after a JSON value mean nothing; they keep the length from telling a right password from a wrong one, unless
	// attributes are many.
	plaintext = append(plaintext, bytes.Repeat([]byte{' '}, -len(plaintext)&(padStep-1))...)
	if len(plaintext)+r.answer.Overhead() > MaxAnswer {
		return nil, fmt.Errorf("%w: %d bytes", ErrAnswer, len(plaintext))
	}
	if r.answered.Swap(true) {
		return nil, fmt.Errorf("%w: answered already", ErrAnswer)
	}
	return r.answer.Seal(nil, nil, plaintext, r.aad), nil
}
