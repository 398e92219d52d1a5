package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
)

// FuzzReadSecret feeds the file or standard input that a password or token is read from.
func FuzzReadSecret(f *testing.F) {
	for _, s := range []string{"secret\n", "secret\r\nmore", "\n", "", "a\x00b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := readSecret("-", bytes.NewReader(in))
		if err != nil {
			return
		}
		if b := s.Reveal(); len(b) == 0 || len(b) > 4096 || !bytes.HasPrefix(in, b) || bytes.ContainsAny(b, "\n") {
			t.Errorf("read %q of %q", b, in)
		}
	})
}

// FuzzPrintFields prints what a service answers: its words never steer the terminal.
func FuzzPrintFields(f *testing.F) {
	f.Add("Ada\x1b[2J", "a\n\tb")
	f.Add("\u009b31m", "\xff")
	f.Fuzz(func(t *testing.T, name, item string) {
		var out bytes.Buffer
		if err := printFields(&out, map[string]any{"name": name, "items": []string{item, name}, "count": 3, item: map[string]any{"a": []map[string]string{{name: item}}}}); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if unicode.IsControl(r) && !strings.ContainsRune("\n\t", r) {
				t.Fatalf("%q", out.String())
			}
		}
	})
}
