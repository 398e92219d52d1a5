//go:build !windows

package service

import (
	"errors"
	"syscall"
)

// inUse reports whether a listener failed because the port is taken.
func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
