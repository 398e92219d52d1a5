package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
)

// Exit codes, as the help states them. A service manager should not restart on 2, 3 and 4.
const (
	exitFailure       = 1
	exitUsage         = 2
	exitRefused       = 3
	exitNotRegistered = 4
	exitNotAttached   = 5
	exitNotRight      = 6
)

// usageError is a mistake in the command line or the settings, as against a failure while running.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

// errNotAttached ends `status` when what it has printed is not good news.
var errNotAttached = errors.New("not attached")

// report prints an error with its remedy and trace id, each on a line of its own, and returns the exit code for it.
func report(w io.Writer, err error) int {
	if err == nil || errors.Is(err, errNotAttached) || errors.Is(err, errUnwell) || errors.Is(err, errNotRight) {
		return exitCode(err)
	}
	fmt.Fprintf(w, "%s: %v\n", program, err)
	var (
		known   *identity.Error
		refused *link.Refused
	)
	switch {
	case errors.As(err, &known):
		fmt.Fprintf(w, "  what to do: %s\n", known.Remedy)
		if known.Trace != "" {
			fmt.Fprintf(w, "  trace: %s\n", known.Trace)
		}
	case errors.As(err, &refused):
		if entry, ok := wire.Lookup(refused.Code); ok {
			fmt.Fprintf(w, "  what to do: %s\n", entry.Remedy)
		}
	case errors.Is(err, windows.ErrCredulous):
		if entry, ok := wire.Lookup(wire.HostCredulous); ok {
			fmt.Fprintf(w, "  what to do: %s\n", entry.Remedy)
		}
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var (
		usage   *usageError
		refused *link.Refused
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage), errors.Is(err, identity.ErrOptions), errors.Is(err, identity.ErrExists), errors.Is(err, identity.ErrInUse), errors.Is(err, agent.ErrConfig),
		errors.Is(err, windows.ErrCredulous): // restarting would not help
		return exitUsage
	case errors.As(err, &refused), errors.Is(err, identity.ErrRefused), errors.Is(err, identity.ErrExpired):
		return exitRefused
	case errors.Is(err, identity.ErrNotRegistered), errors.Is(err, identity.ErrPermissions), errors.Is(err, identity.ErrDamaged),
		errors.Is(err, identity.ErrKeysLost):
		return exitNotRegistered
	case errors.Is(err, errNotAttached):
		return exitNotAttached
	case errors.Is(err, errNotRight):
		return exitNotRight
	}
	return exitFailure
}
