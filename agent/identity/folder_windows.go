package identity

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// checkAccess checks nothing here: Go's mode bits say nothing about Windows access lists. The folder inherits the list of
// its parent, and the default, below %ProgramData%, must be narrowed by the installer to SYSTEM, Administrators and the
// service's account (icacls DIR /inheritance:r /grant:r SYSTEM:(OI)(CI)F Administrators:(OI)(CI)F).
func checkAccess(string, fs.FileInfo, fs.FileMode) error { return nil }

// syncFolder does nothing: NTFS journals renames, and a folder cannot be flushed.
func syncFolder(string) error { return nil }

func whoami() string {
	if name := os.Getenv("USERNAME"); name != "" {
		return name
	}
	return "this account"
}

// errConnRefused is what a port where nobody listens answers.
const errConnRefused = windows.WSAECONNREFUSED
