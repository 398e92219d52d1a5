//go:build !linux

package process

import (
	"errors"
	"os"
	"syscall"
)

// childAttributes leaves the system's defaults: outside Linux nothing ends a child with its parent, so the parent's own orderly
// end must.
func childAttributes() *syscall.SysProcAttr { return nil }

func pinThread() (release func()) { return func() {} }

// askToEnd interrupts where the system can, else kills.
func askToEnd(p *os.Process) {
	if p.Signal(os.Interrupt) != nil {
		_ = p.Kill()
	}
}

// UsageOf tells what a process uses; only Linux can.
func UsageOf(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }

// Pause makes the child stand still; only Linux can.
func (p *Process) Pause() error { return errors.ErrUnsupported }

// Resume lets a paused child go on.
func (p *Process) Resume() error { return errors.ErrUnsupported }
