//go:build !linux

package samba

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
)

const system = runtime.GOOS

type signal int

const (
	signalKill signal = iota
	signalEnd
	signalPause
	signalResume
)

// errSystem is unreachable: Available refuses first.
var errSystem = errors.New("samba: only Linux is served")

func lockFile(*os.File, bool) (bool, error) { return false, errSystem }
func launch(*exec.Cmd, func(error)) error   { return errSystem }
func signalGroup(pid int, s signal) error   { return errSystem }
