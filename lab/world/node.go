package world

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/lab/process"
)

// Node is one process of the installation. Its methods may be called by several goroutines.
type Node struct {
	// Name is "signin-1", "gateway-2", "agent-3" …
	Name string
	// LogFile is where it writes what it does, at debug level, of all its lives.
	LogFile string
	// Line is the way out of it: an agent's to the gateways, a service process's to the broker. nil if it has none.
	Line *Line

	program string
	args    []string
	// Of a service process, each host:port, empty without the role.
	browsersAt, agentsAt, monitor string
	ready                         func(context.Context, *Node) error

	mu      sync.Mutex // guards the rest
	process *process.Process
	from    int64 // where in the log this life begins
}

// Start runs the process and waits until it does its work.
func (n *Node) Start(ctx context.Context) error {
	if err := n.launch(); err != nil {
		return err
	}
	return n.AwaitReady(ctx)
}

// launch runs the process.
func (n *Node) launch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.from = 0
	if info, err := os.Stat(n.LogFile); err == nil {
		n.from = info.Size()
	}
	p, err := process.Start(n.Name, n.LogFile, nil, n.program, n.args...)
	if err != nil {
		return err
	}
	n.process = p
	return nil
}

// AwaitReady waits until the process does its work: a service process is ready, an agent attached.
func (n *Node) AwaitReady(ctx context.Context) error {
	p := n.running()
	var last error
	err := Await(ctx, n.Name+" is ready", func() bool {
		last = n.ready(ctx, n)
		return last == nil || !p.Alive()
	})
	switch {
	case !p.Alive():
		return p.Failure()
	case err != nil:
		return fmt.Errorf("%w: %w\n%s", err, last, process.Tail(n.LogFile, 12))
	}
	return nil
}

func (n *Node) running() *process.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// Kill ends the process at once, as a crash would.
func (n *Node) Kill() { n.running().Kill() }

// Stop ends the process with SIGTERM and returns an error unless it ended by itself, well.
func (n *Node) Stop() error {
	p := n.running()
	p.Stop(stopGrace)
	if err := p.Err(); err != nil {
		return fmt.Errorf("%s did not end well: %w\n%s", n.Name, err, process.Tail(n.LogFile, 12))
	}
	return nil
}

// Pause freezes the process: its connections stay, and nothing is answered.
func (n *Node) Pause() error { return n.running().Pause() }

// Resume thaws it.
func (n *Node) Resume() error { return n.running().Resume() }

// Usage is what the process has used in its present life.
func (n *Node) Usage() (process.Usage, error) { return process.UsageOf(n.running().PID()) }

// Alive reports whether the process runs, be it frozen.
func (n *Node) Alive() bool { p := n.running(); return p != nil && p.Alive() }

// Logged returns how often a text stands in the log of the process's present life.
func (n *Node) Logged(text string) int {
	n.mu.Lock()
	from := n.from
	n.mu.Unlock()
	raw, err := os.ReadFile(n.LogFile)
	if err != nil || int64(len(raw)) < from {
		return 0
	}
	return strings.Count(string(raw[from:]), text)
}

// Await looks at a condition until it holds, or gives up.
func Await(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}
