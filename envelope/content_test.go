package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// What a holder of the public key could seal, but Seal would not: the content is read strictly.
func TestContentIsReadStrictly(t *testing.T) {
	good := Check{Name: "sam", Password: wire.NewSecret([]byte("pw")), WantAttributes: true}.encode()
	if c, err := decodeCheck(good); err != nil || c.Name != "sam" || string(c.Password.Reveal()) != "pw" || !c.WantAttributes {
		t.Fatalf("%v, %v", c, err)
	}
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, b := range map[string][]byte{
		"empty":                             {},
		"unknown flag":                      edit(func(b []byte) []byte { b[0] |= 4; return b }),
		"no attribute":                      edit(func(b []byte) []byte { b[0] |= 2; return b }),
		"attribute too long":                edit(func(b []byte) []byte { b[0] |= 2; b[11] = 65; return b }),
		"name too long":                     edit(func(b []byte) []byte { b[1] = 0xff; return b }),
		"name past the end":                 edit(func(b []byte) []byte { b[1], b[2] = 1, 0xff; return b }),
		"password too long":                 edit(func(b []byte) []byte { b[6] = 0xff; return b }),
		"padding not zero":                  edit(func(b []byte) []byte { b[len(b)-1] = 1; return b }),
		"not a whole step":                  edit(func(b []byte) []byte { return b[:len(b)-1] }),
		"a step too much":                   edit(func(b []byte) []byte { return append(b, make([]byte, padStep)...) }),
		"no room for a length":              append(bytes.Clone(filled(t, padStep-3)), 0)[:padStep],
		"a step too much, after a full one": append(bytes.Clone(filled(t, padStep-5)), make([]byte, padStep)...),
		"no password length":                edit(func(b []byte) []byte { b[1], b[2] = 1, 0xfd; return b }),
	} {
		if c, err := decodeCheck(b); !errors.Is(err, ErrFormat) || c.Name != "" || c.Password.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// filled is a content whose name has as many bytes as told, with an empty password.
func filled(t *testing.T, name int) []byte {
	t.Helper()
	return Check{Name: strings.Repeat("n", name)}.encode()
}

// Content that fills a step to its last byte, or misses it by one, is written in whole steps, without growing, and read back.
func TestContentAtTheEdges(t *testing.T) {
	for _, c := range []struct{ name, password, attribute, steps int }{
		{0, 0, 0, 1}, {507, 0, 0, 1}, {508, 0, 0, 2}, {207, 300, 0, 1}, {207, 301, 0, 2}, {200, 300, 5, 1}, {200, 300, 6, 2}, {507, 0, 1, 2},
		{MaxName, MaxPassword, 0, 5}, {MaxName, MaxPassword, MaxAttribute, 5},
	} {
		in := Check{Name: strings.Repeat("n", c.name), Password: wire.NewSecret(bytes.Repeat([]byte{'p'}, c.password)), NameAttribute: strings.Repeat("a", c.attribute)}
		b := in.encode()
		out, err := decodeCheck(b)
		if err != nil || len(b) != c.steps*padStep || out.Name != in.Name || out.Password.Len() != c.password || out.NameAttribute != in.NameAttribute {
			t.Errorf("%+v: %d bytes, %v", c, len(b), err)
		}
	}
}

// An answer may be as large as the limit and no larger, on both sides.
func TestAnswerSizes(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1e12)
	b := Binding{Tenant: "t", Directory: "d", Agent: "a", Request: "r", Expires: now.Add(Life)}
	sealed, s, err := Seal(k.Public(), b, Check{})
	if err != nil {
		t.Fatal(err)
	}
	_, r, err := Open(k, b, sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	room := MaxAnswer - s.answer.Overhead()
	text := []byte(`{"trouble":{"code":80002}}`)
	for _, c := range []struct {
		length int
		ok     bool
	}{{room, true}, {room + 1, false}} {
		if _, err := s.OpenAnswer(s.answer.Seal(nil, nil, append(text, bytes.Repeat([]byte{' '}, c.length-len(text))...), s.answerAAD)); (err == nil) != c.ok {
			t.Errorf("opening an answer of %d bytes: %v", c.length, err)
		}
	}
	// The largest number of whole steps that fits is sealed; one more does not fit, for what the cipher adds.
	answer := func(padded int) wire.Answer {
		a := wire.Answer{Trouble: &wire.Trouble{Code: wire.DirectoryTimeout}, DC: "x"}
		one, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		a.DC = strings.Repeat("x", 1+padded-len(one))
		return a
	}
	if _, err := r.SealAnswer(answer(MaxAnswer)); !errors.Is(err, ErrAnswer) {
		t.Errorf("sealing what does not fit: %v", err)
	}
	large, err := r.SealAnswer(answer(MaxAnswer - padStep))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenAnswer(large); err != nil {
		t.Error(err)
	}
	// What was changed on the way and what no agent made are told apart.
	damaged := bytes.Clone(large)
	damaged[0]++
	for _, c := range []struct {
		sealed  []byte
		strange bool
	}{{damaged, false}, {large[1:], true}} {
		if _, err := s.OpenAnswer(c.sealed); !errors.Is(err, ErrAnswer) || strings.Contains(err.Error(), "of a length that no agent makes") != c.strange {
			t.Errorf("%d bytes: %v", len(c.sealed), err)
		}
	}
}

func TestAnswerIsReadStrictly(t *testing.T) {
	for _, text := range []string{
		``, ` `, `null`, `[]`, `1`, `{}`, `{"verdict":null}`,
		`{"verdict":{"reason":"accepted"},"trouble":{"code":80002}}`,
		`{"verdict":{"reason":"right"}}`,
		`{"verdict":{}}`,
		`{"verdict":{"reason":"bad_password","attributes":{}}}`,
		`{"trouble":{"code":0}}`,
		`{"trouble":{"code":-1}}`,
		`{"trouble":{"code":80002},"more":1}`,
		`{"trouble":{"code":80002}}{}`,
		`{"trouble":{"code":80002}} x`,
		`{"trouble":{"code":"80002"}}`,
	} {
		if a, err := decodeAnswer([]byte(text)); !errors.Is(err, ErrAnswer) || a != (wire.Answer{}) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if a, err := decodeAnswer([]byte(`{"trouble":{"code":80002,"fenced":true}}   `)); err != nil || !a.Trouble.Fenced {
		t.Errorf("%v, %v", a, err)
	}
}

func FuzzDecodeCheck(f *testing.F) {
	f.Add(Check{Name: "sam@corp.example", Password: wire.NewSecret([]byte("pw"))}.encode())
	f.Add(make([]byte, padStep))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := decodeCheck(in)
		if err == nil && !bytes.Equal(c.encode(), in) {
			t.Fatal("two contents with one meaning")
		}
	})
}

// sealer has sealed a check to somebody.
func sealer(t testing.TB) *Sender {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := Seal(k.Public(), Binding{Tenant: "t", Directory: "d", Agent: "a", Request: "r", Expires: time.UnixMilli(1)}, Check{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzOpenAnswer(f *testing.F) {
	s := sealer(f)
	f.Add([]byte(`{"verdict":{"reason":"accepted","attributes":{"anchor":"a","upn":"u","groups":["g"]}}}`))
	f.Add([]byte(`{"trouble":{"code":80002,"fenced":true,"detail":"x"},"dc":"dc1","fenced_ns":5}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if a, err := s.OpenAnswer(in); err == nil {
			t.Fatalf("opened %v", a)
		}
		// As if the agent itself had sealed it:
		a, err := s.OpenAnswer(s.answer.Seal(nil, nil, in, s.answerAAD))
		if err != nil {
			if !errors.Is(err, ErrAnswer) {
				t.Fatal(err)
			}
			return
		}
		if err := checkAnswer(a); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzWhose feeds what gateways pass on as the nonce of a fence, and what an agent could seal within one.
func FuzzWhose(f *testing.F) {
	s := sealer(f)
	f.Add(make([]byte, MinNonce))
	f.Add(make([]byte, FenceNonce))
	f.Fuzz(func(t *testing.T, in []byte) {
		if whose := s.Whose(in); whose != (Account{}) {
			t.Fatalf("nobody sealed %x", whose)
		}
		var want Account
		if len(in) == len(want) {
			want = Account(in)
		}
		if whose := s.Whose(s.fence.Seal(make([]byte, MinNonce), nil, in, s.fenceAAD)); whose != want {
			t.Fatalf("%x was sealed, and is read as %x", in, whose)
		}
	})
}
