package sallyport_test

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Bounds of a kept corpus: it is for reviewers to read and for every go test to run.
const (
	maxKept      = 40
	maxKeptBytes = 8 << 10
)

// TestEveryFuzzTargetHasACorpus: a Fuzz function that nobody has let run, or whose findings were thrown away, fails, and so does a
// corpus whose target is gone. tools/fuzz/keep.sh makes the corpora.
func TestEveryFuzzTargetHasACorpus(t *testing.T) {
	set, targets := token.NewFileSet(), map[string]bool{}
	var corpora []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "tools"):
			return filepath.SkipDir
		case d.IsDir() && filepath.Base(filepath.Dir(path)) == "fuzz":
			corpora = append(corpora, path)
		case strings.HasSuffix(path, "_test.go"):
			for _, decl := range readFile(t, set, path).Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
					targets[filepath.Join(filepath.Dir(path), "testdata", "fuzz", fn.Name.Name)] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(targets) < 50 {
		t.Fatalf("only %d targets were found: the walk is broken", len(targets))
	}
	for corpus := range targets {
		entries, err := os.ReadDir(corpus)
		if err != nil || len(entries) == 0 || len(entries) > maxKept {
			t.Errorf("%s keeps %d inputs (%v): let it run (tools/fuzz/run.sh), then keep what it found (tools/fuzz/keep.sh)", corpus, len(entries), err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(corpus, e.Name()))
			if err != nil || !strings.HasPrefix(string(text), "go test fuzz v1\n") || len(text) > maxKeptBytes {
				t.Errorf("%s: %s is no input of at most %d bytes: %v", corpus, e.Name(), maxKeptBytes, err)
			}
		}
	}
	for _, corpus := range corpora {
		if !targets[corpus] {
			t.Errorf("%s belongs to no target", corpus)
		}
	}
}
