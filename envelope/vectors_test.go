package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

var update = flag.Bool("update", false, "make testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }
func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vector struct {
	Comment        string    `json:"comment"`
	Suite          uint16    `json:"suite"`
	PrivateKey     hexBytes  `json:"private_key"`
	PublicKey      hexBytes  `json:"public_key"`
	KeyID          hexBytes  `json:"key_id"`
	Tenant         string    `json:"tenant"`
	Directory      string    `json:"directory"`
	Agent          string    `json:"agent"`
	Request        string    `json:"request"`
	ExpiresMS      int64     `json:"expires_ms"`
	Name           hexBytes  `json:"name"`
	Password       hexBytes  `json:"password"`
	WantAttributes bool      `json:"want_attributes"`
	Info           hexBytes  `json:"info"`
	CheckAAD       hexBytes  `json:"check_aad"`
	Plaintext      hexBytes  `json:"plaintext"`
	Enc            hexBytes  `json:"enc"`
	Sealed         hexBytes  `json:"sealed"`
	GoKey          hexBytes  `json:"go_key"`
	GoNonce        hexBytes  `json:"go_nonce"`
	GoToken        hexBytes  `json:"go_token"`
	HoldKey        hexBytes  `json:"hold_key"`
	HoldToken      hexBytes  `json:"hold_token"`
	FenceKey       hexBytes  `json:"fence_key"`
	FenceAAD       hexBytes  `json:"fence_aad"`
	FenceNonce     hexBytes  `json:"fence_nonce"`
	Account        hexBytes  `json:"account"`
	AnswerKey      hexBytes  `json:"answer_key"`
	AnswerAAD      hexBytes  `json:"answer_aad"`
	Answer         string    `json:"answer"`
	SealedAnswer   hexBytes  `json:"sealed_answer"`
	Refused        []refusal `json:"refused"`
}

// refusal is the vector with one thing changed: what opening it must say.
type refusal struct {
	Comment string   `json:"comment"`
	Tenant  string   `json:"tenant"`
	Sealed  hexBytes `json:"sealed"`
	NowMS   int64    `json:"now_ms"`
	Error   string   `json:"error"`
}

var refusalErrors = map[string]error{"format": envelope.ErrFormat, "suite": envelope.ErrSuite, "key id": envelope.ErrKeyID,
	"stale": envelope.ErrStale, "unreadable": envelope.ErrUnreadable}

// lengthPrefixed, bound and the rest of fill follow testdata/README.md and use nothing of the package: a second reading of the
// format.
func lengthPrefixed(b []byte, parts ...[]byte) []byte {
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

func (v vector) bound(label string, header []byte) []byte {
	return lengthPrefixed(nil, []byte(label), header, []byte(v.Tenant), []byte(v.Directory), []byte(v.Agent), []byte(v.Request))
}

// fill computes everything that follows from the private key, the sealed bytes and the binding.
func (v vector) fill(t *testing.T) vector {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	kem, end := hpke.MLKEM768X25519(), 1151
	if v.Suite == 2 {
		kem, end = hpke.MLKEM768P256(), 1184
	}
	key, err := kem.NewPrivateKey(v.PrivateKey)
	must(err)
	v.PublicKey = key.PublicKey().Bytes()
	id := sha256.Sum256(append([]byte{0, byte(v.Suite)}, v.PublicKey...))
	v.KeyID = id[:16]
	header := v.Sealed[:31]
	v.Enc = v.Sealed[31:end]
	v.Info = v.bound("sallyport envelope 1 info", header)
	v.CheckAAD = v.bound("sallyport envelope 1 check", header)
	v.AnswerAAD = v.bound("sallyport envelope 1 answer", header)
	ctx, err := hpke.NewRecipient(v.Enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), v.Info)
	must(err)
	v.Plaintext, err = ctx.Open(v.CheckAAD, v.Sealed[end:])
	must(err)
	v.GoKey, err = ctx.Export("sallyport envelope 1 go", 32)
	must(err)
	mac := hmac.New(sha256.New, v.GoKey)
	mac.Write(v.GoNonce)
	v.GoToken = mac.Sum(nil)
	v.HoldKey, err = ctx.Export("sallyport envelope 1 hold", 32)
	must(err)
	mac = hmac.New(sha256.New, v.HoldKey)
	mac.Write(v.GoNonce)
	v.HoldToken = mac.Sum(nil)
	v.FenceKey, err = ctx.Export("sallyport envelope 1 fence", 32)
	must(err)
	v.FenceAAD = v.bound("sallyport envelope 1 fence", header)
	v.Account, err = gcmOf(t, v.FenceKey).Open(nil, v.FenceNonce[16:28], v.FenceNonce[28:], v.FenceAAD)
	must(err)
	v.AnswerKey, err = ctx.Export("sallyport envelope 1 answer", 32)
	must(err)
	answer, err := gcmOf(t, v.AnswerKey).Open(nil, v.SealedAnswer[:12], v.SealedAnswer[12:], v.AnswerAAD)
	must(err)
	v.Answer = string(answer)
	return v
}

func gcmOf(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

func (v vector) binding() envelope.Binding {
	return envelope.Binding{Tenant: v.Tenant, Directory: v.Directory, Agent: v.Agent, Request: v.Request, Expires: time.UnixMilli(v.ExpiresMS)}
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 3 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Comment, func(t *testing.T) {
			again, err := json.Marshal(v.fill(t))
			if err != nil {
				t.Fatal(err)
			}
			if stored, _ := json.Marshal(v); !bytes.Equal(stored, again) {
				t.Error("the stored values do not follow from private key, binding and sealed bytes")
			}

			raw := append(binary.BigEndian.AppendUint16(nil, v.Suite), v.PrivateKey...)
			k, err := envelope.ParsePrivateKey(raw)
			if err != nil {
				t.Fatal(err)
			}
			if k.Public().ID() != hex.EncodeToString(v.KeyID) || !bytes.Equal(k.Public().Bytes(), v.PublicKey) {
				t.Error("public key or its id differ")
			}
			now := time.UnixMilli(v.ExpiresMS - 1000)
			c, r, err := envelope.Open(k, v.binding(), v.Sealed, now)
			if err != nil {
				t.Fatal(err)
			}
			if c.Name != string(v.Name) || !bytes.Equal(c.Password.Reveal(), v.Password) || c.WantAttributes != v.WantAttributes {
				t.Error("content differs")
			}
			if !bytes.Equal(r.GoToken(v.GoNonce), v.GoToken) || !bytes.Equal(r.HoldToken(v.GoNonce), v.HoldToken) {
				t.Error("go or hold token differs")
			}
			for _, n := range v.Refused {
				b := v.binding()
				b.Tenant = n.Tenant
				if _, _, err := envelope.Open(k, b, n.Sealed, time.UnixMilli(n.NowMS)); !errors.Is(err, refusalErrors[n.Error]) || err == nil {
					t.Errorf("%s: %v, want %q", n.Comment, err, n.Error)
				}
			}
		})
	}
}

