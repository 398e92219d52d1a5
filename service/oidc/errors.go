package oidc

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// protocolError is a refusal in the words of OAuth 2.0 and OpenID Connect. It is shown to the application; its cause is for
// the log only.
type protocolError struct {
	// name is the error code of RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6, RFC 6750 §3.1 or RFC 7009 §2.2.1.
	name string
	// code is our number, and text a sentence for the application's developer.
	code wire.Code
	text string
	// status is the HTTP status where the error is answered and not redirected; 0 means 400.
	status int
	// challenge is the scheme that WWW-Authenticate names with a 401 or 403: "Basic" or "Bearer".
	challenge string
	cause     error
}

// Error returns name, number, sentence and cause, for logs.
func (e *protocolError) Error() string {
	s := fmt.Sprintf("%s (%s): %s", e.name, e.code, e.text)
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *protocolError) Unwrap() error { return e.cause }

// because returns a copy with a private cause.
func (e *protocolError) because(cause error) *protocolError {
	c := *e
	c.cause = cause
	return &c
}

// description returns what error_description says: our number, a sentence, and the trace id by which logs are searched.
func (e *protocolError) description(traceID string) string {
	s := e.code.String() + ": " + e.text
	if traceID != "" {
		s += " Trace " + traceID
	}
	return safeDescription(s)
}

func newError(name string, code wire.Code, format string, args ...any) *protocolError {
	return &protocolError{name: name, code: code, text: fmt.Sprintf(format, args...)}
}

func invalidRequest(format string, args ...any) *protocolError {
	return newError("invalid_request", wire.BadRequest, format, args...)
}

func invalidGrant(format string, args ...any) *protocolError {
	return newError("invalid_grant", wire.BadRequest, format, args...)
}

func invalidScope(format string, args ...any) *protocolError {
	return newError("invalid_scope", wire.BadRequest, format, args...)
}

func loginRequired(format string, args ...any) *protocolError {
	return newError("login_required", wire.NoSession, format, args...)
}

// invalidClient is the one answer to every failed authentication of a client, so that it tells nobody which part was wrong
// (RFC 6749 §5.2); the cause is for the log.
func invalidClient(cause error) *protocolError {
	return &protocolError{name: "invalid_client", code: wire.AppUnknown, text: "The client could not be authenticated.",
		status: http.StatusUnauthorized, challenge: "Basic", cause: cause}
}

// invalidToken is the one answer to every access token that opens nothing (RFC 6750 §3.1).
func invalidToken(cause error) *protocolError {
	return &protocolError{name: "invalid_token", code: wire.Unauthenticated, text: "The access token is unknown, expired or revoked.",
		status: http.StatusUnauthorized, challenge: "Bearer", cause: cause}
}

// tooManyFailures is answered in place of a further look at secrets (RFC 6585 §4).
func tooManyFailures() *protocolError {
	return &protocolError{name: "temporarily_unavailable", code: wire.TooManyRequests, text: "Too many failures from this address.",
		status: http.StatusTooManyRequests}
}

// asProtocolError turns any error into a refusal: a fault keeps its number and its public sentence, nothing of its cause.
func asProtocolError(err error) *protocolError {
	if e, ok := err.(*protocolError); ok {
		return e
	}
	entry := fault.Entry(err)
	e := &protocolError{code: entry.Code, text: entry.Public, cause: err}
	switch entry.Code {
	case wire.BadRequest:
		e.name = "invalid_request"
	case wire.NoSession, wire.Unauthenticated:
		e.name = "login_required"
	case wire.AccountIsDisabled, wire.UserNotFound, wire.Forbidden:
		e.name = "access_denied"
	case wire.TooManyRequests:
		e.name, e.status = "temporarily_unavailable", http.StatusTooManyRequests
	case wire.TenantUnknown:
		e.name, e.status = "invalid_request", http.StatusNotFound
	default:
		e.name, e.status = "server_error", http.StatusInternalServerError
	}
	return e
}

// safeDescription keeps what error_description may hold (RFC 6749 §4.1.2.1: %x20-21 / %x23-5B / %x5D-7E) and puts '?' and '\”
// in place of the rest.
func safeDescription(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c < 0x20 || c > 0x7e || c == '\\':
			return '?'
		}
		return c
	}, s)
}

// errorBody is an error answered as JSON (RFC 6749 §5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// writeError answers an error of an endpoint that applications call themselves.
func writeError(w http.ResponseWriter, r *http.Request, e *protocolError) {
	status := e.status
	if status == 0 {
		status = http.StatusBadRequest
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	description := e.description(traceOf(r))
	switch e.challenge {
	case "Basic": // RFC 6749 §5.2, RFC 7617 §2
		w.Header().Set("WWW-Authenticate", `Basic realm="OpenID Connect client", charset="UTF-8"`)
	case "Bearer": // RFC 6750 §3; safeDescription has left nothing to escape
		w.Header().Set("WWW-Authenticate", `Bearer realm="OpenID Connect", error="`+e.name+`", error_description="`+description+`"`)
	}
	writeJSON(w, status, errorBody{Error: e.name, Description: description})
}

// traceOf returns the request's trace id.
func traceOf(r *http.Request) string { return web.TraceID(r.Context()) }

// writeJSON answers with JSON that nobody may keep (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3), unless [cacheFor] has said
// otherwise.
func writeJSON(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	if !strings.HasPrefix(h.Get("Cache-Control"), "public") {
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone: nothing is left to tell it
}
