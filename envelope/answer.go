package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// session is what both ends keep of a context: the keys of go and hold tokens, the ciphers of fence and answer and what those are bound to.
// Nothing in it changes.
type session struct {
	goKey, holdKey      []byte
	fence, answer       cipher.AEAD
	fenceAAD, answerAAD []byte
	expires             int64
}

// newSession exports the secrets (RFC 9180 §5.3) under labels of their own, so that none tells another.
func newSession(ctx interface {
	Export(context string, length int) ([]byte, error)
}, h header, b Binding) (session, error) {
	s := session{fenceAAD: bind(labelFence, h, b), answerAAD: bind(labelAnswer, h, b), expires: h.expires}
	var fenceKey, answerKey []byte
	for _, k := range []struct {
		label string
		key   *[]byte
	}{{labelGo, &s.goKey}, {labelHold, &s.holdKey}, {labelFence, &fenceKey}, {labelAnswer, &answerKey}} {
		var err error
		if *k.key, err = ctx.Export(k.label, 32); err != nil {
			return session{}, fmt.Errorf("export of %q: %w", k.label, err)
		}
	}
	defer clear(fenceKey)
	defer clear(answerKey)
	var err error
	if s.fence, err = newCipher(fenceKey); err != nil {
		return session{}, fmt.Errorf("fence cipher: %w", err)
	}
	if s.answer, err = newCipher(answerKey); err != nil {
		return session{}, fmt.Errorf("answer cipher: %w", err)
	}
	return s, nil
}

// newCipher makes AES-256-GCM with a random nonce of 12 bytes in front of the message. The key serves one message, for which any nonce would
// do; but an agent that lost its memory of seen requests could be given the same envelope twice and would then derive the
// same key, and a fixed nonce would be used twice with it. A random one is safe even so.
func newCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Account is the objectGUID of the account that an agent found to have a name, in the order in which it is printed. Zero stands for none: the name was
// not looked up, or is nobody's.
type Account [16]byte

// Nonce makes the nonce of a fence: random bytes, and the account whose password is about to be tried, which the sealing service alone can read. It has
// the same length whether there is one or not.
func (r *Receiver) Nonce(whose Account) []byte {
	nonce := make([]byte, MinNonce, FenceNonce)
	_, _ = rand.Read(nonce) // never fails: crypto/rand
	return r.fence.Seal(nonce, nil, whose[:], r.fenceAAD)
}

// Whose returns the account that the nonce of a fence names; zero for a nonce that names none, as those of older agents. Whoever passes a nonce on can exchange
// it, but its tokens are then worth nothing to the agent.
func (s *Sender) Whose(nonce []byte) (whose Account) {
	if len(nonce) != FenceNonce {
		return Account{}
	}
	plaintext, err := s.fence.Open(nil, nil, nonce[MinNonce:], s.fenceAAD)
	if err != nil || len(plaintext) != len(whose) {
		return Account{}
	}
	return Account(plaintext)
}

// GoToken returns the 32 bytes that say "go" to the fence with this nonce, and to no other: HMAC-SHA256 under a key that both ends
// export. A nonce of less than [MinNonce] or more than [MaxNonce] bytes gets nil, which is no token. Compare in constant time.
//
// The agent makes the nonce anew for each fence and tells it with the fence: so a token that was overheard says nothing to an
// agent that was given the same envelope again, and has lost its memory of the first time.
func (s session) GoToken(nonce []byte) []byte { return token(s.goKey, nonce) }

// HoldToken returns the 32 bytes that say "do not ask" to the fence with this nonce: as [session.GoToken], under another key. Who passes it on cannot tell
// the two apart. It is meant for agents whose nonce names an account; older ones take it for no go.
func (s session) HoldToken(nonce []byte) []byte { return token(s.holdKey, nonce) }

func token(key, nonce []byte) []byte {
	if len(nonce) < MinNonce || len(nonce) > MaxNonce {
		return nil
	}
	mac := hmac.New(sha256.New, key)
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
	plaintext, err := s.answer.Open(nil, nil, sealed, s.answerAAD)
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
	return r.answer.Seal(nil, nil, plaintext, r.answerAAD), nil
}
