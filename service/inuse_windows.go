package service

import (
	"errors"

	"golang.org/x/sys/windows"
)

// inUse reports whether a listener failed because the port is taken.
func inUse(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }
