package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// secret changes under each encoding: quotes, a backslash, spaces, percent and plus signs, markup, two and four bytes of UTF-8.
const secret = `Ca%25na"ry\7 +&=<é>'/☃𝄞?~xK9#tail-Of_It;100%`

func canary(t testing.TB, secret string) *Canary {
	t.Helper()
	c, err := New(secret)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// percent escapes every byte.
func percent(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// json1 is a JSON string without its quotes.
func json1(t testing.TB, s string) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw[1 : len(raw)-1])
}

// wideText is UTF-16, written down independently of the package.
func wideText(s string, order func(uint16) []byte) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.Write(order(u))
	}
	return b.String()
}

func little(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }
func big(u uint16) []byte    { return []byte{byte(u >> 8), byte(u)} }

// forms are ways in which text gets somewhere, made by the standard library wherever it can make them.
func forms(t testing.TB, s string) map[string]string {
	ascii := strconv.QuoteToASCII(s)
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	fmt.Fprintf(z, "a log line of somebody with %s in it", s)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "form", url.Values{"password": {s}})
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "answer", json1(t, s))
	out := map[string]string{
		"plain": s, "query": url.QueryEscape(s), "path": url.PathEscape(s), "percent": percent(s, "%%%02X"), "percent, lower": percent(s, "%%%02x"),
		"plus": strings.ReplaceAll(s, " ", "+"), "query twice": url.QueryEscape(url.QueryEscape(s)), "percent twice": url.PathEscape(percent(s, "%%%02X")),
		"json": json1(t, s), "json in json": json1(t, json1(t, s)), "json thrice": json1(t, json1(t, json1(t, s))),
		"json, all escaped": wideText(s, func(u uint16) []byte { return fmt.Appendf(nil, `\u%04x`, u) }),
		"go":                strconv.Quote(s), "go ascii": ascii, "go ascii in json": json1(t, ascii), "go of bytes": percent(s, `\x%02x`), "octal": percent(s, `\%03o`),
		"ldap filter": percent(s, `\%02x`), "quoted-printable": percent(s, "=%02X"), "html": html.EscapeString(s), "html numbers": numbers(s),
		"hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))), "hex, spaced": fmt.Sprintf("% x", s), "hex, go": fmt.Sprintf("%#v", []byte(s)),
		"hex, colons":   strings.ReplaceAll(fmt.Sprintf("% X", s), " ", ":"),
		"decimal":       fmt.Sprint([]byte(s)),
		"decimal, json": strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ","), "decimal, spaced": strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ", "),
		"utf-16le": wideText(s, little), "utf-16be": wideText(s, big), "utf-16 in hex": hex.EncodeToString([]byte(wideText(s, little))),
		"gzip": zipped.String(), "slog text": text.String(), "slog json": structured.String(),
	}
	for name, enc := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
		for shift := range 3 {
			out[fmt.Sprintf("base64 %s %d", name, shift)] = enc.EncodeToString([]byte("user:ab"[:3+shift] + s + "!"))
			out[fmt.Sprintf("base64 %s %d of utf-16", name, shift)] = enc.EncodeToString([]byte("user:ab"[:3+shift] + wideText(`"`+s+`"`, little)))
		}
	}
	return out
}

// numbers writes each character as an HTML number.
func numbers(s string) string {
	var b strings.Builder
	for i, r := range []rune(s) {
		fmt.Fprintf(&b, []string{"&#%d;", "&#x%X;"}[i%2], r)
	}
	return b.String()
}

func TestEveryForm(t *testing.T) {
	c := canary(t, secret)
	noise := make([]byte, 5000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	for name, form := range forms(t, secret) {
		for where, around := range map[string][2]string{
			"alone": {}, "in a line": {"password=", "&next=1\n"}, "in noise": {string(noise[:4093]), string(noise[4093:])},
			"in digits and signs": {"99 12, %%2\\\\", "\\%25 33,12"}, "in itself": {secret[:20], secret[:11]},
		} {
			if strings.HasPrefix(name, "base64") || name == "gzip" {
				around[1] = " " + around[1]
			}
			found := c.Search("x", []byte(around[0]+form+around[1]))
			pieces := map[int]bool{}
			for _, f := range found {
				pieces[f.Piece] = true
				if strings.Contains(f.String(), "tail-Of") {
					t.Errorf("the finding repeats the secret")
				}
			}
			if len(pieces) != len(c.escaped) {
				t.Errorf("%s %s: pieces %v of %d were found", name, where, pieces, len(c.escaped))
			}
		}
	}
}

// A part is a leak too: cut by a log's limit, or what is left when memory is partly used again.
func TestParts(t *testing.T) {
	c := canary(t, secret)
	all := []rune(secret)
	for i := range c.escaped {
		part := string(all[i*pieceRunes : i*pieceRunes+len(c.escaped[i].runes)])
		for name, form := range forms(t, part) {
			if len(c.Search("x", []byte("<"+form+" >"))) == 0 {
				t.Errorf("part %d as %s was not found", i, name)
			}
		}
	}
}

func TestNothingWhereNothingIs(t *testing.T) {
	c := canary(t, secret)
	data := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	if found := c.Search("noise", data); len(found) != 0 {
		t.Error(found)
	}
	if found := c.Search("another", []byte(base64.StdEncoding.EncodeToString(data[:1<<20])+hex.EncodeToString(data[:1<<20]))); len(found) != 0 {
		t.Error(found)
	}
	for name, form := range forms(t, "Quite+another%25 password\\ with \"the\" same <signs> é☃𝄞") {
		if found := c.Search(name, []byte(form)); len(found) != 0 {
			t.Error(found)
		}
	}
	if found := c.Search("one character less", []byte(secret[:pieceRunes-1])); len(found) != 0 {
		t.Error(found)
	}
}

func TestFolder(t *testing.T) {
	c, dir := canary(t, secret), t.TempDir()
	// Across the border of two chunks, with the encoding that takes most room.
	form := forms(t, secret)["json, all escaped"]
	for name, content := range map[string]string{
		"large": strings.Repeat("-", chunk-len(form)/2) + form + strings.Repeat("-", 1000), "empty": "", "innocent": "nothing",
		"sub/db-wal": secret, filepath.Join("sub", url.PathEscape(secret)): "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	found, files, err := c.Folder(dir)
	if err != nil || files != 5 {
		t.Fatalf("%d files, %v", files, err)
	}
	where := map[string]map[int]bool{}
	for _, f := range found {
		if where[f.Name] == nil {
			where[f.Name] = map[int]bool{}
		}
		where[f.Name][f.Piece] = true
	}
	for _, want := range []string{filepath.Join(dir, "large"), filepath.Join(dir, "sub/db-wal"), "the name of " + filepath.Join(dir, "sub") + "/…"} {
		if len(where[want]) != len(c.escaped) {
			t.Errorf("%s: pieces %v of %d", want, where[want], len(c.escaped))
		}
	}
	if len(where) != 3 {
		t.Errorf("found in %v", where)
	}
	if _, _, err := c.Folder(filepath.Join(dir, "missing")); err == nil {
		t.Error("a folder that is not there was searched")
	}
}

func TestRefusesWhatCannotBeSearched(t *testing.T) {
	for _, s := range []string{"", "elevenchars", "\xff\xfe not text at all", strings.Repeat("x", maxSecret+1)} {
		if _, err := New(s); err == nil {
			t.Errorf("%.20q was taken", s)
		}
	}
}

// FuzzSearch: nothing panics, and a secret is found in whatever surrounds it.
func FuzzSearch(f *testing.F) {
	f.Add(secret, []byte("before"), []byte("after"))
	f.Add(`\\\\%25%2525&#&=5c"""`, []byte(`\\\`), []byte(`\u00`))
	f.Add("++++    %%%%\x00\x01\x02\x03", []byte{0x1f, 0x8b, 8}, []byte{0x1f})
	f.Fuzz(func(t *testing.T, secret string, before, after []byte) {
		c, err := New(secret)
		if err != nil {
			return
		}
		data := bytes.Join([][]byte{before, []byte(secret), after}, nil)
		if len(c.Search("x", data)) == 0 {
			t.Error("the secret as it is was not found")
		}
		for _, form := range []string{url.QueryEscape(secret), percent(secret, "%%%02x"), json1(t, secret), html.EscapeString(secret), strconv.QuoteToASCII(secret),
			base64.URLEncoding.EncodeToString([]byte(secret)), wideText(secret, little), fmt.Sprint([]byte(secret))} {
			if len(c.Search("x", []byte(form))) == 0 {
				t.Errorf("not found as %q", form)
			}
		}
	})
}
