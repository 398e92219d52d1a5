package process

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Process is a child whose output goes to a log file and which never outlives its parent (where the system can promise that).
type Process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	mu   sync.Mutex
	err  error
}

// Usage is what a process has used.
type Usage struct {
	CPU      time.Duration
	Resident int64 // bytes, now
}

// Start runs a program. Each line of its standard output is also handed to line (nil: none).
func Start(name, logFile string, line func(string), program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, log: log, done: make(chan struct{}), cmd: exec.Command(program, args...)}
	p.cmd.Stderr = log
	p.cmd.SysProcAttr, p.cmd.Env = childAttributes(), environment()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		_ = log.Close()
		return nil, err
	}
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer log.Close()
		// Some systems end a child when the thread that started it ends; so one goroutine starts and waits, on one thread.
		release := pinThread()
		defer release()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		var lines sync.WaitGroup
		lines.Go(func() { readLines(out, log, line) })
		lines.Wait()
		err = p.cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// environment is this process's without the product's own variables: what is set for tests, or for an installation on this
// machine, is no setting of a lab's children.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SALLYPORT_") })
}

// readLines copies a child's output to the log and hands its lines on.
func readLines(from io.Reader, log io.Writer, line func(string)) {
	s := bufio.NewScanner(from)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fmt.Fprintln(log, s.Text())
		if line != nil {
			line(s.Text())
		}
	}
	_, _ = io.Copy(log, from) // whatever a line too long left behind
}

// Alive reports whether the child runs.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop, which a nil Process ignores, asks the child to end, waits, and kills it when it does not.
func (p *Process) Stop(grace time.Duration) {
	if p == nil || !p.Alive() {
		return
	}
	askToEnd(p.cmd.Process)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Name is what the child was called when it was started.
func (p *Process) Name() string { return p.name }

// PID is the child's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogFile is where its output goes.
func (p *Process) LogFile() string { return p.log.Name() }

// Kill ends the child at once, as a crash would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself meanwhile
	<-p.done
}

// Err says how the child ended: nil while it runs, and when it ended by itself with success.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Failure explains why a child ended, with the last lines of its log.
func (p *Process) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%s ended by itself (%v):\n%s", p.name, p.err, Tail(p.log.Name(), 12))
}

// RunToEnd runs a program that ends by itself and returns its output in the error when it fails.
func RunToEnd(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr, cmd.Env = childAttributes(), environment()
	release := pinThread()
	defer release()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w:\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Tail returns the last lines of a file.
func Tail(file string, n int) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
