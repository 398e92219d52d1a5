package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// Pause makes the child stand still, as on a machine that has frozen: its connections stay open and nothing is answered. It returns
// when the last thread stands: the signal alone is on its way for some milliseconds on a busy machine.
func (p *Process) Pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		if err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != unix.EINTR {
			return err
		}
	}
}

// Resume lets a paused child go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// clockTick is the unit of processor times in /proc, which Linux fixes for programs at a hundredth of a second (proc(5)).
const clockTick = time.Second / 100

// UsageOf returns the processor time that a process has used since its start, and the memory of it that is resident now, in bytes.
func UsageOf(pid int) (Usage, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Usage{}, err
	}
	// The name, in parentheses, may hold spaces; what follows does not. utime, stime and rss are fields 14, 15 and 24.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var values [3]int64
	for i, at := range []int{11, 12, 21} {
		if values[i], err = strconv.ParseInt(string(fields[at]), 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return Usage{CPU: time.Duration(values[0]+values[1]) * clockTick, Resident: values[2] * int64(os.Getpagesize())}, nil
}
