package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/reglog"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

type logCommand struct {
	List       logList       `cmd:"" help:"List all entries."`
	Show       logShow       `cmd:"" help:"Show an entry, with the proof that it is under the newest checkpoint."`
	Export     logExport     `cmd:"" help:"Write the whole log, with its key and newest checkpoint, for \"log verify\"."`
	Checkpoint logCheckpoint `cmd:"" help:"Print the newest signed checkpoint: keep it apart from the service."`
	Key        logKey        `cmd:"" help:"Print the key that verifies checkpoints: keep it apart from the service."`
	Verify     logVerify     `cmd:"" help:"Verify exported files. Needs no service."`
}

type logList struct{ tenantFlags }

func (c logList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, c.path("registration-log"), []column[admin.LogEntry]{
		{"entry", func(x admin.LogEntry) string { return strconv.FormatInt(x.Entry.Index, 10) }},
		{"time", func(x admin.LogEntry) string { return x.Entry.Time }},
		{"event", func(x admin.LogEntry) string { return x.Entry.Event }},
		{"agent", func(x admin.LogEntry) string { return x.Entry.AgentName }},
		{"by", func(x admin.LogEntry) string {
			return strings.TrimSpace(x.Entry.Actor.Kind + " " + cmp.Or(x.Entry.Actor.Name, x.Entry.Actor.ID))
		}},
		{"certificate", func(x admin.LogEntry) string { return x.Entry.Serial }},
		{"detail", func(x admin.LogEntry) string { return x.Entry.Detail }}})
}

type logShow struct {
	tenantFlags
	Entry int64 `arg:"" help:"Index of the entry, from 0."`
}

func (c logShow) Run(ctx context.Context, t *terminal) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var p admin.LogProof
	if err := api.Do(ctx, http.MethodGet, c.path("registration-log", strconv.FormatInt(c.Entry, 10)), nil, &p); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(t.out, p)
	}
	if err := printFields(t.out, p.Entry); err != nil {
		return err
	}
	// A signed note has the lines that it has: a table would break it.
	_, err = fmt.Fprintf(t.out, "chain  %s\n\n%s\n%s", p.Chain, strings.Join(append(p.Proof, ""), "\n"), p.Checkpoint)
	return err
}

// checkpoint reads the newest checkpoint.
func (f tenantFlags) checkpoint(ctx context.Context) (*admin.Client, admin.LogCheckpoint, error) {
	var c admin.LogCheckpoint
	api, err := f.client()
	if err != nil {
		return nil, c, err
	}
	return api, c, api.Do(ctx, http.MethodGet, f.path("registration-log", "checkpoint"), nil, &c)
}

type logCheckpoint struct{ tenantFlags }

func (c logCheckpoint) Run(ctx context.Context, t *terminal) error {
	_, newest, err := c.checkpoint(ctx)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(t.out, newest)
	}
	_, err = io.WriteString(t.out, newest.Checkpoint)
	return err
}

type logKey struct{ tenantFlags }

func (c logKey) Run(ctx context.Context, t *terminal) error {
	_, newest, err := c.checkpoint(ctx)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(t.out, struct {
			Log string `json:"log"`
			Key string `json:"key"`
		}{newest.Log, newest.Key})
	}
	_, err = fmt.Fprintln(t.out, newest.Key)
	return err
}

type logExport struct {
	tenantFlags
	File string `arg:"" optional:"" default:"-" help:"File to write; - for standard output."`
}

