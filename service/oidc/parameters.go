package oidc

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// parameters are the parameters of one request, each of them once. A parameter without a value counts as omitted
// (RFC 6749 §3.1, §3.2).
type parameters struct {
	values map[string]string
	// repeated holds, sorted, the names that came more than once. They have no value, so that nobody reads one of two.
	repeated []string
}

// get returns the value, "" when omitted.
func (p parameters) get(name string) string { return p.values[name] }

// once refuses a request with repeated parameters: "parameters MUST NOT be included more than once" (RFC 6749 §3.1, §3.2).
func (p parameters) once() *protocolError {
	if len(p.repeated) > 0 {
		return invalidRequest("The parameter %s must not be repeated.", p.repeated[0])
	}
	return nil
}

// isRepeated reports whether the parameter came more than once.
func (p parameters) isRepeated(name string) bool { return slices.Contains(p.repeated, name) }

// The refusals of [parseParameters].
var (
	errParametersTooLarge = errors.New("the parameters are too large")
	errParametersTooMany  = errors.New("there are too many parameters")
	errParametersEncoding = errors.New("the parameters are not correctly encoded")
)

// parseParameters reads a query or form (application/x-www-form-urlencoded) of at most limit bytes. Text must be UTF-8
// without NUL, which no parameter needs and PostgreSQL cannot store.
func parseParameters(raw string, limit int) (parameters, error) {
	if len(raw) > limit {
		return parameters{}, errParametersTooLarge
	}
	if strings.Count(raw, "&") >= maxParameters {
		return parameters{}, errParametersTooMany
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return parameters{}, errParametersEncoding // not wrapped: the cause repeats the input
	}
	p := parameters{values: make(map[string]string, len(form))}
	for name, values := range form {
		if !isText(name) {
			return parameters{}, errParametersEncoding
		}
		for _, v := range values {
			if !isText(v) {
				return parameters{}, errParametersEncoding
			}
		}
		switch {
		case len(values) > 1:
			p.repeated = append(p.repeated, name)
		case values[0] != "":
			p.values[name] = values[0]
		}
	}
	slices.Sort(p.repeated)
	return p, nil
}

// isText reports whether s is UTF-8 without NUL.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// readForm reads the body of a POST. The query must be empty: credentials and tokens do not belong into addresses, which are
// logged (RFC 6749 §2.3.1, RFC 6750 §2.3).
func readForm(w http.ResponseWriter, r *http.Request) (parameters, *protocolError) {
	if r.URL.RawQuery != "" {
		return parameters{}, invalidRequest("Parameters belong into the body of the request, not into its address.")
	}
	body, err := readBody(w, r, maxBodyBytes)
	if err != nil {
		return parameters{}, invalidRequest("The body cannot be read: it must be a form (application/x-www-form-urlencoded) of at most %d bytes.",
			maxBodyBytes).because(err)
	}
	p, err := parseParameters(body, maxBodyBytes)
	if err != nil {
		return parameters{}, invalidRequest("The body cannot be understood: %s.", err)
	}
	return p, p.once()
}

// errNoForm is returned by [readBody] for a body of another kind.
var errNoForm = errors.New("the body is not application/x-www-form-urlencoded")

// readBody reads a form's body of at most limit bytes, not yet decoded.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return "", errNoForm
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return "", fmt.Errorf("read body: %w", err)
	}
	return string(body), nil
}

// scopes splits a list at single spaces (RFC 6749 §3.3); empty elements and repetitions are dropped.
func scopes(list string) []string {
	var out []string
	for s := range strings.SplitSeq(list, " ") {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
