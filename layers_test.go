package sallyport_test

import (
	"bufio"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sallyport-auth/sallyport"

// table is DESIGN.md's import table: package to the packages of this module that it may import. "x/..." stands for x and
// everything below it.
type table map[string][]string

// readTable reads the fenced block that follows the line "<!-- import table -->" in DESIGN.md. A line is
// "package: allowed allowed", or "package: nothing".
func readTable(t *testing.T) table {
	t.Helper()
	f, err := os.Open("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rules := table{}
	inside, marked := false, false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "<!-- import table -->":
			marked = true
		case marked && line == "```" && inside:
			return rules
		case marked && strings.HasPrefix(line, "```"):
			inside = true
		case inside && line != "":
			name, allowed, ok := strings.Cut(line, ":")
			if !ok {
				t.Fatalf("DESIGN.md: import table: %q is not \"package: imports\"", line)
			}
			rules[name] = nil
			if allowed := strings.TrimSpace(allowed); allowed != "nothing" {
				rules[name] = strings.Fields(allowed)
			}
		}
	}
	t.Fatal("DESIGN.md has no import table")
	return nil
}

// may reports whether the table lets pkg import dep.
func (rules table) may(pkg, dep string) bool {
	return slices.ContainsFunc(rules[pkg], func(a string) bool {
		prefix, tree := strings.CutSuffix(a, "/...")
		return dep == a || tree && (dep == prefix || strings.HasPrefix(dep, prefix+"/"))
	})
}

// violations lists every import within the module that the table does not allow, and every package and row without a partner.
func violations(rules table, imports map[string][]string) []string {
	var out []string
	for pkg, deps := range imports {
		if _, ok := rules[pkg]; !ok {
			out = append(out, pkg+" is not in DESIGN.md's import table")
			continue
		}
		slices.Sort(deps)
		for _, dep := range slices.Compact(deps) {
			if !rules.may(pkg, dep) {
				out = append(out, fmt.Sprintf("%s may not import %s", pkg, dep))
			}
		}
	}
	for pkg := range rules {
		if _, ok := imports[pkg]; !ok {
			out = append(out, "DESIGN.md's import table has a row for "+pkg+", which does not exist")
		}
	}
	slices.Sort(out)
	return out
}

// packages reads the imports of every package of the module, for every operating system that we build for; test files are
// free. Both the module's own imports (relative to its root) and all others are returned.
func packages(t *testing.T) (own, foreign map[string][]string) {
	t.Helper()
	own, foreign = map[string][]string{}, map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools") {
			return filepath.SkipDir
		}
		for _, system := range []string{"linux", "windows"} {
			context := build.Default
			context.GOOS, context.CgoEnabled = system, false
			pkg, err := context.ImportDir(path, 0)
			if err != nil || len(pkg.GoFiles) == 0 {
				continue
			}
			name := filepath.ToSlash(path)
			if _, seen := own[name]; !seen {
				own[name] = nil
			}
			for _, dep := range pkg.Imports {
				if rel, ok := strings.CutPrefix(dep, module+"/"); ok {
					own[name] = append(own[name], rel)
				} else {
					foreign[name] = append(foreign[name], dep)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return own, foreign
}

func TestImportsFollowTheTable(t *testing.T) {
	own, _ := packages(t)
	if len(own) < 20 {
		t.Fatalf("only %d packages were found: the walk is broken", len(own))
	}
	for _, v := range violations(readTable(t), own) {
		t.Error(v)
	}
}

func TestPlantedImportIsCaught(t *testing.T) {
	rules := table{"agent": {"wire"}, "service": {"service/...", "wire"}, "service/oidc": {"service/web"}, "service/web": nil, "wire": nil}
	planted := map[string][]string{
		"agent": {"wire", "service/db"}, "service": {"service/oidc", "wire"}, "service/oidc": {"agent"}, "wire": nil, "stray": nil,
	}
	want := []string{
		"DESIGN.md's import table has a row for service/web, which does not exist",
		"agent may not import service/db",
		"service/oidc may not import agent",
		"stray is not in DESIGN.md's import table",
	}
	if got := violations(rules, planted); !slices.Equal(got, want) {
		t.Errorf("violations:\n got %q\nwant %q", got, want)
	}
}

// reaches returns everything that pkg imports, near or far, within the module and directly outside it.
func reaches(pkg string, own, foreign map[string][]string) map[string]bool {
	seen, all := map[string]bool{}, map[string]bool{}
	var visit func(string)
	visit = func(p string) {
		if seen[p] {
			return
		}
		seen[p] = true
		for _, dep := range foreign[p] {
			all[dep] = true
		}
		for _, dep := range own[p] {
			all[dep] = true
			visit(dep)
		}
	}
	visit(pkg)
	return all
}

// TestTrustBoundary holds the two rules that no table row may ever loosen.
func TestTrustBoundary(t *testing.T) {
	own, foreign := packages(t)
	for _, rule := range []struct{ program, forbidden, why string }{
		{"cmd/sallyport-agent", "database/sql", "the agent keeps no database"},
		{"cmd/sallyport-agent", "html/template", "the agent has no pages"},
		{"cmd/sallyport-agent", module + "/service", "the agent is not the service"},
		{"cmd/sallyport-agent", "modernc.org/sqlite", "the agent keeps no database"},
		{"cmd/sallyport-agent", "github.com/jackc/pgx", "the agent keeps no database"},
		{"cmd/sallyport-agent", "github.com/nats-io", "brokers are never exposed to agents"},
		{"service", "github.com/go-ldap", "the service never speaks to a directory"},
		{"service", "github.com/go-asn1-ber", "the service never speaks to a directory"},
		{"service", "agent", "the service is not the agent"},
		{"cmd/sallyport-sample-app", "wire", "the sample application is an ordinary client"},
	} {
		for dep := range reaches(rule.program, own, foreign) {
			if full := module + "/" + dep; strings.HasPrefix(dep, rule.forbidden) || strings.HasPrefix(full, rule.forbidden) {
				t.Errorf("%s reaches %s: %s", rule.program, dep, rule.why)
			}
		}
	}
	for _, only := range []struct{ dep, holder string }{
		{"modernc.org/sqlite", "service/db"}, {"github.com/jackc/pgx", "service/db"}, {"github.com/nats-io", "service/queue"},
		{"github.com/go-jose", "service/keyring"}, {"golang.org/x/crypto/argon2", "service/password"}, {"crypto/hpke", "envelope"},
	} {
		for pkg, deps := range foreign {
			for _, dep := range deps {
				if strings.HasPrefix(dep, only.dep) && pkg != only.holder && !strings.HasPrefix(pkg, only.holder+"/") {
					t.Errorf("%s imports %s, which belongs to %s alone", pkg, dep, only.holder)
				}
			}
		}
	}
}

func TestNoAtticPackages(t *testing.T) {
	own, _ := packages(t)
	for pkg := range own {
		switch name := filepath.Base(pkg); name {
		case "util", "utils", "common", "helpers", "manager", "models", "types", "misc":
			t.Errorf("%s is named for no duty", pkg)
		}
	}
}
