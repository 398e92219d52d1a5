package attack

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// foreignConstants are those that patterns take from other packages.
var foreignConstants = map[string]string{"wire.RegisterPath": wire.RegisterPath, "wire.RevocationsPath": wire.RevocationsPath,
	"wire.DevicePath": wire.DevicePath, "wire.DevicePollPath": wire.DevicePollPath}

// mounts are patterns that hand on to others which are listed themselves, and the page for everything else.
var mounts = []string{"/t/{tenant}/signin/", "/t/{tenant}/signed-out", "/t/{tenant}/.well-known/", "/t/{tenant}/oauth2/", "/t/{tenant}/register", "/t/{tenant}/register/", "/"}

// routes reads every pattern that the service's packages register, from their sources: first arguments of Handle and HandleFunc, and
// the keys of the admin API's table. A pattern that it cannot read fails the test, so that none is missed.
func routes(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("../../service", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			r := reader{t: t, where: path + " " + f.Name.Name, values: map[string][]string{}}
			ast.Inspect(f.Body, r.names)
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if s, ok := n.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "Handle" || s.Sel.Name == "HandleFunc") && !r.table(n.Args[0]) {
						found = append(found, r.read(n.Args[0])...)
					}
				case *ast.CompositeLit:
					if m, ok := n.Type.(*ast.MapType); ok && fmt.Sprint(m.Value) == "handler" {
						for _, e := range n.Elts {
							found = append(found, r.read(e.(*ast.KeyValueExpr).Key)...)
						}
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found = slices.DeleteFunc(found, func(p string) bool { return slices.Contains(mounts, p) })
	slices.Sort(found)
	return slices.Compact(found)
}

// reader knows the constants and the ranges over literal maps of one function.
type reader struct {
	t      *testing.T
	where  string
	values map[string][]string
}

// names notes what a name of the function can stand for.
func (r reader) names(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) {
				if v := r.fold(n.Values[i]); v != nil {
					r.values[name.Name] = v
				}
			}
		}
	case *ast.RangeStmt:
		key, ok := n.Key.(*ast.Ident)
		literal, isLiteral := n.X.(*ast.CompositeLit)
		if !ok || !isLiteral {
			return true
		}
		var keys []string
		for _, e := range literal.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				keys = append(keys, r.fold(kv.Key)...)
			}
		}
		r.values[key.Name] = keys
	}
	return true
}

// table reports whether a pattern is the variable of a loop over the admin API's table, whose keys are read where they stand.
func (r reader) table(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "pattern" && strings.HasSuffix(r.where, "admin.go Routes")
}

func (r reader) read(e ast.Expr) []string {
	r.t.Helper()
	v := r.fold(e)
	if len(v) == 0 {
		r.t.Fatalf("%s registers a pattern that this test cannot read: write it as a constant", r.where)
	}
	return v
}

// fold returns the strings that an expression can be; none when it is no string constant.
func (r reader) fold(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return []string{s}
		}
	case *ast.Ident:
		return r.values[e.Name]
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok {
			if s, ok := foreignConstants[pkg.Name+"."+e.Sel.Name]; ok {
				return []string{s}
			}
		}
	case *ast.BinaryExpr:
		var all []string
		for _, left := range r.fold(e.X) {
			for _, right := range r.fold(e.Y) {
				all = append(all, left+right)
			}
		}
		return all
	}
	return nil
}

func TestRoutesAreRead(t *testing.T) {
	all := routes(t)
	for _, p := range []string{"GET /t/{tenant}/signin/{journey}", "OPTIONS /t/{tenant}/oauth2/token", wire.RegisterPath,
		"POST /admin/v1/tenants/{tenant}/agents/{agent}/revoke", "GET /healthz"} {
		if !slices.Contains(all, p) {
			t.Errorf("%s was not found", p)
		}
	}
	if len(all) < 60 {
		t.Errorf("%d routes", len(all))
	}
	t.Log(strings.Join(all, "\n"))
}