// Run asks for the checkpoint first and writes the entries that it covers: what is recorded meanwhile is for the next export.
func (c logExport) Run(ctx context.Context, t *terminal) (err error) {
	api, newest, err := c.checkpoint(ctx)
	if err != nil {
		return err
	}
	out := t.out
	if c.File != "-" {
		f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s exists already: name a new file, older exports are worth keeping", c.File)
		}
		if err != nil {
			return err
		}
		defer func() {
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				err = errors.Join(err, os.Remove(c.File)) // half an export is none
			}
		}()
		out = f
	}
	write := func(r reglog.Record) error {
		_, err := out.Write(append(r.Line(), '\n'))
		return err
	}
	if err := write(reglog.Record{Log: newest.Log, Key: newest.Key}); err != nil {
		return err
	}
	written := int64(0)
	for after := ""; written < newest.Size; {
		var page admin.Page[admin.LogEntry]
		if err := api.Do(ctx, http.MethodGet, c.path("registration-log")+"?after="+url.QueryEscape(after), nil, &page); err != nil {
			return err
		}
		for _, x := range page.Items {
			if written == newest.Size {
				break
			}
			if err := write(reglog.Record{Log: newest.Log, Chain: x.Chain, Entry: entryText(x.Entry)}); err != nil {
				return err
			}
			written++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if written < newest.Size {
		return fmt.Errorf("the service signed %d entries and told %d: its database has lost some", newest.Size, written)
	}
	return write(reglog.Record{Log: newest.Log, Checkpoint: newest.Checkpoint})
}

// entryText writes an entry as it was hashed.
func entryText(x admin.LogChange) json.RawMessage {
	return reglog.Entry{Index: x.Index, Time: x.Time, Event: x.Event, Actor: tenant.Actor(x.Actor), Agent: x.Agent, AgentName: x.AgentName,
		Directory: x.Directory, Serial: x.Serial, Certificate: x.Certificate, KeyID: x.KeyID, Token: x.Token, Detail: x.Detail}.Encode()
}

type logVerify struct {
	Files      []string `arg:"" name:"file" help:"File of \"log export\" or of registration_log.file, or its parts in their order; - for standard input."`
	Key        []string `placeholder:"VKEY" sep:"none" help:"Key that was kept apart (\"log key\"). May be repeated, for files of several tenants."`
	Checkpoint []string `placeholder:"FILE" sep:"none" help:"Checkpoint that was kept apart, or an export: the entries must reach and agree with it. May be repeated."`
	Since      []string `placeholder:"FILE" sep:"none" help:"The same, for an older one: nothing before it may have changed."`
	Output     string   `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// Help is shown by --help.
func (logVerify) Help() string {
	return `Recomputes chain and tree from the entries, checks every signature, and names the first entry that cannot be believed. Without --key the key
in the file is taken, which shows damage, but not a file that was made up as a whole.

Examples:
  sallyport log export -t contoso today.jsonl
  sallyport log verify today.jsonl --key "$(cat contoso.vkey)" --since last-month.checkpoint

Exit codes: 0 everything is whole; 1 something is not, or a file cannot be read; 2 wrong command line.`
}

func (c logVerify) Run(t *terminal) error {
	var parts []io.Reader
	for _, name := range c.Files {
		if name == "-" {
			parts = append(parts, t.in)
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		parts = append(parts, f)
	}
	trust := reglog.Trust{}
	for _, key := range c.Key {
		trust.Keys = append(trust.Keys, strings.TrimSpace(key))
	}
	for _, name := range append(c.Checkpoint, c.Since...) {
		kept, err := keptCheckpoints(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		trust.Checkpoints = append(trust.Checkpoints, kept...)
	}
	for _, key := range trust.Keys {
		if _, err := reglog.KeyName(key); err != nil {
			return &usageError{fmt.Errorf("--key: %w", err)}
		}
	}
	found, err := reglog.Verify(io.MultiReader(parts...), trust)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = printJSON(t.out, found)
	} else {
		for _, f := range found {
			fmt.Fprint(t.out, verdict(f))
		}
	}
	for _, f := range found {
		if !f.Whole() {
			return errors.Join(err, errors.New("the registration log is not whole"))
		}
	}
	return err
}

// verdict says in words what was found of one log.
func verdict(f reglog.Finding) string {
	var b strings.Builder
	if f.Whole() {
		fmt.Fprintf(&b, "whole   %s\n  %d entries, %d of them signed; %d checkpoints agree\n  root %s\n", printable(f.Log), f.Entries, f.Signed, f.Held, f.Root)
		if f.Signed < f.Entries {
			fmt.Fprintf(&b, "  entries %d to %d are not under a checkpoint yet\n", f.Signed, f.Entries-1)
		}
	} else {
		where := "at the end"
		if f.Line > 0 {
			where = fmt.Sprintf("line %d", f.Line)
		}
		fmt.Fprintf(&b, "BROKEN  %s\n  %s: %s\n", printable(f.Log), where, printable(f.Broken))
		if f.Entry >= 0 {
			fmt.Fprintf(&b, "  first entry that does not fit: %d; signed and whole: those before %d\n", f.Entry, f.Signed)
		}
	}
	if f.OwnKey {
		fmt.Fprintf(&b, "  the key came with the file: give the one that was kept apart (--key)\n")
	}
	return b.String()
}

// keptCheckpoints reads a file that holds one checkpoint, or an export with some.
func keptCheckpoints(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return reglog.ReadCheckpoints(f)
}
