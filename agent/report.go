package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// report counts the check and logs its one line: information for a verdict, a warning for everything else. The name is
// masked, because people type their password into the wrong field; at debug level it is whole.
func (w *work) report(ctx context.Context, c *linkpb.Check, reply link.Reply) {
	a, level := w.a, slog.LevelInfo
	done := Finished{At: time.Now(), Trace: traceID(c.GetTraceparent()), DC: w.result.DC}
	facts := []slog.Attr{
		slog.String("trace", done.Trace),
		slog.String("request", line(c.GetRequestId(), maxName)),
	}
	if w.receiver != nil {
		name := mask(w.check.Name)
		if a.log.Enabled(ctx, slog.LevelDebug) {
			name = line(w.check.Name, maxName)
		}
		facts = append(facts, slog.String("name", name))
	}
	switch {
	case reply.Refused != 0:
		level = slog.LevelWarn
		a.counts.refused.Add(1)
		done.Outcome, done.Code = Refused, reply.Refused
		facts = append(facts, slog.String("outcome", string(done.Outcome)))
		facts = append(facts, codeFacts(reply.Refused)...)
		facts = append(facts, slog.String("detail", reply.Detail))
		if key, err := envelope.KeyIDOf(c.GetEnvelope()); err == nil && w.receiver == nil {
			facts = append(facts, slog.String("envelope_key", key)) // tells a wrong agent from an old key
		}
	case w.result.Trouble != nil:
		level = slog.LevelWarn
		a.counts.trouble.Add(1)
		t := w.result.Trouble
		done.Outcome, done.Code = Trouble, t.Code
		facts = append(facts, slog.String("outcome", string(done.Outcome)), slog.Bool("may_have_counted", t.Fenced))
		facts = append(facts, codeFacts(t.Code)...)
		facts = append(facts, slog.String("detail", t.Detail))
	default:
		done.Outcome, done.Reason = NotAccepted, string(w.result.Verdict.Reason)
		switch v := w.result.Verdict; {
		case v.Reason.Right():
			done.Outcome = Right
			a.counts.right.Add(1)
		case v.Reason.Wrong():
			done.Outcome = Wrong
			fallthrough
		default:
			a.counts.wrong.Add(1)
		}
		facts = append(facts, slog.String("outcome", string(done.Outcome)))
		facts = append(facts, verdictFacts(*w.result.Verdict)...)
	}
	if entry, ok := wire.Lookup(done.Code); ok {
		done.Reason = entry.Name
	}
	if w.result.DC != "" {
		facts = append(facts, slog.String("dc", w.result.DC))
	}
	took, bind := done.At.Sub(w.arrived), max(w.result.Judged-w.result.Fenced, 0)
	if w.result.Judged == 0 {
		bind = 0
	}
	done.TookMS, done.BindMS = milliseconds(took), milliseconds(bind)
	a.ledger.add(done)
	a.metrics.add(done, took, bind)
	facts = append(facts, slog.Duration("opened", w.opened), slog.Duration("fenced", w.result.Fenced),
		slog.Duration("judged", w.result.Judged), slog.Duration("took", took))
	var p *panicked
	if errors.As(w.cause, &p) {
		level = slog.LevelError
		facts = append(facts, slog.String("panic", p.what), slog.Any("at", p.where))
	} else if t := w.result.Trouble; w.cause != nil && (a.log.Enabled(ctx, slog.LevelDebug) || t != nil && ofAnAccount(t.Code)) { // the answer may have less of it
		facts = append(facts, slog.String("cause", line(w.cause.Error(), maxDetail)))
	}
	a.log.LogAttrs(ctx, level, "password check", facts...)
}

// codeFacts tells a number of the catalogue in number and words.
func codeFacts(code wire.Code) []slog.Attr {
	entry, _ := wire.Lookup(code)
	return []slog.Attr{slog.Int("code", int(code)), slog.String("reason", entry.Name), slog.String("meaning", entry.Meaning)}
}

// verdictFacts tells the directory's reason in all its numbers and in words.
func verdictFacts(v wire.Verdict) []slog.Attr {
	facts := []slog.Attr{slog.String("reason", string(v.Reason))}
	if v.Win32 != 0 {
		facts = append(facts, slog.Int("win32", v.Win32), slog.String("data", strconv.FormatInt(int64(v.Win32), 16)))
	}
	if v.Diagnostic != "" {
		facts = append(facts, slog.String("diagnostic", v.Diagnostic))
	}
	if found := directory.Explain(string(v.Reason)); len(found) > 0 {
		if len(found[0].NTStatus) > 0 {
			facts = append(facts, slog.String("ntstatus", fmt.Sprintf("0x%08X", found[0].NTStatus[0])))
		}
		facts = append(facts, slog.String("meaning", found[0].Words))
	}
	return facts
}

// mask keeps of a name what an administrator needs to find it again: the first letter, and the domain if it has the form of
// one, since people type passwords into the wrong field and some hold an @ or a backslash.
//
//	anna@corp.example → a…@corp.example    CORP\anna → CORP\a…    p@ssw0rd → p…
func mask(name string) string {
	name = line(name, maxName)
	domain, user, found := strings.Cut(name, `\`)
	if found && isShortDomain(domain) {
		return domain + `\` + first(user) + "…"
	}
	if at := strings.LastIndexByte(name, '@'); at >= 0 && isDNSDomain(name[at+1:]) {
		return first(name[:at]) + "…" + name[at:]
	}
	return first(name) + "…"
}

func first(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return s[:size]
}

// isDNSDomain reports whether s has two labels or more of letters, digits and hyphens, the last of letters alone.
func isDNSDomain(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || strings.TrimFunc(l, isWordRune) != "" {
			return false
		}
	}
	return len(labels) > 1 && strings.TrimFunc(labels[len(labels)-1], unicode.IsLetter) == ""
}

// isShortDomain reports whether s has the form of a NetBIOS domain name in the usual capital letters.
func isShortDomain(s string) bool {
	return s != "" && len(s) <= 15 && strings.TrimFunc(s, isWordRune) == "" && strings.ToUpper(s) == s
}

func isWordRune(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-' }

// line makes outside text fit for one line of a log: valid UTF-8, no control characters, at most limit bytes.
func line(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.Map(func(c rune) rune {
		if c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// traceID returns the trace id of a W3C traceparent, "" when it is none (Trace Context §3.2.2).
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" ||
		strings.Trim(parts[1], "0") == "" {
		return ""
	}
	return parts[1]
}
