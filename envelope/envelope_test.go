package envelope_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

var now = time.UnixMilli(1_790_000_000_123)

func key(t testing.TB) envelope.PrivateKey {
	t.Helper()
	k, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keyP256 makes a key of suite 2 as files hold it: of a seed.
func keyP256(t testing.TB) envelope.PrivateKey {
	t.Helper()
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	k, err := envelope.ParsePrivateKey(append([]byte{0, 2}, seed...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func binding() envelope.Binding {
	return envelope.Binding{
		Tenant:    "0198a5f2-0000-7000-8000-000000000001",
		Directory: "0198a5f2-0000-7000-8000-000000000002",
		Agent:     "0198a5f2-0000-7000-8000-000000000003",
		Request:   "0198a5f2-0000-7000-8000-000000000004",
		Expires:   now.Add(15 * time.Second),
	}
}

func check(name, password string) envelope.Check {
	return envelope.Check{Name: name, Password: wire.NewSecret([]byte(password))}
}

func seal(t testing.TB, k envelope.PrivateKey, b envelope.Binding, c envelope.Check) ([]byte, *envelope.Sender) {
	t.Helper()
	sealed, s, err := envelope.Seal(k.Public(), b, c)
	if err != nil {
		t.Fatal(err)
	}
	return sealed, s
}

func open(t testing.TB, k envelope.PrivateKey, b envelope.Binding, sealed []byte) (envelope.Check, *envelope.Receiver) {
	t.Helper()
	c, r, err := envelope.Open(k, b, sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

var accepted = wire.Answer{
	Verdict: &wire.Verdict{Reason: wire.Accepted, Attributes: &wire.Attributes{Anchor: "a", UPN: "u@x", Groups: []string{"Sales"}}},
	DC:      "dc1:636", Opened: 1, Fenced: 2, Judged: 3,
}

// nonce is one of the length that a fence must have.
var nonce = []byte("a nonce of 16 by")

// whose is an account that a fence names.
var whose = envelope.Account{0x6f, 0x1d, 0xe3, 0xf5, 0x3f, 0x3b, 0x4a, 0x47, 0x9f, 0x5b, 0x0b, 0x6a, 0x3a, 0x1c, 0x2d, 0x4e}

// TestFence: a nonce tells the sealing service alone whose password is about to be tried, and looks the same when it tells nothing. Go and hold
// are two tokens, and whoever changes the nonce on its way gets tokens that the agent does not take.
func TestFence(t *testing.T) {
	k, b := key(t), binding()
	sealed, s := seal(t, k, b, check("sam@mail.example", "pw"))
	_, r := open(t, k, b, sealed)
	first, second, nobody := r.Nonce(whose), r.Nonce(whose), r.Nonce(envelope.Account{})
	if s.Whose(first) != whose || s.Whose(second) != whose || s.Whose(nobody) != (envelope.Account{}) {
		t.Errorf("they name %x, %x, %x", s.Whose(first), s.Whose(second), s.Whose(nobody))
	}
	if len(first) != envelope.FenceNonce || len(nobody) != len(first) || len(first) > envelope.MaxNonce || bytes.Contains(first, whose[:]) {
		t.Errorf("nonces of %d and %d bytes", len(first), len(nobody))
	}
	if bytes.Equal(first[:envelope.MinNonce], second[:envelope.MinNonce]) || bytes.Equal(first[envelope.MinNonce:], second[envelope.MinNonce:]) {
		t.Error("two nonces of one envelope are alike")
	}
	if len(s.HoldToken(first)) != len(s.GoToken(first)) || bytes.Equal(s.HoldToken(first), s.GoToken(first)) || !bytes.Equal(s.HoldToken(first), r.HoldToken(first)) {
		t.Error("hold and go are the same, of other lengths, or not the same on both sides")
	}
	_, stranger := seal(t, k, b, check("sam@mail.example", "pw"))
	if stranger.Whose(first) != (envelope.Account{}) || bytes.Equal(stranger.HoldToken(first), s.HoldToken(first)) {
		t.Error("another envelope's sender reads it")
	}
	for i := range len(first) * 8 {
		changed := bytes.Clone(first)
		changed[i/8] ^= 1 << (i % 8)
		if i/8 >= envelope.MinNonce && s.Whose(changed) != (envelope.Account{}) {
			t.Fatalf("bit %d flipped: %x", i, s.Whose(changed))
		}
		if bytes.Equal(s.GoToken(changed), r.GoToken(first)) || bytes.Equal(s.HoldToken(changed), r.HoldToken(first)) {
			t.Fatalf("bit %d flipped: the same token", i)
		}
	}
	for _, n := range []int{0, envelope.MinNonce, envelope.FenceNonce - 1, envelope.FenceNonce + 1, envelope.MaxNonce} {
		if got := s.Whose(make([]byte, n)); got != (envelope.Account{}) {
			t.Errorf("%d bytes name %x", n, got)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	k, b := key(t), binding()
	c := check("sam@corp.example", "gehéim\x00\xff 1")
	c.WantAttributes = true
	sealed, s := seal(t, k, b, c)
	b.Expires = time.Time{} // not used by the opener
	got, r := open(t, k, b, sealed)
	if got.Name != c.Name || !bytes.Equal(got.Password.Reveal(), c.Password.Reveal()) || !got.WantAttributes {
		t.Errorf("opened %q, %d bytes, %v", got.Name, got.Password.Len(), got.WantAttributes)
	}
	if string(c.Password.Reveal()) != "gehéim\x00\xff 1" {
		t.Error("Seal changed the caller's password")
	}
	if want := binding().Expires; !r.Expires().Equal(want) || !s.Expires().Equal(want) {
		t.Errorf("expiry %v and %v, want %v", r.Expires(), s.Expires(), want)
	}
	if len(s.GoToken(nonce)) != 32 || !bytes.Equal(s.GoToken(nonce), r.GoToken(nonce)) {
		t.Error("go tokens differ")
	}
	if bytes.Equal(s.GoToken(nonce), s.GoToken(bytes.ToUpper(nonce))) {
		t.Error("one token for two fences")
	}
	answer, err := r.SealAnswer(accepted)
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.OpenAnswer(answer)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(accepted, back); d != "" {
		t.Error(d)
	}
	if _, err := r.SealAnswer(accepted); !errors.Is(err, envelope.ErrAnswer) {
		t.Errorf("a second answer: %v", err)
	}
	if id, err := envelope.KeyIDOf(sealed); err != nil || id != k.Public().ID() {
		t.Errorf("KeyIDOf = %q, %v", id, err)
	}
}

// Whatever bytes name and password hold, they arrive as they were.
func TestAnyBytes(t *testing.T) {
	k := key(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SliceOfN(rapid.Byte(), 0, envelope.MaxName).Draw(t, "name")
		password := rapid.SliceOfN(rapid.Byte(), 0, envelope.MaxPassword).Draw(t, "password")
		attribute := rapid.StringN(0, -1, envelope.MaxAttribute).Draw(t, "attribute")
		c := envelope.Check{Name: string(name), Password: wire.NewSecret(bytes.Clone(password)), WantAttributes: rapid.Bool().Draw(t, "want"), NameAttribute: attribute}
		sealed, s, err := envelope.Seal(k.Public(), binding(), c)
		if err != nil {
			t.Fatal(err)
		}
		got, r, err := envelope.Open(k, binding(), sealed, now)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != string(name) || !bytes.Equal(got.Password.Reveal(), password) || got.WantAttributes != c.WantAttributes || got.NameAttribute != attribute {
			t.Fatal("changed on the way")
		}
		if !bytes.Equal(s.GoToken(nonce), r.GoToken(nonce)) {
			t.Fatal("tokens differ")
		}
	})
}

// Two bindings that differ anywhere never open each other's envelopes, even if their fields would join to the same text.
func TestAnyBinding(t *testing.T) {
	k := key(t)
	field := rapid.StringMatching(`[ab]{1,3}`)
	draw := func(t *rapid.T, n string) envelope.Binding {
		return envelope.Binding{Tenant: field.Draw(t, n+"t"), Directory: field.Draw(t, n+"d"), Agent: field.Draw(t, n+"a"),
			Request: field.Draw(t, n+"r"), Expires: now.Add(time.Second)}
	}
	rapid.Check(t, func(t *rapid.T) {
		one, two := draw(t, "1"), draw(t, "2")
		sealed, _, err := envelope.Seal(k.Public(), one, check("n", "p"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = envelope.Open(k, two, sealed, now)
		if one == two && err != nil || one != two && !errors.Is(err, envelope.ErrUnreadable) {
			t.Fatalf("%v opened as %v: %v", one, two, err)
		}
	})
}

func TestEveryBitIsBound(t *testing.T) {
	k, b := key(t), binding()
	sealed, _ := seal(t, k, b, check("sam@corp.example", "secret"))
	for i := range len(sealed) * 8 {
		damaged := bytes.Clone(sealed)
		damaged[i/8] ^= 1 << (i % 8)
		if _, _, err := envelope.Open(k, b, damaged, now); err == nil {
			t.Fatalf("opened with bit %d of byte %d flipped", i%8, i/8)
		}
	}
	for n := range len(sealed) {
		if _, _, err := envelope.Open(k, b, sealed[:n], now); err == nil {
			t.Fatalf("opened when cut to %d bytes", n)
		}
	}
	if _, _, err := envelope.Open(k, b, append(bytes.Clone(sealed), 0), now); err == nil {
		t.Fatal("opened with a byte appended")
	}
}

func TestOpenRefuses(t *testing.T) {
	k, other, b := key(t), key(t), binding()
	sealed, _ := seal(t, k, b, check("sam@corp.example", "secret"))
	change := func(f func(*envelope.Binding)) envelope.Binding { c := b; f(&c); return c }
	edit := func(i int, v byte) []byte { c := bytes.Clone(sealed); c[i] = v; return c }
	for _, c := range []struct {
		name   string
		key    envelope.PrivateKey
		b      envelope.Binding
		sealed []byte
		now    time.Time
		want   error
	}{
		{"tenant", k, change(func(b *envelope.Binding) { b.Tenant += "x" }), sealed, now, envelope.ErrUnreadable},
		{"directory", k, change(func(b *envelope.Binding) { b.Directory += "x" }), sealed, now, envelope.ErrUnreadable},
		{"agent", k, change(func(b *envelope.Binding) { b.Agent += "x" }), sealed, now, envelope.ErrUnreadable},
		{"request", k, change(func(b *envelope.Binding) { b.Request += "x" }), sealed, now, envelope.ErrUnreadable},
		{"tenant and directory exchanged", k, change(func(b *envelope.Binding) { b.Tenant, b.Directory = b.Directory, b.Tenant }), sealed, now, envelope.ErrUnreadable},
		{"no tenant", k, change(func(b *envelope.Binding) { b.Tenant = "" }), sealed, now, envelope.ErrBinding},
		{"expiry put off", k, b, edit(30, sealed[30]+1), now, envelope.ErrUnreadable},
		{"another agent's key", other, b, sealed, now, envelope.ErrKeyID},
		{"no key", envelope.PrivateKey{}, b, sealed, now, envelope.ErrKeyID},
		{"key id changed", k, b, edit(7, sealed[7]^1), now, envelope.ErrKeyID},
		{"suite changed", k, b, edit(6, 3), now, envelope.ErrSuite},
		{"version changed", k, b, edit(4, 2), now, envelope.ErrFormat},
		{"magic changed", k, b, edit(0, 'x'), now, envelope.ErrFormat},
		{"empty", k, b, nil, now, envelope.ErrFormat},
		{"header alone", k, b, sealed[:31], now, envelope.ErrFormat},
		{"shorter than any", k, b, sealed[:31+1120+511], now, envelope.ErrFormat},
		{"not shorter than any", k, b, sealed[:31+1120+512], now, envelope.ErrUnreadable},
		{"longer than any", k, b, append(bytes.Clone(sealed), make([]byte, 31+1120+2647-len(sealed))...), now, envelope.ErrFormat},
		{"not longer than any", k, b, append(bytes.Clone(sealed), make([]byte, 31+1120+2646-len(sealed))...), now, envelope.ErrUnreadable},
		{"huge", k, b, append(bytes.Clone(sealed), make([]byte, 1<<20)...), now, envelope.ErrFormat},
		{"at its expiry", k, b, sealed, b.Expires, envelope.ErrExpired},
		{"after its expiry", k, b, sealed, b.Expires.Add(time.Hour), envelope.ErrExpired},
		{"too far ahead", k, b, sealed, b.Expires.Add(-envelope.MaxLife - time.Millisecond), envelope.ErrAhead},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, r, err := envelope.Open(c.key, c.b, c.sealed, c.now)
			if !errors.Is(err, c.want) || r != nil || got.Name != "" || got.Password.Len() != 0 {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for _, at := range []time.Time{b.Expires.Add(-time.Millisecond), b.Expires.Add(-envelope.MaxLife)} {
		if _, _, err := envelope.Open(k, b, sealed, at); err != nil {
			t.Errorf("%v before expiry: %v", b.Expires.Sub(at), err)
		}
	}
}

// An envelope whose header names a key that it was not sealed to: the id alone opens nothing.
func TestForgedKeyID(t *testing.T) {
	k, other, b := key(t), key(t), binding()
	mine, _ := seal(t, k, b, check("n", "p"))
	foreign, _ := seal(t, other, b, check("n", "p"))
	copy(foreign[7:23], mine[7:23])
	if _, _, err := envelope.Open(k, b, foreign, now); !errors.Is(err, envelope.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	k := key(t)
	long := strings.Repeat("x", 1025)
	change := func(f func(*envelope.Binding)) envelope.Binding { c := binding(); f(&c); return c }
	for _, c := range []struct {
		name string
		to   envelope.PublicKey
		b    envelope.Binding
		c    envelope.Check
		want error
	}{
		{"zero key", envelope.PublicKey{}, binding(), check("n", "p"), envelope.ErrSuite},
		{"zero binding", k.Public(), envelope.Binding{Expires: now}, check("n", "p"), envelope.ErrBinding},
		{"no directory", k.Public(), change(func(b *envelope.Binding) { b.Directory = "" }), check("n", "p"), envelope.ErrBinding},
		{"no expiry", k.Public(), change(func(b *envelope.Binding) { b.Expires = time.Time{} }), check("n", "p"), envelope.ErrBinding},
		{"the first millisecond of all as expiry", k.Public(), change(func(b *envelope.Binding) { b.Expires = time.UnixMilli(0) }), check("n", "p"), envelope.ErrBinding},
		{"long attribute", k.Public(), binding(), envelope.Check{Name: "n", NameAttribute: long[:envelope.MaxAttribute+1]}, envelope.ErrTooLong},
		{"a request too long by one", k.Public(), change(func(b *envelope.Binding) { b.Request = long[:envelope.MaxField+1] }), check("n", "p"), envelope.ErrBinding},
		{"long request", k.Public(), change(func(b *envelope.Binding) { b.Request = long }), check("n", "p"), envelope.ErrBinding},
		{"long name", k.Public(), binding(), check(long, "p"), envelope.ErrTooLong},
		{"long password", k.Public(), binding(), check("n", long), envelope.ErrTooLong},
	} {
		if sealed, s, err := envelope.Seal(c.to, c.b, c.c); !errors.Is(err, c.want) || sealed != nil || s != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// Identifiers may be as long as the limit, and an envelope may expire as early as time began.
func TestSealAccepts(t *testing.T) {
	k, field := key(t), strings.Repeat("x", envelope.MaxField)
	b := envelope.Binding{Tenant: field, Directory: field, Agent: field, Request: field, Expires: time.UnixMilli(1)}
	c := check(strings.Repeat("n", envelope.MaxName), strings.Repeat("p", envelope.MaxPassword))
	c.NameAttribute = strings.Repeat("a", envelope.MaxAttribute)
	sealed, s := seal(t, k, b, c)
	if _, _, err := envelope.Open(k, b, sealed, time.UnixMilli(0)); err != nil {
		t.Error(err)
	}
	for length, want := range map[int]int{0: 0, 15: 0, 16: 32, 64: 32, 65: 0} {
		if token := s.GoToken(make([]byte, length)); len(token) != want {
			t.Errorf("a nonce of %d bytes gives a token of %d", length, len(token))
		}
	}
}

func TestSizes(t *testing.T) {
	k, b := key(t), binding()
	size := func(name, password int) int {
		sealed, _ := seal(t, k, b, check(strings.Repeat("n", name), strings.Repeat("p", password)))
		return len(sealed)
	}
	if one, many := size(1, 1), size(113, 200); one != many || one > 2500 {
		t.Errorf("sizes %d and %d", one, many)
	}
	if n := size(256, 512); n > 2500 {
		t.Errorf("a long name and password: %d", n)
	}
	// The edges of the first step: 507 bytes of content and 5 of its own fill it.
	if size(0, 0) != size(207, 300) || size(207, 301) != size(207, 300)+512 {
		t.Error("padding is not in steps of 512")
	}
	if n := size(1024, 1024); n != 31+1120+2560+16 {
		t.Errorf("largest: %d", n)
	}
}

func TestAnswersBelongToTheirEnvelope(t *testing.T) {
	k, one, two := key(t), binding(), binding()
	two.Request = "0198a5f2-0000-7000-8000-000000000005"
	sealed1, s1 := seal(t, k, one, check("n", "p"))
	sealed2, s2 := seal(t, k, two, check("n", "p"))
	sealed3, s3 := seal(t, k, one, check("n", "p")) // the same binding, sealed again
	_, r1 := open(t, k, one, sealed1)
	_, r2 := open(t, k, two, sealed2)
	_, r3 := open(t, k, one, sealed3)
	answers := make([][]byte, 3)
	for i, r := range []*envelope.Receiver{r1, r2, r3} {
		var err error
		if answers[i], err = r.SealAnswer(accepted); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range []*envelope.Sender{s1, s2, s3} {
		for j, a := range answers {
			got, err := s.OpenAnswer(a)
			if i == j && err != nil || i != j && (!errors.Is(err, envelope.ErrAnswer) || got != (wire.Answer{})) {
				t.Errorf("answer %d for envelope %d: %v", j, i, err)
			}
		}
	}
	if bytes.Equal(s1.GoToken(nonce), s2.GoToken(nonce)) || bytes.Equal(s1.GoToken(nonce), s3.GoToken(nonce)) {
		t.Error("two envelopes have one go token")
	}
	for i := range len(answers[0]) * 8 {
		damaged := bytes.Clone(answers[0])
		damaged[i/8] ^= 1 << (i % 8)
		if _, err := s1.OpenAnswer(damaged); !errors.Is(err, envelope.ErrAnswer) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for _, a := range [][]byte{nil, {}, make([]byte, 27), make([]byte, envelope.MaxAnswer+1)} {
		if _, err := s1.OpenAnswer(a); !errors.Is(err, envelope.ErrAnswer) {
			t.Errorf("%d bytes: %v", len(a), err)
		}
	}
}

// The same envelope opened twice, by an agent that forgot: the answers do not share a nonce.
func TestOpenedTwice(t *testing.T) {
	k, b := key(t), binding()
	sealed, s := seal(t, k, b, check("n", "p"))
	seen := map[string]bool{}
	for range 3 {
		_, r := open(t, k, b, sealed)
		a, err := r.SealAnswer(accepted)
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(a[:12])] {
			t.Error("a nonce was used twice")
		}
		seen[string(a[:12])] = true
		if _, err := s.OpenAnswer(a); err != nil {
			t.Error(err)
		}
	}
}

func TestAnswerSizeTellsNothing(t *testing.T) {
	k, b := key(t), binding()
	size := func(a wire.Answer) int {
		sealed, _ := seal(t, k, b, check("n", "p"))
		_, r := open(t, k, b, sealed)
		out, err := r.SealAnswer(a)
		if err != nil {
			t.Fatal(err)
		}
		return len(out)
	}
	wrong := wire.Answer{Verdict: &wire.Verdict{Reason: wire.BadPassword, Win32: 1326, Diagnostic: "data 52e"}, DC: "dc1.corp.example:636"}
	trouble := wire.Answer{Trouble: &wire.Trouble{Code: wire.DirectoryTimeout, Fenced: true, Detail: "no answer"}}
	if a, w, d := size(accepted), size(wrong), size(trouble); a != w || w != d {
		t.Errorf("sizes %d, %d, %d", a, w, d)
	}
}

func TestSealAnswerRefuses(t *testing.T) {
	k, b := key(t), binding()
	sealed, _ := seal(t, k, b, check("n", "p"))
	_, r := open(t, k, b, sealed)
	verdict := &wire.Verdict{Reason: wire.Accepted}
	for name, a := range map[string]wire.Answer{
		"neither":                  {},
		"both":                     {Verdict: verdict, Trouble: &wire.Trouble{Code: wire.DirectoryTimeout}},
		"unknown reason":           {Verdict: &wire.Verdict{Reason: "fine"}},
		"no reason":                {Verdict: &wire.Verdict{}},
		"attributes when wrong":    {Verdict: &wire.Verdict{Reason: wire.BadPassword, Attributes: &wire.Attributes{}}},
		"trouble without a number": {Trouble: &wire.Trouble{}},
		"too large":                {Verdict: verdict, DC: strings.Repeat("x", envelope.MaxAnswer)},
	} {
		if _, err := r.SealAnswer(a); !errors.Is(err, envelope.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.SealAnswer(accepted); err != nil { // a refusal does not use up the one answer
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	k := key(t)
	raw, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 34 {
		t.Errorf("private key has %d bytes", len(raw))
	}
	again, err := envelope.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	public, err := envelope.ParsePublicKey(k.Public().Suite(), k.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if again.Public().ID() != k.Public().ID() || public.ID() != k.Public().ID() || len(public.ID()) != 32 {
		t.Error("ids differ after a round trip")
	}
	sealed, _, err := envelope.Seal(public, binding(), check("n", "p"))
	if err != nil {
		t.Fatal(err)
	}
	open(t, again, binding(), sealed)

	for _, b := range [][]byte{nil, {0}, {0, 1}, raw[:33], append(bytes.Clone(raw), 0)} {
		if _, err := envelope.ParsePrivateKey(b); !errors.Is(err, envelope.ErrKey) {
			t.Errorf("%d bytes as private key: %v", len(b), err)
		}
	}
	if _, err := envelope.ParsePrivateKey(append([]byte{9, 9}, raw[2:]...)); !errors.Is(err, envelope.ErrSuite) {
		t.Errorf("unknown suite: %v", err)
	}
	for _, b := range [][]byte{nil, public.Bytes()[1:], append(public.Bytes(), 0), bytes.Repeat([]byte{0xff}, 1216)} {
		if _, err := envelope.ParsePublicKey(envelope.SuiteMLKEM768X25519, b); !errors.Is(err, envelope.ErrKey) {
			t.Errorf("%d bytes as public key: %v", len(b), err)
		}
	}
	if _, err := envelope.ParsePublicKey(3, public.Bytes()); !errors.Is(err, envelope.ErrSuite) {
		t.Errorf("unknown suite: %v", err)
	}

	var zero envelope.PrivateKey
	if _, err := zero.Bytes(); !errors.Is(err, envelope.ErrKey) {
		t.Errorf("zero key: %v", err)
	}
	if z := zero.Public(); z.ID() != "" || z.Bytes() != nil || z.Suite() != 0 {
		t.Error("the zero key says that it is one")
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := fmt.Sprintf(f, k)
		if strings.Contains(text, fmt.Sprintf("%x", raw[2:])) || strings.Contains(text, fmt.Sprint(raw[2:])) {
			t.Errorf("%s shows the key", f)
		}
	}
}

// curveInDevice is a key that can fail, as a device can.
type curveInDevice struct {
	*ecdh.PrivateKey
	failure error
}

func (c *curveInDevice) ECDH(peer *ecdh.PublicKey) ([]byte, error) {
	if c.failure != nil {
		return nil, c.failure
	}
	return c.PrivateKey.ECDH(peer)
}

func TestDeviceKey(t *testing.T) {
	curve, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device := &curveInDevice{PrivateKey: curve}
	made, kept, err := envelope.NewDeviceKey(device)
	if err != nil {
		t.Fatal(err)
	}
	k, err := envelope.ParseDeviceKey(device, kept)
	if err != nil || k.Public().ID() != made.Public().ID() {
		t.Fatalf("read back: %v", err)
	}
	if k.Public().Suite() != envelope.SuiteMLKEM768P256 {
		t.Errorf("suite %d", k.Public().Suite())
	}
	if _, err := k.Bytes(); !errors.Is(err, envelope.ErrKey) {
		t.Errorf("the bytes of a key in a device: %v", err)
	}
	public, err := envelope.ParsePublicKey(k.Public().Suite(), k.Public().Bytes())
	if err != nil || public.ID() != k.Public().ID() {
		t.Fatalf("the public half: %v", err)
	}
	sealed, _ := seal(t, k, binding(), check("sam", "hunter2"))
	if c, _ := open(t, k, binding(), sealed); c.Name != "sam" || string(c.Password.Reveal()) != "hunter2" {
		t.Error("the content differs")
	}
	other, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envelope.ParseDeviceKey(other, kept); !errors.Is(err, envelope.ErrKey) {
		t.Errorf("with another device: %v", err)
	}
	for _, b := range [][]byte{nil, kept[:len(kept)-1], append(bytes.Clone(kept), 0)} {
		if _, err := envelope.ParseDeviceKey(device, b); !errors.Is(err, envelope.ErrKey) {
			t.Errorf("%d bytes kept: %v", len(b), err)
		}
	}
	montgomery, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := envelope.NewDeviceKey(montgomery); !errors.Is(err, envelope.ErrKey) {
		t.Errorf("a key of another curve: %v", err)
	}
	device.failure = errors.New("unplugged")
	_, _, openErr := envelope.Open(k, binding(), sealed, now)
	_, _, newErr := envelope.NewDeviceKey(device)
	_, parseErr := envelope.ParseDeviceKey(device, kept)
	for what, err := range map[string]error{"open": openErr, "new": newErr, "parse": parseErr} {
		if !errors.Is(err, envelope.ErrDevice) || !errors.Is(err, device.failure) {
			t.Errorf("%s with a broken device: %v", what, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k, b := key(f), binding()
	sealed, _ := seal(f, k, b, check("sam@corp.example", "secret"))
	f.Add(sealed)
	f.Add(sealed[:31])
	f.Add([]byte("SPEV\x01\x00\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		c, r, err := envelope.Open(k, b, in, now)
		if err == nil && !bytes.Equal(in, sealed) {
			t.Fatal("opened something that was not sealed")
		}
		if (err == nil) != (r != nil) || err != nil && c.Password.Len() != 0 {
			t.Fatal("an error and a result")
		}
	})
}

// FuzzKeys feeds what registrations bring as a public key, and what an agent's folder holds as a private one.
func FuzzKeys(f *testing.F) {
	k := key(f)
	private, err := k.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(k.Public().Suite()), k.Public().Bytes())
	f.Add(uint16(0), []byte{})
	f.Add(uint16(1), private)
	f.Fuzz(func(t *testing.T, suite uint16, b []byte) {
		if p, err := envelope.ParsePublicKey(envelope.Suite(suite), b); err == nil && (!bytes.Equal(p.Bytes(), b) || p.Suite() != envelope.Suite(suite) || p.ID() == "") {
			t.Fatalf("a public key %s that is not what was read", p.ID())
		}
		p, err := envelope.ParsePrivateKey(b)
		if err != nil {
			if len(b) > 8 && strings.Contains(err.Error(), string(b)) {
				t.Fatal("the error shows the key")
			}
			return
		}
		if again, err := p.Bytes(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a private key that is not what was read: %v", err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := key(b)
	c := check("sam@corp.example", "correct horse battery")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := envelope.Seal(k.Public(), binding(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := key(b)
	sealed, _ := seal(b, k, binding(), check("sam@corp.example", "correct horse battery"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := envelope.Open(k, binding(), sealed, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	k := key(b)
	sealed, s := seal(b, k, binding(), check("n", "p"))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		_, r := open(b, k, binding(), sealed)
		b.StartTimer()
		a, err := r.SealAnswer(accepted)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.OpenAnswer(a); err != nil {
			b.Fatal(err)
		}
	}
}
