package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// A settings file may have several instances: agents of one host, one for each directory, each with an identity, a validator and a state folder of its own.
// One process runs them all, and the commands that only look say what they see of each.
//
//	instances:
//	  corp:     {dc: [ldaps://dc1.corp.example]}          state: STATE/corp
//	  fabrikam: {dc: [ldaps://dc1.fabrikam.example]}      state: STATE/fabrikam
//
// They share nothing but the process: what is sealed to one cannot be opened by the other, and one that is revoked leaves the rest alone.

// instanceRestart is how long an instance that ended by a failure is left alone before it runs again, as a service manager would do.
const instanceRestart = 5 * time.Second

// ofEach says which commands are carried out for every instance when none is named, and whether at the same time.
var ofEach = map[string]struct{ together bool }{"run": {true}, "status": {false}, "doctor": {false}}

// ofNone are the commands for which instances do not matter.
var ofNone = []string{"explain", "completion", "service", "record-transcripts"}

// each carries one command out for every instance of the settings and returns the gravest exit code. one carries it out for the named one.
func each(ctx context.Context, command string, names []string, out, logTo io.Writer, one func(ctx context.Context, name string) int) int {
	gravest := 0
	if !ofEach[command].together {
		for i, name := range names {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintf(logTo, "== %s\n", name)
			gravest = max(gravest, one(ctx, name))
		}
		return gravest
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, name := range names {
		running.Go(func() {
			code := keepRunning(ctx, name, logTo, one)
			mu.Lock()
			gravest = max(gravest, code)
			mu.Unlock()
			if code == exitUsage {
				stop() // settings that contradict themselves are to be seen at once, not when somebody misses a directory
			}
		})
	}
	running.Wait()
	return gravest
}

// keepRunning runs one instance, again after a pause when it failed for a reason that may pass; so may settings that worked before, such as a file that
// is being replaced.
func keepRunning(ctx context.Context, name string, logTo io.Writer, one func(ctx context.Context, name string) int) int {
	for again := false; ; again = true {
		code := one(ctx, name)
		if ctx.Err() != nil || code != exitFailure && !(again && code == exitUsage) {
			if code != 0 {
				fmt.Fprintf(logTo, "%s: instance %s has ended for good; the others go on\n", program, name)
			}
			return code
		}
		timer := time.NewTimer(instanceRestart)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return code
		}
	}
}

// choose says which instances a command is for: nil for the agent that the settings themselves describe.
func (s settings) choose(command, named string) (names []string, err error) {
	verb, _, _ := strings.Cut(command, " ")
	switch {
	case len(s.instances) == 0:
		return nil, nil
	case named != "":
		if _, ok := s.instances[named]; !ok {
			return nil, fmt.Errorf("settings in %s: no instance is called %q; there are %s", s.path, named, strings.Join(s.names(), ", "))
		}
		return []string{named}, nil
	case slices.Contains(ofNone, verb):
		return nil, nil
	}
	if _, ok := ofEach[verb]; ok {
		return s.names(), nil
	}
	return nil, fmt.Errorf("the settings in %s have several instances: say which with --instance (%s)", s.path, strings.Join(s.names(), ", "))
}

// shadowed refuses variables of the environment that would take the place of what the instances set apart from one another.
func (s settings) shadowed() error {
	for _, name := range s.names() {
		for _, key := range slices.Sorted(maps.Keys(s.instances[name].values)) {
			variable := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
			if _, set := os.LookupEnv(variable); set {
				return fmt.Errorf("%s is set and would go before %s of instance %s in %s, and of every other: unset it", variable, key, name, s.path)
			}
		}
	}
	return nil
}

// instanceLogger marks an instance's lines.
func (c *cli) logs(w io.Writer) *slog.Logger {
	log := c.logger(w)
	if c.Instance != "" {
		log = log.With("instance", c.Instance)
	}
	return log
}

var errSharedMonitor = errors.New("monitor: each instance needs an address of its own; set it below each")
