package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
)

func TestInstancesInSettings(t *testing.T) {
	s, err := parseSettings([]byte("slots: 3\ndc-ca-file: /all.pem\ninstances:\n  corp:\n    dc: [ldaps://dc1]\n    slots: 5\n  other: {dc: [ldaps://dc2], monitor: 127.0.0.1:1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.names(); !slices.Equal(got, []string{"corp", "other"}) {
		t.Error(got)
	}
	corp, other := s.of("corp"), s.of("other")
	if corp.values["slots"] != "5" || corp.values["dc-ca-file"] != "/all.pem" || other.values["slots"] != "3" || corp.values["monitor"] != nil || corp.within != "corp" {
		t.Errorf("%+v, %+v", corp.values, other.values)
	}
	for text, words := range map[string]string{
		"instances: x\n":                                 "line 1: instances: a mapping is needed",
		"instances: {}\n":                                "a mapping is needed",
		"instances:\n  Corp: {dc: [x]}\n":                `"Corp" is not a name`,
		"instances:\n  corp: x\n":                        "a mapping of settings is needed",
		"instances:\n  corp:\n    dc: {a: b}\n":          "instances: corp: line 3: dc: a plain value or a list",
		"instances:\n  corp:\n    state: /x\n":           "line 3: instances: corp: state cannot differ",
		"instances:\n  corp:\n    log-format: json\n":    "log-format cannot differ",
		"monitor: a:1\ninstances:\n  a: {}\n  b: {}\n":   "line 1: monitor: each instance needs an address of its own",
		"instances:\n  a:\n    slots: 1\n    slots: 2\n": "already defined",
	} {
		if _, err := parseSettings([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %q", text, err, words)
		}
	}
}

func TestChooseInstances(t *testing.T) {
	several, err := parseSettings([]byte("instances:\n  a: {}\n  b: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings       settings
		command, named string
		names          []string
		says           string
	}{
		{settings{}, "run", "", nil, ""},
		{settings{}, "run", "second", nil, ""},
		{several, "run", "", []string{"a", "b"}, ""},
		{several, "doctor", "", []string{"a", "b"}, ""},
		{several, "status", "b", []string{"b"}, ""},
		{several, "run", "c", nil, "there are a, b"},
		{several, "register", "", nil, "--instance (a, b)"},
		{several, "logs bundle", "", nil, "--instance (a, b)"},
		{several, "test-signin <name>", "", nil, "--instance (a, b)"},
		{several, "explain <number>", "", nil, ""},
		{several, "service install", "", nil, ""},
	} {
		names, err := c.settings.choose(c.command, c.named)
		if !slices.Equal(names, c.names) || (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %q: %v, %v", c.command, c.named, names, err)
		}
	}
}

// One that fails runs again, one that has no hope leaves the rest alone, and settings that cannot be end all, if they are so at the start.
func TestEachInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		began := map[string]int{}
		one := func(ctx context.Context, name string) int {
			mu.Lock()
			began[name]++
			again := began[name] == 2
			mu.Unlock()
			switch name {
			case "flaky":
				if again {
					return exitUsage
				}
				return exitFailure
			case "revoked":
				return exitRefused
			}
			<-ctx.Done()
			return 0
		}
		var log bytes.Buffer
		done := make(chan int)
		go func() { done <- each(ctx, "run", []string{"fine", "flaky", "revoked"}, &log, &log, one) }()
		time.Sleep(3*instanceRestart + time.Second)
		mu.Lock()
		if began["fine"] != 1 || began["flaky"] != 4 || began["revoked"] != 1 {
			t.Error(began)
		}
		mu.Unlock()
		cancel()
		if code := <-done; code != exitRefused || !strings.Contains(log.String(), "instance revoked has ended for good") {
			t.Errorf("%d: %s", code, log.String())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		code := each(t.Context(), "run", []string{"fine", "wrong"}, &log, &log, func(ctx context.Context, name string) int {
			if name == "wrong" {
				return exitUsage
			}
			<-ctx.Done()
			return 0
		})
		if code != exitUsage {
			t.Error(code)
		}
	})
}

// The watchdog is fed when all agents that live have spoken, and systemd hears once that the process works.
func TestNotifierOfSeveral(t *testing.T) {
	n := newNotifier("a", "b", "c")
	fine := agent.Status{}
	over := agent.Status{Ended: "told to stop"}
	for i, step := range []struct {
		who  string
		says agent.Status
		want []string
		not  []string
	}{
		{"a", fine, []string{"READY=1", "STATUS=a: "}, []string{"WATCHDOG=1"}},
		{"a", fine, nil, []string{"WATCHDOG=1", "READY=1"}}, // b and c may be stuck
		{"b", fine, []string{"| b: "}, []string{"WATCHDOG=1"}},
		{"c", fine, []string{"WATCHDOG=1"}, []string{"READY=1"}},
		{"a", fine, nil, []string{"WATCHDOG=1"}},
		{"b", over, []string{"b: ended: told to stop"}, []string{"WATCHDOG=1", "STOPPING=1"}},
		{"c", fine, []string{"WATCHDOG=1"}, nil},
		{"a", fine, nil, []string{"WATCHDOG=1"}},
		{"c", fine, []string{"WATCHDOG=1"}, nil}, // b is not waited for
	} {
		said := strings.Join(n.heard(step.who, step.says), "\n")
		for _, w := range step.want {
			if !strings.Contains(said, w) {
				t.Errorf("step %d: %q without %q", i, said, w)
			}
		}
		for _, w := range step.not {
			if strings.Contains(said, w) {
				t.Errorf("step %d: %q with %q", i, said, w)
			}
		}
	}
	n.gone("c")
	if said := strings.Join(n.heard("a", over), "\n"); !strings.Contains(said, "STOPPING=1") {
		t.Errorf("the last one: %q", said)
	}
	if alone := newNotifier(); !slices.Contains(alone.heard("", fine), "WATCHDOG=1") {
		t.Error("an agent without a name feeds the watchdog alone")
	}
}

// Several agents in one process, each with its own state, and the commands that look at them.
func TestInstancesInOneProcess(t *testing.T) {
	address, caFile := newService(t, time.Hour)
	root := filepath.Join(t.TempDir(), "state")
	tokenFile := filepath.Join(t.TempDir(), "token")
	file := filepath.Join(t.TempDir(), "agent.yaml")
	for path, text := range map[string]string{tokenFile: token + "\n",
		file: fmt.Sprintf("state: %s\nservice: %s\nca-file: %s\ninstances:\n  corp: {dc: [ldaps://127.0.0.1:1]}\n  fabrikam: {dc: [ldaps://127.0.0.1:2]}\n", root, address, caFile)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := execute(t, nil, "register", "--config", file, "--token-file", tokenFile); r.code != exitUsage || !strings.Contains(r.errOut, "--instance (corp, fabrikam)") {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"corp", "fabrikam"} {
		if r := execute(t, nil, "register", "--config", file, "--token-file", tokenFile, "--instance", name); r.code != 0 || !strings.Contains(r.out, filepath.Join(root, name)) {
			t.Fatalf("%+v", r)
		}
	}
	if r := execute(t, nil, "status", "--config", file); r.code != exitNotAttached || strings.Count(r.out, "has never run") != 2 {
		t.Errorf("%+v", r)
	}
	if r := execute(t, []string{"SALLYPORT_AGENT_DC=ldaps://127.0.0.1:3"}, "run", "--config", file); r.code != exitUsage || !strings.Contains(r.errOut, "SALLYPORT_AGENT_DC is set") {
		t.Errorf("%+v", r)
	}
	socket, next := manager(t)
	c := command(t, []string{"NOTIFY_SOCKET=" + socket}, "run", "--config", file)
	var log lockedBuffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	for said := ""; !strings.Contains(said, "corp: ") || !strings.Contains(said, "fabrikam: "); {
		said = next()
	}
	r := execute(t, nil, "status", "--config", file)
	if r.code != exitNotAttached || !strings.Contains(r.errOut, "== corp\n== fabrikam") || !strings.Contains(r.out, "127.0.0.1:1 ") || !strings.Contains(r.out, "127.0.0.1:2 ") {
		t.Errorf("%+v", r)
	}
	if r := execute(t, nil, "status", "--config", file, "--instance", "corp"); strings.Contains(r.out, "127.0.0.1:2 ") || !strings.Contains(r.out, "127.0.0.1:1 ") {
		t.Errorf("%+v", r)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
	for _, name := range []string{"corp", "fabrikam"} {
		if !strings.Contains(log.String(), "instance="+name) {
			t.Errorf("no line of %s in the log: %s", name, log.String())
		}
	}
}
