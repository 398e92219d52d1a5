package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

type traceKey struct{}

// trace is the place of a request in a trace (W3C Trace Context §3.2.2): 32 and 16 hexadecimal digits.
type trace struct{ id, span string }

// Trace gives every request a trace of its own. What the caller sent as traceparent is left aside (W3C Trace Context §3.4
// calls that restarting the trace): the id is shown to people, searched by administrators and joins log lines, so nobody
// outside may choose it, or two people's lines could be made to look like one. Wrapping twice changes nothing.
func Trace(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if TraceID(r.Context()) == "" {
			r = r.WithContext(context.WithValue(r.Context(), traceKey{}, trace{newHex(16), newHex(8)}))
		}
		h.ServeHTTP(w, r)
	})
}

// ContinueTrace returns a context in which the work of this request belongs to an older trace of ours, as the requests of one
// journey do. The span is new. An id that is not a trace id leaves ctx as it is.
func ContinueTrace(ctx context.Context, id string) context.Context {
	if !validTraceID(id) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, trace{id, newHex(8)})
}

// TraceID returns the trace id of the request, 32 lower-case hexadecimal digits; "" outside of [Trace].
func TraceID(ctx context.Context) string {
	t, _ := ctx.Value(traceKey{}).(trace)
	return t.id
}

// Traceparent returns the header that hands the trace on (W3C Trace Context §3.2), always sampled; "" outside of [Trace].
func Traceparent(ctx context.Context) string {
	t, ok := ctx.Value(traceKey{}).(trace)
	if !ok {
		return ""
	}
	return "00-" + t.id + "-" + t.span + "-01"
}

func newHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// validTraceID reports whether id is 32 lower-case hexadecimal digits and not all zero (W3C Trace Context §3.2.2.3).
func validTraceID(id string) bool {
	zero := true
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return len(id) == 32 && !zero
}
