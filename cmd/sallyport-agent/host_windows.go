package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// serviceAccount is the service's own virtual account.
const serviceAccount = `NT SERVICE\` + serviceName

// protect narrows a folder to SYSTEM, administrators and the service.
func protect(ctx context.Context, t *terminal, dir string) error {
	c := exec.CommandContext(ctx, "icacls", dir, "/inheritance:r", "/grant:r", "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F", serviceAccount+":(OI)(CI)F")
	c.Stdout, c.Stderr = io.Discard, t.err
	if err := c.Run(); err != nil {
		return fmt.Errorf("icacls %s: %w", dir, err)
	}
	return nil
}

// underServiceManager runs the command line as a Windows service if the service manager started this process.
func underServiceManager(run func(context.Context) int) (code int, is bool) {
	if is, err := svc.IsWindowsService(); err != nil || !is {
		return 0, false
	}
	if events, err := eventlog.Open(serviceName); err == nil {
		defer events.Close()
		logHandler = func(o *slog.HandlerOptions) slog.Handler { return newEventHandler(events, o) }
	}
	w := &winService{run: run}
	if err := svc.Run(serviceName, w); err != nil {
		return exitFailure, true
	}
	return w.code, true
}

// winService is the service manager's view of the agent.
type winService struct {
	run  func(context.Context) int
	code int
}

// Execute runs until the manager says stop or the agent ends by itself. What needs a person (2, 3, 4) is reported as an orderly stop with
// that code, so that nothing restarts it; anything else ends the process, which the manager takes for a failure and starts it again.
func (w *winService) Execute(_ []string, requests <-chan svc.ChangeRequest, states chan<- svc.Status) (bool, uint32) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- w.run(ctx) }()
	running := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	states <- running
	for {
		select {
		case code := <-ended:
			w.code = code
			if code == exitFailure {
				os.Exit(code)
			}
			states <- svc.Status{State: svc.StopPending}
			return true, uint32(code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				states <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				running = svc.Status{State: svc.StopPending, WaitHint: 30_000}
				states <- running
				stop()
			}
		}
	}
}

// eventHandler writes a log into Windows' event log: the text of slog, under the level's kind.
type eventHandler struct {
	slog.Handler
	shared *eventBuffer
}

type eventBuffer struct {
	mu     sync.Mutex
	text   bytes.Buffer
	events *eventlog.Log
}

func newEventHandler(events *eventlog.Log, o *slog.HandlerOptions) slog.Handler {
	b := &eventBuffer{events: events}
	return eventHandler{slog.NewTextHandler(&b.text, o), b}
}

// Handle is called by slog.
func (h eventHandler) Handle(ctx context.Context, r slog.Record) error {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	h.shared.text.Reset()
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	text := h.shared.text.String()
	switch {
	case r.Level >= slog.LevelError:
		return h.shared.events.Error(3, text)
	case r.Level >= slog.LevelWarn:
		return h.shared.events.Warning(2, text)
	}
	return h.shared.events.Info(1, text)
}

// WithAttrs is called by slog.
func (h eventHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return eventHandler{h.Handler.WithAttrs(a), h.shared}
}

// WithGroup is called by slog.
func (h eventHandler) WithGroup(name string) slog.Handler {
	return eventHandler{h.Handler.WithGroup(name), h.shared}
}
