package agent

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestMask(t *testing.T) {
	for name, want := range map[string]string{
		"anna@corp.example":     "a…@corp.example",
		`CORP\anna`:             `CORP\a…`,
		"anna":                  "a…",
		"åsa@corp.example":      "å…@corp.example",
		"":                      "…",
		"@corp.example":         "…@corp.example",
		"p@ssw0rd":              "p…",
		"hunter2":               "h…",
		`my\secret`:             "m…",
		"a@b@corp.example":      "a…@corp.example",
		"S3cret!@2026.11":       "S…",
		"x@-.example\x00":       "x…",
		"anna@corp.example\nhi": "a…",
	} {
		if got := mask(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("anna@corp.example")
	f.Add("CORP\\\xff")
	f.Fuzz(func(t *testing.T, name string) {
		got := mask(name)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00\x1b") || len(got) > maxName+8 {
			t.Fatalf("%q", got)
		}
	})
}

func TestTraceID(t *testing.T) {
	for in, want := range map[string]string{
		traceparent: "4bf92f3577b34da6a3ce929d0e0e4736",
		"":          "",
		"00-4bf9":   "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":  "",
		"00-4bf92f3577b34da6a3ce929d0e0e473\n-00f067aa0ba902b7-01": "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":  "",
	} {
		if got := traceID(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzTraceID(f *testing.F) {
	f.Add(traceparent)
	f.Fuzz(func(t *testing.T, s string) {
		if id := traceID(s); id != "" && (len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "") {
			t.Fatalf("%q", id)
		}
	})
}

// One line a check, with the directory's reason in numbers and words; the name whole only at debug level.
func TestOneLineACheck(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		b := newBench(t, level, Limits{})
		s := b.seal(b.binding("r1"), "anna@corp.example", "wrong", false)
		b.answerer.Check(t.Context(), s.Check, s.goes)
		if n := strings.Count(b.log.String(), "\n"); n != 1 {
			t.Fatalf("%d lines: %s", n, b.log)
		}
		var got struct {
			Msg, Trace, Request, Name, Outcome, Reason, Diagnostic, Data, NTStatus, Meaning, DC string
			Win32                                                                               int
			Opened, Fenced, Judged, Took                                                        int64
		}
		if err := json.Unmarshal(b.log.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		name := "a…@corp.example"
		if level == slog.LevelDebug {
			name = "anna@corp.example"
		}
		if got.Msg != "password check" || got.Trace != "4bf92f3577b34da6a3ce929d0e0e4736" || got.Request != "r1" || got.Name != name ||
			got.Outcome != "wrong" || got.Reason != string(wire.BadPassword) || got.Win32 != 1326 || !strings.Contains(got.Diagnostic, "data 52e") ||
			got.Data != "52e" || got.NTStatus != "0xC000006D" || got.Meaning == "" || got.DC != "dc1.corp.example:636" {
			t.Errorf("line: %s", b.log)
		}
		if got.Opened <= 0 || got.Fenced < got.Opened || got.Judged < got.Fenced || got.Took < got.Judged {
			t.Errorf("times run backwards: %s", b.log)
		}
	}
}
