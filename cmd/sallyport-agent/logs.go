package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-auth/sallyport/agent/bundle"
	"github.com/sallyport-auth/sallyport/agent/doctor"
)

type logsCommand struct {
	Bundle bundleCommand `cmd:"" help:"Pack log, status, settings and doctor's findings for support, without secrets and names."`
}

type bundleCommand struct {
	directoryFlags
	Proxy   string        `help:"HTTP proxy for the link to the gateway. What HTTPS_PROXY says by default." placeholder:"URL"`
	File    string        `help:"Where to write the archive; it must not exist. sallyport-agent-TIME.tar.gz in this folder by default." placeholder:"FILE" type:"path"`
	LogFile []string      `help:"Take the log from this file, in place of the host's journal. May be repeated." placeholder:"FILE" type:"path"`
	Since   time.Duration `help:"How much of the journal to take." default:"24h" placeholder:"TIME"`
}

// Help is printed below the flags.
func (bundleCommand) Help() string {
	return `Secrets are taken out, and names of people become pseudonyms that are the same throughout one archive and in no other. Addresses of domain
controllers, of the service and of proxies stay, and so do domains, numbers, traces and times. Keys are never read. Read the archive before
you send it: what people type can look like anything.

Examples:
  sudo sallyport-agent logs bundle --config /etc/sallyport-agent/agent.yaml
  sallyport-agent logs bundle --log-file /var/log/sallyport-agent.log --file support.tar.gz`
}

// maxLog bounds each log; its end is what matters.
const maxLog = 16 << 20

// Run is called by kong.
func (b *bundleCommand) Run(ctx context.Context, c *cli, t *terminal, app *kong.Kong, set settings) error {
	now := time.Now()
	path := b.File
	if path == "" {
		path = "sallyport-agent-" + now.UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	files := []bundle.File{
		{Name: "README.txt", Text: "What sallyport-agent logs bundle found at " + now.UTC().Format(time.RFC3339) + ". Secrets are taken out; person-… stands for one person throughout.\n"},
		{Name: "host.txt", Text: hostFacts(now)},
		{Name: "settings.txt", Text: settingsInForce(app.Model, c, set)},
		{Name: "state.txt", Text: listing(c.State)},
		{Name: "status.json", Text: contentsOr(statusFile(c.State))},
	}
	for i, log := range b.LogFile {
		text, err := tail(log)
		if err != nil {
			return &usageError{fmt.Errorf("log file: %w", err)}
		}
		files = append(files, bundle.File{Name: fmt.Sprintf("log-%d.txt", i+1), Text: text})
	}
	if len(b.LogFile) == 0 {
		files = append(files, bundle.File{Name: "log.txt", Text: journal(ctx, b.Since)})
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	files = append(files, bundle.File{Name: "doctor.json", Text: b.examine(ctx, c)})
	err = bundle.Write(out, strings.TrimSuffix(filepath.Base(path), ".tar.gz"), files, now)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "wrote %s; read it before you send it\n", path)
	return err
}

// examine is doctor's output; what keeps it from working is said in its place, since that may be why somebody asks for help. Root becomes
// the agent's user for it, and cannot go back.
func (b *bundleCommand) examine(ctx context.Context, c *cli) string {
	roots, badRoots := readRoots(b.DCCAFile)
	proxy, badProxy := parseProxy(b.Proxy)
	choice, byKerberos, byWindows, badValidator := b.validator()
	if err := errors.Join(badRoots, badProxy, badValidator, actAsOwner(c.State)); err != nil {
		return err.Error() + "\n"
	}
	// The reader's password is the agent's; what the agent sees of the guard is in its status.
	findings := doctor.Examine(ctx, doctor.Config{WithoutGuard: true, Validator: string(choice.Kind), Why: choice.Why, Kerberos: byKerberos, Windows: byWindows, State: c.State, Servers: b.DC, Domain: b.Domain, Site: b.Site, StartTLS: b.DCStartTLS, RootCAs: roots, Proxy: proxy})
	text, err := json.MarshalIndent(findings, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text) + "\n"
}

// hostFacts are what cannot be seen in the log.
func hostFacts(now time.Time) string {
	v, commit := build()
	host, _ := os.Hostname()
	zone, _ := now.Zone()
	var b strings.Builder
	fmt.Fprintf(&b, "version: %s, commit %s, %s\nsystem: %s/%s, %d CPUs\nhost: %s\nrun as: uid %d\ntime: %s (%s)\n",
		v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), host, os.Geteuid(), now.Format(time.RFC3339), zone)
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		fmt.Fprintf(&b, "kernel: %s\n", strings.TrimSpace(string(text)))
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "NO_PROXY", "no_proxy", "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			fmt.Fprintf(&b, "environment: %s=%s\n", name, value)
		}
	}
	return b.String()
}

// settingsInForce lists what `run` would run with, and where each value comes from.
func settingsInForce(app *kong.Application, c *cli, set settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "settings file: %s\nstate: %s\n", c.Config, c.State)
	for _, command := range app.Children {
		if command.Name != "run" {
			continue
		}
		for _, f := range slices.Concat(app.Flags, command.Flags) {
			if slices.Contains(notInFile, f.Name) {
				continue
			}
			value, from := any(f.Default), "default"
			if v, ok := set.values[f.Name]; ok {
				value, from = v, fmt.Sprintf("line %d", set.lines[f.Name])
			}
			for _, name := range f.Envs {
				if v, ok := os.LookupEnv(name); ok {
					value, from = v, "environment"
				}
			}
			if f.Name == "protect-name" && value != "" {
				value = howMany(value) // nothing would show that they are names of accounts
			}
			fmt.Fprintf(&b, "%s: %v (%s)\n", f.Name, value, from)
		}
	}
	return b.String()
}

// howMany stands for names that a setting lists, in a file or in a variable.
func howMany(value any) string {
	n := 1
	switch v := value.(type) {
	case []any:
		n = len(v)
	case string:
		n += strings.Count(v, ",")
	}
	return fmt.Sprintf("%d names", n)
}

// listing shows a folder as ls -l does. It opens no file.
func listing(dir string) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name string, info fs.FileInfo) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", info.Mode(), ownerOf(info), info.Size(), info.ModTime().UTC().Format(time.RFC3339), name)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err.Error() + "\n"
	}
	row(dir, info)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			row(e.Name(), info)
		}
	}
	_ = w.Flush() // into memory
	if err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String()
}

// contentsOr is a file's text, or why there is none.
func contentsOr(path string) string {
	text, err := tail(path)
	if err != nil {
		return err.Error() + "\n"
	}
	return text
}

// tail is the end of a file.
func tail(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxLog {
		if _, err := f.Seek(-maxLog, io.SeekEnd); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLog))
	return string(text), err
}
