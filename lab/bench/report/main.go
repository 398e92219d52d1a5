// Command report puts the figures of a run of benchmarks into a Markdown page, so that no figure is copied by hand:
//
//	go test -run '^$' -bench . ./lab/bench | go run ./lab/bench/report docs/benchmarks.md
//
// On the page, what stands between a line such as
//
//	<!-- figures Checks: %of-direct direct/s through/s -->
//
// and the next "<!-- end -->" is replaced by a table with a row for each sub-benchmark of BenchmarkChecks and a column for each unit, in
// that order. "<!-- machine -->" is followed by where and when the run was made. A benchmark that did not run keeps its old table.
// "<!-- plot Spread spread.svg: agent-1-% agent-2-% -->" has the same figures drawn as bars into that file beside the page.
// It refuses to touch the page when the input has no figures.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: report PAGE.md < output of go test -bench")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(page string, in io.Reader) error {
	r, err := read(in)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	if err := r.draw(page, string(old)); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(r.fill(string(old), machine(r.cpu))), 0o644)
}

// result is one line: the name below the benchmark's, and a value for each unit.
type result struct {
	name   string
	values map[string]float64
}

// results are those of one run, by the benchmark's name.
type results struct {
	cpu string
	of  map[string][]result
}

// line is "BenchmarkChecks/samba/8-2  3000  98.1 %of-direct …".
var line = regexp.MustCompile(`^Benchmark([^/\s]+?)(?:/(\S+?))?(?:-\d+)?\s+\d+\s+(.+)$`)

// read reads the output of go test.
func read(in io.Reader) (results, error) {
	r := results{of: map[string][]result{}}
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		if cpu, ok := strings.CutPrefix(scanner.Text(), "cpu: "); ok {
			r.cpu = cpu
		}
		m := line.FindStringSubmatch(scanner.Text())
		if m == nil {
			continue
		}
		one := result{m[2], map[string]float64{}}
		fields := strings.Fields(m[3])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return results{}, fmt.Errorf("%q: %w", scanner.Text(), err)
			}
			one.values[fields[i+1]] = v
		}
		r.of[m[1]] = append(r.of[m[1]], one)
	}
	if err := scanner.Err(); err != nil {
		return results{}, err
	}
	if len(r.of) == 0 {
		return results{}, errors.New("there are no figures in the input")
	}
	return r, nil
}

// figures begins a table on the page.
var figures = regexp.MustCompile(`^<!-- figures (\S+): (.+) -->$`)

const (
	machineMark = "<!-- machine -->"
	endMark     = "<!-- end -->"
)

// fill returns the page with the figures in it.
func (r results) fill(page, machine string) string {
	var out []string
	skipping := false
	for _, l := range strings.Split(page, "\n") {
		switch m := figures.FindStringSubmatch(l); {
		case l == endMark:
			skipping = false
			out = append(out, l)
		case skipping:
		case l == machineMark && r.cpu != "":
			out = append(out, l, machine)
			skipping = true
		case m != nil && len(r.of[m[1]]) > 0:
			out = append(append(out, l), table(r.of[m[1]], strings.Fields(m[2]))...)
			skipping = true
		default:
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// table is a Markdown table; what a benchmark did not report is a dash.
func table(rows []result, units []string) []string {
	out := []string{"| | " + strings.Join(units, " | ") + " |", "|---|" + strings.Repeat("---:|", len(units))}
	for _, row := range rows {
		cells := []string{strings.ReplaceAll(row.name, "/", ", ")}
		for _, unit := range units {
			v, ok := row.values[unit]
			if !ok {
				cells = append(cells, "–")
				continue
			}
			cells = append(cells, round(v))
		}
		out = append(out, "| "+strings.Join(cells, " | ")+" |")
	}
	return out
}

// round keeps three digits, and all of a large number.
func round(v float64) string {
	if v >= 100 || v <= -100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// machine says where and when.
func machine(cpu string) string {
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s, %s, %d cores, %s, commit %s, %s.", cpu, runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.TrimSpace(string(commit)), time.Now().UTC().Format(time.DateOnly))
}
