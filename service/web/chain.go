package web

import "net/http"

// Middleware wraps a handler in another.
type Middleware = func(http.Handler) http.Handler

// Chain wraps h; the first middleware is the outermost.
func Chain(h http.Handler, outermostFirst ...Middleware) http.Handler {
	for i := len(outermostFirst) - 1; i >= 0; i-- {
		h = outermostFirst[i](h)
	}
	return h
}

// LimitBody refuses to read more than n bytes of a request's body: reading on gives an *http.MaxBytesError.
func LimitBody(n int64) Middleware {
	return func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, n) }
}
