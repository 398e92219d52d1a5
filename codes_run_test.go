//go:build codes

package sallyport_test

import (
	"bufio"
	"fmt"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// block is a run of statements in a coverage profile.
type block struct{ fromLine, fromColumn, toLine, toColumn int }

func (b block) holds(p token.Position) bool {
	return (p.Line > b.fromLine || p.Line == b.fromLine && p.Column >= b.fromColumn) &&
		(p.Line < b.toLine || p.Line == b.toLine && p.Column < b.toColumn)
}

// profile says of every file how often each block ran, in the tests of all packages together.
type profile map[string]map[block]int

// ran reports whether the statement at a place ran. Blocks of function literals lie within those of the function around them,
// so the one that begins last counts.
func (p profile) ran(at token.Position) bool {
	var nearest block
	for b := range p[filepath.ToSlash(at.Filename)] {
		if b.holds(at) && (b.fromLine > nearest.fromLine || b.fromLine == nearest.fromLine && b.fromColumn > nearest.fromColumn) {
			nearest = b
		}
	}
	return p[filepath.ToSlash(at.Filename)][nearest] > 0
}

// TestNamedTestsMakeTheirCodes: see reachedBy.
func TestNamedTestsMakeTheirCodes(t *testing.T) {
	packages, names := map[string]bool{}, map[string]bool{}
	for _, where := range reachedBy {
		pkg, name, _ := strings.Cut(where, ".")
		packages["./"+pkg], names[name] = true, true
	}
	file := filepath.Join(t.TempDir(), "profile")
	args := append([]string{"test", "-count=1", "-timeout=10m", "-v", "-coverprofile=" + file, "-coverpkg=./agent/...,./service/...,./cmd/...",
		"-run=^(" + strings.Join(slices.Sorted(maps.Keys(names)), "|") + ")$"}, slices.Sorted(maps.Keys(packages))...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	if err != nil {
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "--- PASS") && !strings.HasPrefix(line, "=== ") {
				t.Log(strings.TrimRight(line, "\n"))
			}
		}
		t.Fatalf("the named tests fail: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s was skipped", name)
		}
	}
	blocks := readProfile(t, file)
	s := readCodes(t)
	for _, e := range wire.Catalogue() {
		ran := slices.ContainsFunc(s.made[e.Code], func(at token.Position) bool { return blocks.ran(at) })
		if !ran {
			t.Errorf("%d %s: no statement that makes it ran in the named tests; it is made at %v", e.Code, s.names[e.Code], s.made[e.Code])
		}
	}
}

func readProfile(t *testing.T, file string) profile {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := profile{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ".go:")
		if !ok {
			continue // "mode: set"
		}
		var b block
		var statements, count int
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &b.fromLine, &b.fromColumn, &b.toLine, &b.toColumn, &statements, &count); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		name = strings.TrimPrefix(name, module+"/") + ".go"
		if p[name] == nil {
			p[name] = map[block]int{}
		}
		p[name][b] += count
	}
	if err := lines.Err(); err != nil || len(p) == 0 {
		t.Fatalf("coverage of %d files: %v", len(p), err)
	}
	return p
}
