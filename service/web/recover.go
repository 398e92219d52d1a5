package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Recover turns a panic of a handler into one log line and, when nothing was written yet, an answer: the error page for browsers,
// a problem document for programs. The line holds functions and line numbers. It holds no arguments, and of the panic's value only
// the type, unless the runtime made it: handlers work on forms, and a value could hold what a person typed.
func Recover(log *slog.Logger) Middleware {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			watched := &watchedWriter{ResponseWriter: w}
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if v == http.ErrAbortHandler { // net/http's own way to say: drop the connection
					panic(v)
				}
				log.Error("a handler panicked", "panic", describe(v), "stack", stack(), "method", r.Method, "path", r.URL.Path,
					"trace", TraceID(r.Context()))
				if watched.written {
					panic(http.ErrAbortHandler) // half an answer must not look like a whole one
				}
				err := fault.New(wire.Internal, "panic")
				if strings.Contains(r.Header.Get("Accept"), "text/html") {
					Error(w, r, err)
					return
				}
				Problem(w, r, err)
			}()
			h.ServeHTTP(watched, r)
		})
	}
}

// describe names a panic's value. Messages of the runtime ("index out of range [3] with length 2") hold numbers and types.
func describe(v any) string {
	if e, ok := v.(runtime.Error); ok {
		return e.Error()
	}
	return fmt.Sprintf("%T", v)
}

// stack lists the functions below the panic, one a line, without arguments.
func stack() string {
	pcs := make([]uintptr, maxStack)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s %s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}

// watchedWriter remembers whether the answer has begun.
type watchedWriter struct {
	http.ResponseWriter
	written bool
}

func (w *watchedWriter) WriteHeader(status int) {
	w.written = w.written || status >= 200 // 1xx are not the answer
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Write(b []byte) (int, error) {
	w.written = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
