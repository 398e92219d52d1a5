package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
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
		"empty":              {},
		"unknown flag":       edit(func(b []byte) []byte { b[0] |= 4; return b }),
		"no attribute":       edit(func(b []byte) []byte { b[0] |= 2; return b }),
		"attribute too long": edit(func(b []byte) []byte { b[0] |= 2; b[11] = 65; return b }),
		"name too long":      edit(func(b []byte) []byte { b[1] = 0xff; return b }),
		"name past the end":  edit(func(b []byte) []byte { b[1], b[2] = 1, 0xff; return b }),
		"password too long":  edit(func(b []byte) []byte { b[6] = 0xff; return b }),
		"padding not zero":   edit(func(b []byte) []byte { b[len(b)-1] = 1; return b }),
		"not a whole step":   edit(func(b []byte) []byte { return b[:len(b)-1] }),
		"a step too much":    edit(func(b []byte) []byte { return append(b, make([]byte, padStep)...) }),
		"no password length": edit(func(b []byte) []byte { b[1], b[2] = 1, 0xfd; return b }),
	} {
		if c, err := decodeCheck(b); !errors.Is(err, ErrFormat) || c.Name != "" || c.Password.Len() != 0 {
			t.Errorf("%s: %v", name, err)
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

func FuzzOpenAnswer(f *testing.F) {
	k, err := GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	_, s, err := Seal(k.Public(), Binding{Tenant: "t", Directory: "d", Agent: "a", Request: "r", Expires: time.UnixMilli(1)}, Check{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"verdict":{"reason":"accepted","attributes":{"anchor":"a","upn":"u","groups":["g"]}}}`))
	f.Add([]byte(`{"trouble":{"code":80002,"fenced":true,"detail":"x"},"dc":"dc1","fenced_ns":5}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if a, err := s.OpenAnswer(in); err == nil {
			t.Fatalf("opened %v", a)
		}
		// As if the agent itself had sealed it:
		a, err := s.OpenAnswer(s.answer.Seal(nil, nil, in, s.aad))
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
