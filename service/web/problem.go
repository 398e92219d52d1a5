package web

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Status returns the HTTP status for a number of the catalogue; 500 for numbers that say nothing better.
func Status(code wire.Code) int {
	switch code {
	case wire.BadRequest, wire.JourneyUnknown, wire.AppUnknown, wire.RedirectUnknown, wire.EnrolRequestInvalid, wire.PasswordUnusable,
		wire.VersionUnsupported, wire.RegistrationExpired:
		return http.StatusBadRequest
	case wire.Unauthenticated, wire.NoSession, wire.EnrolTokenInvalid:
		return http.StatusUnauthorized
	case wire.Forbidden, wire.CrossSite, wire.CertificateForeign, wire.CertificateExpired, wire.AgentRevoked,
		wire.AgentUnknown, wire.AgentQuarantined, wire.IdentityOlder, wire.CertificateSuperseded, wire.FormerUnproven, wire.KeyStoreRefused,
		wire.AgentPending, wire.EnrolHostRefused, wire.EnrolAddressRefused, wire.RegistrationDenied, wire.SecondNeeded:
		return http.StatusForbidden
	case wire.NotFound, wire.TenantUnknown, wire.UserNotFound, wire.DomainUnknown:
		return http.StatusNotFound
	case wire.Conflict, wire.AgentReplaced, wire.AgentLimit, wire.HostTaken:
		return http.StatusConflict
	case wire.TooManyRequests:
		return http.StatusTooManyRequests
	case wire.NoAgent, wire.DirectoryTimeout, wire.DirectoryUnusable, wire.TransientNetwork, wire.DirectoryUnreachable,
		wire.AgentTooSlow, wire.AgentsBusy, wire.LostAfterFence, wire.GatewayDraining, wire.AgentRefused:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// retryAfter is what an answer of this status says in Retry-After, in seconds; "" for nothing.
func retryAfter(status int) string {
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "5"
	}
	return ""
}

// Problem answers a program with a problem document (RFC 9457): the catalogue's words on err, the trace id, and, for faults that
// the caller caused, the detail. Causes never leave the house, and nothing at all of what went wrong inside.
func Problem(w http.ResponseWriter, r *http.Request, err error) {
	entry := fault.Entry(err)
	status := Status(entry.Code)
	p := wire.Problem{Title: entry.Public, Status: status, Code: entry.Code, Remedy: entry.Remedy, Trace: TraceID(r.Context())}
	var f *fault.Error
	if errors.As(err, &f) && status < 500 && status != http.StatusUnauthorized { // why a credential failed helps only who guesses
		p.Detail = f.Detail
	}
	body, encodeErr := json.Marshal(p)
	if encodeErr != nil { // not possible: every member is text or a number
		http.Error(w, http.StatusText(status), status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", wire.ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if s := retryAfter(status); s != "" {
		h.Set("Retry-After", s)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller has gone: nobody to tell
}
