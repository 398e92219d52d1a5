//go:build codes

package sallyport_test

import (
	"bufio"
	"fmt"
	"go/token"
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

// profile says of every file how often each block ran.
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
	s := readCodes(t)
	programs, profiles := map[string]string{}, map[string]profile{}
	for _, e := range wire.Catalogue() {
		where := reachedBy[e.Code]
		pkg, name, _ := strings.Cut(where, ".")
		if programs[pkg] == "" {
			programs[pkg] = compile(t, pkg)
		}
		if profiles[where] == nil {
			profiles[where] = run(t, programs[pkg], pkg, name)
		}
		if !slices.ContainsFunc(s.made[e.Code], profiles[where].ran) {
			t.Errorf("%d %s: no statement that makes it ran in %s; it is made at %v", e.Code, s.names[e.Code], where, s.made[e.Code])
		}
	}
}

// compile builds the tests of a package with coverage of the product.
func compile(t *testing.T, pkg string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-cover", "-coverpkg=./agent/...,./service/...,./cmd/...", "-o", program, "./"+pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", pkg, err, out)
	}
	return program
}

// run runs one test, which must pass and not be skipped.
func run(t *testing.T, program, pkg, name string) profile {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile")
	test := exec.CommandContext(t.Context(), program, "-test.v", "-test.run=^"+name+"$", "-test.timeout=5m", "-test.coverprofile="+file)
	test.Dir = pkg
	out, err := test.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+name+" ") {
		t.Fatalf("%s in %s did not pass: %v\n%s", name, pkg, err, out)
	}
	return readProfile(t, file)
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