func writeVectors(t *testing.T) {
	var vectors []vector
	for _, c := range []struct {
		comment string
		key     func(testing.TB) envelope.PrivateKey
		check   envelope.Check
		answer  wire.Answer
	}{
		{"an ordinary check, accepted with attributes", key,
			envelope.Check{Name: "sam@corp.example", Password: wire.NewSecret([]byte("correct horse battery")), WantAttributes: true}, accepted},
		{"bytes that are not text, wrong", key,
			check("J\u00fcrgen\xff@corp.example", "\x00\x01\xfe\xff"),
			wire.Answer{Verdict: &wire.Verdict{Reason: wire.BadPassword, Win32: 1326, Diagnostic: "data 52e"}, DC: "dc1.corp.example:636"}},
		{"two steps of padding, nobody judged", key,
			check("sam@corp.example", string(bytes.Repeat([]byte("p"), 600))),
			wire.Answer{Trouble: &wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true, Detail: "no answer in 6s"}}},
		{"the longest name and password", key,
			check(string(bytes.Repeat([]byte("n"), envelope.MaxName)), string(bytes.Repeat([]byte("p"), envelope.MaxPassword))),
			wire.Answer{Verdict: &wire.Verdict{Reason: wire.NoSuchUser, Win32: 1317}}},
		{"an ordinary check with suite 2", keyP256,
			check("sam@corp.example", "correct horse battery"), accepted},
	} {
		k, b := c.key(t), binding()
		raw, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		sealed, _ := seal(t, k, b, c.check)
		_, r := open(t, k, b, sealed)
		answer, err := r.SealAnswer(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		var whose envelope.Account
		if len(vectors) < 4 { // the last fence names nobody
			_, _ = rand.Read(whose[:])
		}
		v := vector{Comment: c.comment, Suite: uint16(k.Public().Suite()), PrivateKey: raw[2:], Tenant: b.Tenant, Directory: b.Directory,
			Agent: b.Agent, Request: b.Request, ExpiresMS: b.Expires.UnixMilli(), Name: hexBytes(c.check.Name),
			Password: c.check.Password.Reveal(), WantAttributes: c.check.WantAttributes, GoNonce: make([]byte, envelope.MinNonce+5*len(vectors)), Sealed: sealed, SealedAnswer: answer,
			FenceNonce: r.Nonce(whose)}
		_, _ = rand.Read(v.GoNonce)
		fresh := v.ExpiresMS - 1000
		edit := func(i int, x byte) []byte { c := bytes.Clone(sealed); c[i] ^= x; return c }
		if len(vectors) == 0 {
			v.Refused = []refusal{
				{"opened for another tenant", b.Tenant + "x", sealed, fresh, "unreadable"},
				{"opened at its expiry", b.Tenant, sealed, v.ExpiresMS, "stale"},
				{"opened too long before its expiry", b.Tenant, sealed, v.ExpiresMS - envelope.MaxLife.Milliseconds() - 1, "stale"},
				{"expiry put off by a millisecond", b.Tenant, edit(30, sealed[30]^(sealed[30]+1)), fresh, "unreadable"},
				{"another format version", b.Tenant, edit(4, 3), fresh, "format"},
				{"another suite", b.Tenant, edit(6, 6), fresh, "suite"},
				{"another key id", b.Tenant, edit(7, 1), fresh, "key id"},
				{"a bit of the encapsulated key", b.Tenant, edit(31, 1), fresh, "unreadable"},
				{"a bit of the ciphertext", b.Tenant, edit(1151, 1), fresh, "unreadable"},
				{"a bit of the tag", b.Tenant, edit(len(sealed)-1, 1), fresh, "unreadable"},
				{"cut short", b.Tenant, sealed[:31], fresh, "format"},
			}
		}
		if k.Public().Suite() == envelope.SuiteMLKEM768P256 {
			v.Refused = []refusal{
				{"suite 2 for suite 1", b.Tenant, edit(6, 3), fresh, "key id"},
				{"a bit of the lattice's half of the encapsulated key", b.Tenant, edit(31, 1), fresh, "unreadable"},
				{"a bit of the curve's half, which is then no point", b.Tenant, edit(1183, 1), fresh, "unreadable"},
				{"a bit of the ciphertext", b.Tenant, edit(1184, 1), fresh, "unreadable"},
			}
		}
		vectors = append(vectors, v.fill(t))
	}
	text, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
