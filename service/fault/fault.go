// Package fault says what went wrong in the service, once and for all readers: a number from the catalogue in package wire
// (which carries the public sentence and the remedy), and a private cause for the log.
//
// It refuses to know who asks: the doors (oidc, signin, admin, gateway) translate a fault into their own protocol, each in
// one place. An answer of a directory is not a fault; it is a wire.Verdict.
package fault

import (
	"errors"
	"fmt"

	"github.com/sallyport-auth/sallyport/wire"
)

// Error is a failure with a number. Detail is private: it is for logs and administrators, free of secrets, and never shown
// to a person who signs in.
type Error struct {
	Code   wire.Code
	Detail string
	Cause  error
}

// New returns a fault; detail says in words what was met, and may be empty.
func New(code wire.Code, detail string) *Error { return &Error{Code: code, Detail: detail} }

// Newf is [New] with a format.
func Newf(code wire.Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault with a cause. A nil cause still makes a fault.
func Wrap(code wire.Code, detail string, cause error) *Error {
	return &Error{Code: code, Detail: detail, Cause: cause}
}

// Error returns number, name, detail and cause, for logs.
func (e *Error) Error() string {
	s := e.Code.String()
	if entry, ok := wire.Lookup(e.Code); ok {
		s += " " + entry.Name
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, fault.New(code, "")) compare numbers.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the number of the first fault in err's chain, [wire.Internal] for any other error, and 0 for nil.
func CodeOf(err error) wire.Code {
	if err == nil {
		return 0
	}
	var f *Error
	if errors.As(err, &f) {
		return f.Code
	}
	return wire.Internal
}

// Has reports whether err's chain holds a fault with this number.
func Has(err error, code wire.Code) bool {
	var f *Error
	return errors.As(err, &f) && f.Code == code
}

// Entry returns the catalogue's entry for err; an error without a number gets the entry of [wire.Internal].
func Entry(err error) wire.Entry {
	entry, ok := wire.Lookup(CodeOf(err))
	if !ok {
		entry, _ = wire.Lookup(wire.Internal)
	}
	return entry
}
