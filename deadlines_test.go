package sallyport_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// constants reads the durations of a package's defaults.go. Service and agent may not import each other, so that no package can see them all.
func constants(t *testing.T, pkg string) map[string]time.Duration {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.Join(pkg, "defaults.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A stand-in for package time, and all other imports without anything in them.
	units := types.NewPackage("time", "time")
	for name, d := range map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour} {
		units.Scope().Insert(types.NewConst(token.NoPos, units, name, types.Typ[types.UntypedInt], constant.MakeInt64(int64(d))))
	}
	units.MarkComplete()
	checked := types.Config{Error: func(error) {}, Importer: importer(func(path string) (*types.Package, error) {
		if path == "time" {
			return units, nil
		}
		empty := types.NewPackage(path, filepath.Base(path))
		empty.MarkComplete()
		return empty, nil
	})}
	p, _ := checked.Check(pkg, files, []*ast.File{file}, nil) // constants of other packages are missing, and are not asked for
	all := map[string]time.Duration{}
	for _, name := range p.Scope().Names() {
		if c, ok := p.Scope().Lookup(name).(*types.Const); ok && c.Val().Kind() == constant.Int {
			n, _ := constant.Int64Val(c.Val())
			all[name] = time.Duration(n)
		}
	}
	return all
}

type importer func(string) (*types.Package, error)

func (f importer) Import(path string) (*types.Package, error) { return f(path) }

// TestDeadlinesFit holds the times of one check to one another, over all packages that have a part in it; DESIGN.md has the table.
func TestDeadlinesFit(t *testing.T) {
	of := map[string]map[string]time.Duration{}
	at := func(name string) time.Duration {
		t.Helper()
		pkg, constant, _ := strings.Cut(name, ".")
		if of[pkg] == nil {
			of[pkg] = constants(t, pkg)
		}
		d, ok := of[pkg][constant]
		if !ok || d <= 0 {
			t.Fatalf("%s is not a time", name)
		}
		return d
	}
	const (
		ldap, krb, locate, queue = "agent/directory/ldap.", "agent/directory/kerberos.", "agent/directory/locate.", "service/queue."
		trip                     = 250 * time.Millisecond // a way from one side to the other and back, on a bad day
	)
	for _, c := range []struct {
		why         string
		least, most time.Duration
	}{
		{"the agent gives up before the service does: the fence", at("agent.fenceWithin") + trip, at(queue + "fenceWithin")},
		{"a validator by itself is no more patient: LDAP", at(ldap + "fenceWithin"), at("agent.fenceWithin")},
		{"a validator by itself is no more patient: Kerberos", at(krb + "beforeFence"), at("agent.fenceWithin")},
		{"a validator by itself is no more patient: Windows", at("agent/directory/windows.beforeFence"), at("agent.fenceWithin")},
		{"a server that is silent leaves time for another and its guard", at(ldap+"patience") + at(ldap+"defaultDialTimeout") + at(ldap+"readTimeout"), at(ldap + "fenceWithin")},
		{"a silent name server and a lost SYN leave time for TLS and an answer", at(locate+"nameFor") + at(locate+"againAfter") + trip, min(at(ldap+"defaultDialTimeout"), at(krb+"defaultDialTimeout"))},
		{"bind and attributes", at(ldap+"defaultBindTimeout") + at(ldap+"attributesTimeout"), at(queue + "answerWithin")},
		{"the KDC's answer", at(krb+"defaultAnswerTimeout") + trip, at(queue + "answerWithin")},
		{"the agent's check lasts until the service has given up", at(queue+"fenceWithin") + at(queue+"answerWithin"), at("agent.checkTimeout")},
		{"the service's word on a fence: other guesses, and the database", at("service/password.joinWithin") + trip/2, at("service/password.holdWithin")},
		{"the service's word on a fence is heard", at("service/password.holdWithin") + trip, at(queue + "fenceReplyWithin")},
		{"one delivery fits into what a person waits", at(queue+"ackWithin") + at(queue+"fenceWithin") + at(queue+"answerWithin"), at("service/password.overall")},
		{"an agent that hands over leaves time for another try", at(queue+"ackWithin") + at(queue+"fenceWithin") + at("service/password.leastTry"), at("service/password.overall") - at("service/password.askWithin")},
		{"the slot stays taken until an abandoned check has ended", at("agent.checkTimeout") - at(queue+"fenceWithin"), at("service/gateway.linger")},
		{"asking the directory which domain it is", at(ldap + "fenceWithin"), at("agent/link.proveWithin")},
	} {
		if c.least > c.most {
			t.Errorf("%s: %v do not fit into %v", c.why, c.least, c.most)
		}
	}
}
