package identity

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// checkAccess checks nothing here: Go's mode bits say nothing about Windows access lists. The folder inherits the list of
// its parent, and the default, below %ProgramData%, must be narrowed by the installer to SYSTEM, Administrators and the
// service's account (icacls DIR /inheritance:r /grant:r SYSTEM:(OI)(CI)F Administrators:(OI)(CI)F).
func checkAccess(string, fs.FileInfo, fs.FileMode) error { return nil }

// syncFolder does nothing: NTFS journals renames, and a folder cannot be flushed.
func syncFolder(string) error { return nil }

// lock keeps others from using the folder until unlock; it ends with the process.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return func() {}, nil // the folder is absent or cannot be written; others say so
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err != nil {
		_ = f.Close()
		return nil, inUse(dir)
	}
	return func() { _ = f.Close() }, nil
}

func whoami() string {
	if name := os.Getenv("USERNAME"); name != "" {
		return name
	}
	return "this account"
}

// errConnRefused is what a port where nobody listens answers.
const errConnRefused = windows.WSAECONNREFUSED
