package kerberos

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/pac"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStatusShapes(t *testing.T) {
	for what, c := range map[string]struct {
		edata string
		want  uint32
	}{
		"KERB-ERROR-DATA of a locked account":   {"3015 a103020103 a20e040c 340200c0 00000000 01000000", 0xC0000234},
		"METHOD-DATA":                           {"3017 3015 a103020103 a20e040c 720000c0 00000000 01000000", 0xC0000072},
		"METHOD-DATA, the second element":       {"3022 3009 a103020113 a2020400 3015 a103020103 a20e040c 710000c0 00000000 01000000", 0xC0000071},
		"the bare structure":                    {"240200c0 00000000 01000000", 0xC0000224},
		"more flags":                            {"240200c0 00000000 03000000", 0xC0000224},
		"another type":                          {"3015 a103020102 a20e040c 340200c0 00000000 01000000", 0},
		"no flag":                               {"3015 a103020103 a20e040c 340200c0 00000000 00000000", 0},
		"a salt of twelve letters":              {"3015 a103020103 a20e040c 434f52502e4558414d504c45", 0},
		"no error":                              {"00000000 00000000 01000000", 0},
		"cut short":                             {"3015 a103020103 a20e040c 340200c0 00000000 010000", 0},
		"something after it":                    {"3015 a103020103 a20e040c 340200c0 00000000 01000000 00", 0},
		"nothing":                               {"", 0},
		"KERB-ERROR-DATA without data (type 2)": {"3005 a103020102", 0},
	} {
		if got := statusOf(bytesOf(t, c.edata)); got != c.want {
			t.Errorf("%s: %#x, want %#x", what, got, c.want)
		}
	}
	if got := statusOf(make([]byte, maxEData+1)); got != 0 {
		t.Errorf("%#x", got)
	}
}

