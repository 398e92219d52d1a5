package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/reglog"
)

// TestLog plays the registration log with the real program and a real service, and verifies what it wrote without one.
func TestLog(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	keep := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	w.ok(line("directory create corp -t contoso"))
	w.ok(line("agent token create --directory corp --note berlin -t contoso"))
	key := strings.TrimSpace(w.ok(line("log key -t contoso")))
	old := keep("old.checkpoint", w.ok(line("log checkpoint -t contoso")))
	w.ok(line("tenant verification set contoso --administrators --percent 5"))
	w.ok(line("log list -t contoso"), "directory.create", "agent-token.create", "berlin", "verification.set", "admin-token made by init")
	w.ok(line("log show 0 -t contoso"), "domain.create", "internal", "— localhost/tenant/")
	w.fails(1, line("log show 99 -t contoso"), "no entry 99")
	w.fails(1, line("log show -t contoso -- -1"), "no such entry")

	file := at("log.jsonl")
	w.ok(append(line("log export -t contoso"), file))
	w.fails(1, append(line("log export -t contoso"), file), "exists already")
	newest := keep("new.checkpoint", w.ok(line("log checkpoint -t contoso")))

	verify := func(args ...string) result { return sallyport(t, "", append(line("log verify"), args...)...) }
	if r := verify(file, "--key", key, "--since", old, "--checkpoint", newest); r.code != 0 || !strings.Contains(r.out, "whole") || strings.Contains(r.out, "came with the file") {
		t.Errorf("%+v", r)
	}
	if r := verify(file); r.code != 0 || !strings.Contains(r.out, "came with the file") {
		t.Errorf("%+v", r)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(raw)
	if r := sallyport(t, whole, "log", "verify", "-", "--key", key); r.code != 0 {
		t.Errorf("from standard input: %+v", r)
	}
	lines := strings.SplitAfter(whole, "\n")
	for _, c := range []struct{ name, text, words string }{
		{"altered", strings.Replace(whole, "berlin", "munich", 1), "breaks at entry"},
		{"removed", strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), ""), "entry 1 is missing"},
		{"cut", lines[0] + lines[1], "are missing"},
	} {
		r := verify(keep(c.name, c.text), "--key", key, "--checkpoint", newest, "-o", "json")
		var found []reglog.Finding
		if err := json.Unmarshal([]byte(r.out), &found); err != nil || r.code != 1 || len(found) != 1 || !strings.Contains(found[0].Broken, c.words) {
			t.Errorf("%s: %+v (%v)", c.name, r, err)
		}
		if r := verify(at(c.name), "--key", key, "--checkpoint", newest); r.code != 1 || !strings.Contains(r.out, "BROKEN") || !strings.Contains(r.out, c.words) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if r := verify(keep("parts", strings.Join(lines[:3], "")), keep("rest", strings.Join(lines[3:], "")), "--key", key); r.code != 0 {
		t.Errorf("in parts: %+v", r)
	}
	if r := verify(file, "--key", "nonsense"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	if r := verify(at("nothing")); r.code != 1 {
		t.Errorf("%+v", r)
	}
}
