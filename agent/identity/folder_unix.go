//go:build unix

package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkAccess holds a file or folder to its owner (this process's effective user) and to a mode that lets nobody else in.
func checkAccess(path string, info fs.FileInfo, want fs.FileMode) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return &Error{
			Kind:   ErrPermissions,
			What:   fmt.Sprintf("%s belongs to uid %d, and this program runs as uid %d", path, stat.Uid, os.Geteuid()),
			Remedy: fmt.Sprintf("run it as uid %d, or: chown %d %s", stat.Uid, os.Geteuid(), path),
		}
	}
	if mode := info.Mode().Perm(); mode&^want != 0 {
		return &Error{
			Kind:   ErrPermissions,
			What:   fmt.Sprintf("%s has mode %04o, which lets others in", path, mode),
			Remedy: fmt.Sprintf("chmod %04o %s; if others have used this host since, register again with --replace", want, path),
		}
	}
	return nil
}

// syncFolder makes a rename durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock keeps others from using the folder until unlock. It works on read-only file systems, and ends with the process.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, unreadable(dir, err)
	}
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		_ = d.Close()
		return nil, inUse(dir)
	case err != nil: // a file system without locks
		_ = d.Close()
		return func() {}, nil
	}
	return func() { _ = d.Close() }, nil
}

func whoami() string { return fmt.Sprintf("uid %d", os.Geteuid()) }

// errConnRefused is what a port where nobody listens answers.
const errConnRefused = syscall.ECONNREFUSED
