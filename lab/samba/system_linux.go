package samba

import (
	"errors"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

const system = "linux"

const (
	signalKill   = unix.SIGKILL
	signalEnd    = unix.SIGTERM
	signalPause  = unix.SIGSTOP
	signalResume = unix.SIGCONT
)

// lockFile takes an exclusive lock that ends when f is closed, also by the death of the process. Without wait, taken is false
// when somebody else holds it.
func lockFile(f *os.File, wait bool) (taken bool, err error) {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// launch starts cmd in a process group of its own and calls ended once it is over. The kernel kills the program when the
// thread that started it dies, so that thread is kept for the program's whole life.
func launch(cmd *exec.Cmd, ended func(error)) error {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// signalGroup sends a signal to the program and its children.
func signalGroup(pid int, s unix.Signal) error { return unix.Kill(-pid, s) }
