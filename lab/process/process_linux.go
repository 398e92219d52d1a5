package process

import (
	"os"
	"runtime"
	"syscall"
)

// childAttributes puts a child into a process group of its own, so that Ctrl-C reaches the parent alone and the end is orderly,
// and has the kernel kill it should the parent die.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// pinThread keeps the calling goroutine on its thread: Pdeathsig follows the thread that started the child.
func pinThread() (release func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

func askToEnd(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

// Pause makes the child stand still, as on a machine that has frozen: its connections stay open and nothing is answered.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused child go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