func TestNames(t *testing.T) {
	for typed, want := range map[string]account{"a@b": {"a", "b"}, " a@b ": {"a", "b"}, "\u00a0a@b": {"\u00a0a", "b"}, "a@b\t": {"a", "b\t"}, `D\a`: {"a", "D"}, "a@b@c": {"a@b", "c"}, "ü@b": {"ü", "b"},
		"": {}, "a": {}, "@b": {}, "a@": {}, `\a`: {}, `D\`: {}, `D\a@b`: {}, `D\a\b`: {}, `a\@b`: {}} {
		if got, err := parseName(typed); got != want || (err == nil) != (want != account{}) {
			t.Errorf("%q: %v, %v", typed, got, err)
		}
	}
	ada := owner{user: "ada", realm: "CORP.EXAMPLE", upn: "ada.l@brand.example", short: "CORP"}
	for typed, want := range map[string]bool{"ada@corp.example": true, "ADA@CORP.EXAMPLE": true, "ada.l@brand.example": true, `corp\Ada`: true, "ada@corp": true,
		"bob@corp.example": false, "ada@brand.example": false, "ada.l@corp.example": false, `OTHER\ada`: false, "ada@other.example": false} {
		a, err := parseName(typed)
		if err != nil || ada.owns(a) != want {
			t.Errorf("%q: %v", typed, !want)
		}
	}
	// Without a PAC only the implicit name is known, and an empty short name is nobody's.
	if bare := (owner{user: "ada", realm: "CORP.EXAMPLE"}); !bare.owns(account{"ada", "corp.example"}) || bare.owns(account{"ada", "CORP"}) || bare.owns(account{"ada", ""}) {
		t.Error(bare)
	}
}

// RFC 3962 appendix B, 1200 rounds and the 20-byte phrase's neighbour; rounds below the limit are fine for the arithmetic.
func TestKeyOfRFC3962(t *testing.T) {
	for _, c := range []struct {
		rounds   int
		kind     int32
		expected string
	}{
		{1200, 18, "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"},
		{1200, 17, "4c01cd46d632d01e6dbe230a01ed642a"},
	} {
		k, err := hint{kind: c.kind, salt: []byte("ATHENA.MIT.EDUraeburn"), rounds: c.rounds}.key([]byte("password"))
		if err != nil || hex.EncodeToString(k.KeyValue) != c.expected {
			t.Errorf("%d: %x, %v", c.kind, k.KeyValue, err)
		}
	}
}

// What a KDC says of the key when it refuses a proof is held against what was said before it.
func TestContradiction(t *testing.T) {
	const entry = "3024 a003020112 a1151b13 434f52502e4558414d504c452e434f4d626f62 a2060404 00001000" // CORP.EXAMPLE.COMbob, 4,096 rounds
	used := hint{kind: 18, salt: []byte("CORP.EXAMPLE.COMbob"), rounds: 4096}
	for what, c := range map[string]struct {
		edata string
		hint
		want bool
	}{
		"Samba's bare list":          {"3026" + entry, used, false},
		"METHOD-DATA":                {"3033 3031 a103020113 a22a0428 3026" + entry, used, false},
		"another salt, in a list":    {"3026" + entry, hint{18, []byte("CORP.EXAMPLE.COMeve"), 4096}, true},
		"another salt, METHOD-DATA":  {"3033 3031 a103020113 a22a0428 3026" + entry, hint{18, []byte("CORP.EXAMPLE.COMeve"), 4096}, true},
		"other rounds":               {"3026" + entry, hint{18, used.salt, 65536}, true},
		"a kind that is not offered": {"3026" + entry, hint{17, used.salt, 4096}, true},
		"no word about it":           {"", hint{18, []byte("x"), 4096}, false},
		"an empty list":              {"3000", hint{18, []byte("x"), 4096}, false},
		"no AES":                     {"3009 3007 a003020117 a100", hint{18, []byte("x"), 4096}, false},
		"something after it":         {"3026" + entry + "00", hint{18, []byte("x"), 4096}, false},
	} {
		if got := c.hint.contradicts(hintsIn(bytesOf(t, c.edata))); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

func TestExpect(t *testing.T) {
	v, err := New(Config{KDCs: []string{"127.0.0.1:1"}, Realm: "corp.example", Unproven: true})
	if err != nil {
		t.Fatal(err)
	}
	check := directory.Check{Name: "a@corp.example", Password: wire.NewSecret([]byte("x")), Fence: nil}
	if v.Expect(directory.Domain{NamingContext: "DC=other,DC=example"}); v.foreign.Load() == nil {
		t.Error("another domain's realm is asked")
	}
	if _, err := v.Validate(t.Context(), check); err == nil {
		t.Error("and without a fence")
	}
	if v.Expect(directory.Domain{NamingContext: "DC=corp,DC=example"}); v.foreign.Load() != nil {
		t.Error(*v.foreign.Load())
	}
}

// Transcripts of a Samba 4.17 domain controller: its answers to a proof, each in a file named after the account. TestRecord writes them.
func TestTranscripts(t *testing.T) {
	for name, want := range map[string]wire.Reason{"bob": wire.BadPassword, "disabled": wire.AccountDisabled, "locked": wire.AccountLocked, "expired": wire.PasswordExpired,
		"mustchange": wire.MustChange, "accountexpired": wire.AccountExpired, "logonhours": wire.LogonHours, "nobody": wire.NoSuchUser} {
		text, err := os.ReadFile(filepath.Join("testdata", "samba", name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseReply(bytesOf(t, strings.TrimSpace(string(text))))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v, ok := directory.FromKDC(r.number, r.status); !ok || v.Reason != want {
			t.Errorf("%s: %+v, %v; want %s", name, r, v, want)
		}
	}
}

// FuzzReply: whatever a KDC says, it is read without a panic, and what is read stays within the limits.
func FuzzReply(f *testing.F) {
	files, _ := filepath.Glob(filepath.Join("testdata", "samba", "*.hex"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytesOf(f, strings.TrimSpace(string(text))))
	}
	f.Add([]byte{0x7e, 2, 0x30, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReply(b)
		if err != nil {
			return
		}
		if (r.number <= 0) == (r.ticket == nil) || len(r.hints) > maxHints {
			t.Fatalf("%+v", r)
		}
		if h, err := hintOf(r.hints); err == nil && (h.rounds < leastRounds || h.rounds > mostRounds || len(h.salt) == 0 || len(h.salt) > maxSalt || !isAES(h.kind)) {
			t.Fatalf("%+v", h)
		}
		directory.FromKDC(r.number, r.status)
	})
}

// FuzzStatus: e-data is read without a panic, and a status is always an error.
func FuzzStatus(f *testing.F) {
	for _, s := range []string{"3015a103020103a20e040c340200c00000000001000000", "30173015a103020103a20e040c720000c00000000001000000", "240200c00000000001000000", ""} {
		f.Add(bytesOf(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := statusOf(b); s != 0 && s>>30 != 3 {
			t.Fatalf("%#x", s)
		}
	})
}

// FuzzKeytab: a file is refused or gives a service with a realm.
func FuzzKeytab(f *testing.F) {
	f.Add([]byte{5, 2})
	f.Add([]byte{5, 2, 0, 0, 0, 8, 0, 1, 0, 1, 'R', 0, 1, 's'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKeytab(b); err == nil && (k.realm == "" || len(k.service.NameString) == 0) {
			t.Fatalf("%+v", k)
		}
	})
}

// upnInfo is UPN_DNS_INFO with a name in UTF-16.
func upnInfo(name string) []byte {
	units := utf16.Encode([]rune(name))
	b := binary.LittleEndian.AppendUint16(nil, uint16(2*len(units)))
	b = append(b, 16, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestUPNOf(t *testing.T) {
	for _, name := range []string{"ada@corp.example", "", "ü😀𐐨@corp.example", strings.Repeat("a", maxUPN)} {
		b := upnInfo(name)
		if got := parseUPN(b); got != name {
			t.Errorf("%q is read as %q", name, got)
		}
		all := pac.PACType{Data: append([]byte("12345678"), b...), Buffers: []pac.InfoBuffer{{ULType: 1}, {ULType: upnDNSInfo, Offset: 8, CBBufferSize: uint32(len(b))}}}
		if got := upnOf(all); got != name {
			t.Errorf("%q is read as %q in a PAC", name, got)
		}
		for _, beyond := range []pac.InfoBuffer{{ULType: upnDNSInfo, Offset: 9, CBBufferSize: uint32(len(b))}, {ULType: upnDNSInfo, Offset: 1 << 63, CBBufferSize: 16}, {ULType: upnDNSInfo, Offset: 1<<64 - 1, CBBufferSize: 16}} {
			all.Buffers = []pac.InfoBuffer{beyond}
			if got := upnOf(all); got != "" {
				t.Errorf("%+v: %q", beyond, got)
			}
		}
	}
	half := upnInfo("a😀")
	for what, b := range map[string][]byte{"half a character": half[:len(half)-2], "cut short": upnInfo("ada")[:21], "no header": {2, 0, 0}, "NUL": upnInfo("a\x00"), "too long": upnInfo(strings.Repeat("a", maxUPN+1)),
		"a replacement": upnInfo("a\ufffd"), "an odd length": append([]byte{1, 0, 12, 0}, make([]byte, 20)...), "the header for a name": append([]byte{4, 0, 0, 0}, make([]byte, 20)...)} {
		if what == "half a character" {
			b[0] -= 2
		}
		if got := parseUPN(b); got != "" {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// FuzzUPN: what is taken for a name is text, and the same when written again.
func FuzzUPN(f *testing.F) {
	f.Add(upnInfo("ada@corp.example"))
	f.Add(upnInfo("😀@corp.example"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := parseUPN(b)
		if !utf8.ValidString(name) || len(utf16.Encode([]rune(name))) > maxUPN || parseUPN(upnInfo(name)) != name {
			t.Fatalf("%q", name)
		}
	})
}

// What one check costs the agent: a key from a password, at the ordinary and at the greatest number of rounds.
func BenchmarkKey(b *testing.B) {
	for name, rounds := range map[string]int{"4096": leastRounds, "65536": mostRounds} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := (hint{kind: 18, salt: []byte("CORP.EXAMPLE.COMalice"), rounds: rounds}).key([]byte("Correct-Horse-7")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// RFC 6113 appendix A, and MIT's vectors of the function below it.
func TestCombine(t *testing.T) {
	for kind, want := range map[int32]string{17: "97df97e4b798b29eb31ed7280287a92a", 18: "4d6ca4e629785c1f01baf55e2e548566b9617ae3a96868c337cb93b5e72b1c7b"} {
		var keys [2]types.EncryptionKey
		for i, text := range []string{"key1", "key2"} {
			var err error
			if keys[i], err = (hint{kind: kind, salt: []byte(text), rounds: leastRounds}).key([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := combine(keys[0], keys[1], "a", "b")
		if err != nil || got.KeyType != kind || hex.EncodeToString(got.KeyValue) != want {
			t.Errorf("%d: %x, %v", kind, got.KeyValue, err)
		}
	}
	if _, err := combine(types.EncryptionKey{KeyType: 19, KeyValue: make([]byte, 16)}, types.EncryptionKey{KeyType: 18, KeyValue: make([]byte, 32)}, "a", "b"); err == nil {
		t.Error("a kind without a function")
	}
}

// testArmor is one with a known key.
func testArmor(t testing.TB) *armor {
	t.Helper()
	return &armor{key: types.EncryptionKey{KeyType: 18, KeyValue: []byte("the key of 32 bytes for the tests")[:32]}}
}

// within seals what a KDC might say into the e-data of an error, as armour.
func within(t testing.TB, a *armor, plain []byte) []byte {
	t.Helper()
	sealed, err := crypto.GetEncryptedData(plain, a.key, keyusage.KEY_USAGE_FAST_REP, 0)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := asn1.Marshal(struct {
		Reply types.EncryptedData `asn1:"explicit,tag:0"`
	}{sealed})
	if err != nil {
		t.Fatal(err)
	}
	choice, err := asn1.Marshal(explicit(0, reply))
	if err != nil {
		t.Fatal(err)
	}
	edata, err := asn1.Marshal(types.MethodData{{PADataType: paFAST, PADataValue: choice}})
	if err != nil {
		t.Fatal(err)
	}
	return edata
}

func krbError(t testing.TB, number int32, edata []byte) []byte {
	t.Helper()
	e := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"krbtgt", "CORP.EXAMPLE"}}, "CORP.EXAMPLE", number, "")
	e.EData = edata
	b, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What counts in an armoured refusal is what stands within.
func TestRefusalWithin(t *testing.T) {
	status := bytesOf(t, "340200c0 00000000 01000000") // STATUS_ACCOUNT_LOCKED_OUT, as KERB_EXT_ERROR
	for what, c := range map[string]struct {
		inner  fastResponse
		number int
		status uint32
		err    bool
	}{
		"an error":                    {fastResponse{PAData: types.PADataSequence{{PADataType: paError, PADataValue: krbError(t, 24, nil)}}, Nonce: 7}, 24, 0, false},
		"with a status":               {fastResponse{PAData: types.PADataSequence{{PADataType: paError, PADataValue: krbError(t, 18, status)}}, Nonce: 7}, 18, 0xC0000234, false},
		"with the status beside it":   {fastResponse{PAData: types.PADataSequence{{PADataType: typeExtended, PADataValue: status}, {PADataType: paError, PADataValue: krbError(t, 18, nil)}}, Nonce: 7}, 18, 0xC0000234, false},
		"to another question":         {fastResponse{PAData: types.PADataSequence{{PADataType: paError, PADataValue: krbError(t, 24, nil)}}, Nonce: 8}, 0, 0, true},
		"nothing within":              {fastResponse{PAData: types.PADataSequence{}, Nonce: 7}, 0, 0, true},
		"something else in its place": {fastResponse{PAData: types.PADataSequence{{PADataType: paError, PADataValue: []byte("x")}}, Nonce: 7}, 0, 0, true},
	} {
		a := testArmor(t)
		plain, err := asn1.Marshal(struct {
			PAData types.PADataSequence `asn1:"explicit,tag:0"`
			Nonce  int                  `asn1:"explicit,tag:3"`
		}{c.inner.PAData, c.inner.Nonce})
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.read(krbError(t, 60, within(t, a, plain)), 7)
		if (err != nil) != c.err || r.number != c.number || r.status != c.status {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	var bare *bareReply
	if _, err := testArmor(t).read(krbError(t, 24, nil), 7); !errors.As(err, &bare) || bare.number != 24 {
		t.Error(err)
	}
}

// FuzzArmor: what a KDC says within armour is read without a panic, and nothing of it is more than a refusal without a ticket around it.
func FuzzArmor(f *testing.F) {
	plain, err := asn1.Marshal(struct {
		PAData types.PADataSequence `asn1:"explicit,tag:0"`
		Nonce  int                  `asn1:"explicit,tag:3"`
	}{types.PADataSequence{{PADataType: paError, PADataValue: krbError(f, 25, nil)}, {PADataType: paCookie, PADataValue: []byte("c")}}, 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if len(plain) > maxEData/2 {
			return
		}
		a := testArmor(t)
		r, err := a.read(krbError(t, 60, within(t, a, plain)), 7)
		if err == nil && (r.number <= 0 || r.ticket != nil || r.strengthen.KeyType != 0 || len(r.hints) > 2*maxHints) {
			t.Fatalf("%+v", r)
		}
	})
}
