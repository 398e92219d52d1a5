package sallyport_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

var update = flag.Bool("update", false, "write generated documents instead of comparing them")

//go:generate go test -run TestErrorsPage . -update

// errorsPage is docs/errors.md as the catalogue demands it.
func errorsPage() []byte {
	var b bytes.Buffer
	b.WriteString("# Errors\n\nGenerated from the catalogue in `wire/catalogue.go` (`make generate`). Numbers below 90000 mean what they mean in " +
		"Microsoft Entra;\nours begin at 90000. The first sentence is all that a person sees; the page adds the number and a trace id, which " +
		"finds the\nsign-in in the log. Causes that would tell a stranger something about an account share one page, with 50126 on it.\n")
	for _, e := range wire.Catalogue() {
		fmt.Fprintf(&b, "\n## %d %s\n\n> %s\n\n%s\n\n**What to do.** %s\n", e.Code, e.Name, e.Public, e.Meaning, e.Remedy)
	}
	return b.Bytes()
}

func TestErrorsPage(t *testing.T) {
	const name = "docs/errors.md"
	if *update {
		if err := os.WriteFile(name, errorsPage(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, errorsPage()) {
		t.Errorf("%s is not what the catalogue says: run make generate", name)
	}
}

// TestLinksLead follows every relative link of every Markdown file.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	links := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllSubmatch(text, -1) {
				links++
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), string(m[1]))); err != nil {
					t.Errorf("%s links to %s, which does not exist", file, m[1])
				}
			}
		}
	}
	if links < 5 {
		t.Errorf("only %d links were found: the pattern is broken", links)
	}
}

// TestCatalogueIsWhole: every number has its texts, once, in order, and the public sentence gives nothing away.
func TestCatalogueIsWhole(t *testing.T) {
	last := wire.Code(0)
	for _, e := range wire.Catalogue() {
		if e.Code <= last {
			t.Errorf("%d does not come after %d", e.Code, last)
		}
		last = e.Code
		if e.Name == "" || e.Public == "" || e.Meaning == "" || e.Remedy == "" {
			t.Errorf("%d lacks a text", e.Code)
		}
		for _, word := range []string{"Active Directory", "LDAP", "locked", "disabled", "domain controller", "tenant"} {
			if strings.Contains(e.Public, word) {
				t.Errorf("%d: the public sentence says %q", e.Code, word)
			}
		}
	}
}
