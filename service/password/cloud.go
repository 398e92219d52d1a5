package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// hashes bounds the Argon2id computations of this process. It is the one variable of the package: what it guards, the
// machine's memory, is there once, however many Checkers there are.
var hashes = newTurns(maxHashes, maxHashLine)

// turns hands out the right to compute a hash. One of the places is kept for those who wait, so that names that strangers make
// up, which only ever take a place that is free, cannot take all of them.
type turns struct {
	shared, kept, line chan struct{}
}

func newTurns(places, line int) *turns {
	return &turns{shared: make(chan struct{}, places-1), kept: make(chan struct{}, 1), line: make(chan struct{}, line)}
}

// try takes a place if one is free at once. leave gives it back.
func (t *turns) try() (leave func(), ok bool) {
	select {
	case t.shared <- struct{}{}:
		return func() { <-t.shared }, true
	default:
		return nil, false
	}
}

// wait takes a place, standing in line for it. The fault is [wire.TooManyRequests] when the line is full, and when ctx ends first.
func (t *turns) wait(ctx context.Context) (leave func(), err error) {
	select {
	case t.line <- struct{}{}:
		defer func() { <-t.line }()
	default:
		return nil, fault.New(wire.TooManyRequests, "too many wait for a password hash")
	}
	select {
	case t.shared <- struct{}{}:
		return func() { <-t.shared }, nil
	case t.kept <- struct{}{}:
		return func() { <-t.kept }, nil
	case <-ctx.Done():
		return nil, fault.Wrap(wire.TooManyRequests, "waiting for a password hash", ctx.Err())
	}
}

// derive computes Argon2id (RFC 9106) of the secret in Unicode's NFC (RFC 8265 §4.2.1: the same characters from any
// keyboard give the same bytes). The caller holds a place of hashes.
func derive(secret wire.Secret, salt []byte, p params, size int) []byte {
	b := secret.Reveal()
	if !norm.NFC.IsNormal(b) {
		b = norm.NFC.Append(make([]byte, 0, 3*len(b)), b...)
		defer clear(b)
	}
	return argon2.IDKey(b, salt, p.time, p.memory, p.threads, uint32(size))
}

type params struct {
	memory, time uint32
	threads      uint8
}

// Hash returns the PHC string of an Argon2id hash of a new password, with a fresh salt. It waits for its turn when many are
// being computed; the fault is [wire.TooManyRequests] when too many wait, or when ctx ends first. The secret is not wiped.
func Hash(ctx context.Context, secret wire.Secret) (string, error) {
	leave, err := hashes.wait(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // crypto/rand never fails: it ends the program instead
	p := params{argonMemory, argonTime, argonThreads}
	return format(p, salt, derive(secret, salt, p, hashSize)), nil
}

// ValidateNew refuses, with the fault [wire.BadRequest], a new password for a cloud-only user: fewer than 8 or more than 256 characters,
// not text, control characters, or all the same character.
func ValidateNew(secret wire.Secret) error {
	b := secret.Reveal()
	n := utf8.RuneCount(b)
	switch {
	case len(b) > maxPassword || n > maxNew:
		return fault.Newf(wire.BadRequest, "the password must have at most %d characters", maxNew)
	case !utf8.Valid(b):
		return fault.New(wire.BadRequest, "the password must be UTF-8")
	case n < minNew:
		return fault.Newf(wire.BadRequest, "the password must have at least %d characters", minNew)
	}
	first, _ := utf8.DecodeRune(b)
	same := true
	for rest := b; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		if c < ' ' || c == 0x7f {
			return fault.New(wire.BadRequest, "the password must not hold control characters")
		}
		same = same && c == first
		rest = rest[size:]
	}
	if same {
		return fault.New(wire.BadRequest, "the password must not be one character repeated")
	}
	return nil
}

// verify compares a secret with a PHC string in constant time. An empty or unreadable one is compared with a hash that nothing
// matches and that costs the same, so that an unknown user takes as long as a wrong password; unreadable is also an error. The caller
// holds a place of hashes.
func verify(phc string, secret wire.Secret) (bool, error) {
	p, salt, want, parseErr := params{argonMemory, argonTime, argonThreads}, make([]byte, saltSize), make([]byte, hashSize), error(nil)
	real := false
	if phc != "" {
		if rp, rs, rw, err := parsePHC(phc); err != nil {
			parseErr = err
		} else {
			p, salt, want, real = rp, rs, rw, true
		}
	}
	equal := subtle.ConstantTimeCompare(derive(secret, salt, p, len(want)), want) == 1
	return equal && real, parseErr
}

// format writes the PHC string: $argon2id$v=19$m=47104,t=1,p=1$salt$hash.
func format(p params, salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

var errPHC = errors.New("password: not an Argon2id hash")

// parsePHC reads what format wrote, also with other parameters within the limits.
func parsePHC(s string) (p params, salt, sum []byte, err error) {
	refuse := func(what string) (params, []byte, []byte, error) {
		return params{}, nil, nil, fmt.Errorf("%w: %s", errPHC, what)
	}
	if len(s) > maxHashString {
		return refuse("too long")
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return refuse("unknown form or version")
	}
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return refuse("parameters")
	}
	var numbers [3]uint64
	for i, want := range []struct {
		name string
		max  uint64
	}{{"m=", maxArgonMemory}, {"t=", maxArgonTime}, {"p=", maxArgonThreads}} {
		digits, ok := strings.CutPrefix(settings[i], want.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n == 0 || n > want.max {
			return refuse("parameter " + want.name)
		}
		numbers[i] = n
	}
	p = params{memory: uint32(numbers[0]), time: uint32(numbers[1]), threads: uint8(numbers[2])}
	if salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(salt) < 8 {
		return refuse("salt")
	}
	if sum, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 64 {
		return refuse("hash")
	}
	return p, salt, sum, nil
}
