package sallyport_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var rfc = regexp.MustCompile(`RFC [0-9]{4,5}(bis)?`)

// TestSpecs holds docs/specs.txt to its form and to the tree: every line has its four parts, every place is a package, and every
// RFC that code cites is listed.
func TestSpecs(t *testing.T) {
	raw, err := os.ReadFile("docs/specs.txt")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(raw)) {
		parts := strings.Split(strings.TrimRight(line, "\n"), " | ")
		if len(parts) == 1 {
			continue // a heading or the introduction
		}
		if len(parts) != 4 || slices.Contains(parts, "") {
			t.Errorf("not verdict | document | places | what: %q", line)
			continue
		}
		verdict, document := strings.TrimSpace(parts[0]), parts[1]
		if !slices.Contains([]string{"yes", "partly", "no"}, verdict) || verdict != "no" && parts[2] == "-" {
			t.Errorf("%s: %q at %q", document, verdict, parts[2])
		}
		listed = append(listed, rfc.FindString(document))
		for _, place := range strings.Fields(parts[2]) {
			if files, err := filepath.Glob(filepath.Join(place, "*.go")); place != "-" && (err != nil || len(files) == 0) {
				t.Errorf("%s: %s is no package", document, place)
			}
		}
	}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, cited := range rfc.FindAllString(string(text), -1) {
			if !slices.Contains(listed, cited) {
				t.Errorf("%s cites %s, which docs/specs.txt does not list", path, cited)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
