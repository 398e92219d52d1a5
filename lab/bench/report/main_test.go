package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `goos: linux
cpu: A Processor
BenchmarkChecks/samba/8-2         	    3000	        98.15 %of-direct	       313.2 direct/s	  0 ns/op
BenchmarkChecks/samba/16-2        	    3000	        99.3 %of-direct
BenchmarkIdle-2                   	     100	        17.5 agent-MB
PASS
`

const page = `# Figures
<!-- machine -->
old
<!-- end -->
<!-- figures Checks: %of-direct direct/s -->
old
<!-- end -->
<!-- figures Idle: agent-MB -->
<!-- end -->
<!-- figures Absent: x -->
kept
<!-- end -->
done
`

const filled = `# Figures
<!-- machine -->
here
<!-- end -->
<!-- figures Checks: %of-direct direct/s -->
| | %of-direct | direct/s |
|---|---:|---:|
| samba, 8 | 98.2 | 313 |
| samba, 16 | 99.3 | – |
<!-- end -->
<!-- figures Idle: agent-MB -->
| | agent-MB |
|---|---:|
|  | 17.5 |
<!-- end -->
<!-- figures Absent: x -->
kept
<!-- end -->
done
`

func TestFill(t *testing.T) {
	r, err := read(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.fill(page, "here"); got != filled {
		t.Errorf("got:\n%s", got)
	}
	if again := r.fill(filled, "here"); again != filled {
		t.Errorf("a second time:\n%s", again)
	}
}

// TestNoFigures: a run that failed leaves the page as it is.
func TestNoFigures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(file, strings.NewReader("FAIL\n")); err == nil {
		t.Error("no error for a run without figures")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != page {
		t.Errorf("the page is now %q, %v", got, err)
	}
}

func TestDraw(t *testing.T) {
	r, err := read(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	if err := r.draw(page, "x\n<!-- plot Checks checks.svg: %of-direct direct/s -->\n<!-- plot Absent absent.svg: x -->\n"); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "checks.svg"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Texts []string `xml:"text"`
		Bars  []struct {
			Width string `xml:"width,attr"`
		} `xml:"rect"`
	}
	if err := xml.Unmarshal(svg, &parsed); err != nil {
		t.Fatal(err)
	}
	// The ground, two keys, two groups of two bars; the largest fills the width.
	if got := strings.Join(parsed.Texts, "|"); len(parsed.Bars) != 7 || parsed.Bars[4].Width != "420.0" || !strings.Contains(got, "samba, 8") || !strings.Contains(got, "98.2") {
		t.Errorf("%s", svg)
	}
	if _, err := os.Stat(filepath.Join(dir, "absent.svg")); err == nil {
		t.Error("a benchmark that did not run is drawn")
	}
}
