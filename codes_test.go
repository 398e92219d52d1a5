package sallyport_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// reachedBy names for every number of the catalogue a test that brings the product to say it: "package.Test".
//
// TestEveryCodeIsReached holds the list to the sources: every number has a row, the test exists and names the number (as a
// constant or in digits) within its own body, and some statement of the product makes it. That proves that nothing in the
// catalogue is dead and that somebody wrote down what to expect; not that the expectation is met.
//
// TestNamedTestsMakeTheirCodes (build tag codes, a step of tools/test/run.sh) proves the rest: it runs each named test, which must
// pass, and looks in its coverage whether a statement that makes the number ran. It does not prove that every way to a number is
// tested.
var reachedBy = map[wire.Code]string{
	wire.UserNotFound:          "service/password.TestCloudUsers",
	wire.AccountLockedOut:      "service/password.TestSmartLockoutKeepsTheDirectoryOut",
	wire.AccountIsDisabled:     "service/password.TestDisabledHere",
	wire.NoSession:             "service/oidc.TestSilent",
	wire.InvalidPassword:       "service/signin.TestWithPackagePassword",
	wire.DomainUnknown:         "service/password.TestRefusedBeforeAnybodyIsAsked",
	wire.DirectoryPassword:     "service/password.TestEveryVerdict",
	wire.NoAgent:               "service/queue.TestAskAndOffer",
	wire.DirectoryTimeout:      "agent/directory/ldap.TestLostAfterTheBindWasSent",
	wire.DirectoryUnusable:     "agent/directory/ldap.TestLostAfterTheBindWasSent",
	wire.TransientNetwork:      "service/queue.TestBrokerAway",
	wire.DirectoryUnreachable:  "agent/directory/ldap.TestNoServer",
	wire.EnvelopeUnreadable:    "agent.TestRefusals",
	wire.OutsideLogonHours:     "service/password.TestEveryVerdict",
	wire.ClockSkew:             "service/ca.TestVerifySaysWhy",
	wire.AgentTooSlow:          "agent/directory/ldap.TestWaitingForAConnectionIsBounded",
	wire.Internal:              "service/admin.TestInternalFailureIsLogged",
	wire.BadRequest:            "service/admin.TestBodies",
	wire.JourneyUnknown:        "service/signin.TestExpired",
	wire.CrossSite:             "service/signin.TestCrossSitePosts",
	wire.TenantUnknown:         "service/signin.TestAnotherBrowserGetsNothing",
	wire.AppUnknown:            "service/oidc.TestRefusedAuthorize",
	wire.RedirectUnknown:       "service/oidc.TestRefusedAuthorize",
	wire.TooManyRequests:       "service/gateway.TestRegisterIsLimitedByAddress",
	wire.NotFound:              "service/tenant.TestTenants",
	wire.Conflict:              "service/tenant.TestTenants",
	wire.Forbidden:             "service/admin.TestEveryRouteIsGuarded",
	wire.Unauthenticated:       "cmd/sallyport.TestAdminTokens",
	wire.LostAfterFence:        "service/password.TestHandOver",
	wire.AgentsBusy:            "service/gateway.TestOverload",
	wire.AnswerForged:          "service/password.TestAnswersThatProveNothing",
	wire.AgentRefused:          "agent.TestOverheardGo",
	wire.EnvelopeStale:         "agent.TestRefusals",
	wire.EnvelopeReplayed:      "agent.TestReplay",
	wire.EnvelopeForeign:       "agent.TestRefusals",
	wire.AgentRateLimited:      "agent.TestLimitsRefuse",
	wire.PasswordUnusable:      "agent.TestRefusals",
	wire.CertificateForeign:    "service/gateway.TestWhyAnAgentIsRefusedIsToldInWords",
	wire.CertificateExpired:    "service/gateway.TestWhyAnAgentIsRefusedIsToldInWords",
	wire.AgentRevoked:          "service/gateway.TestWhyAnAgentIsRefusedIsToldInWords",
	wire.AgentUnknown:          "service/gateway.TestWhyAnAgentIsRefusedIsToldInWords",
	wire.VersionUnsupported:    "service/gateway.TestHello",
	wire.EnrolTokenInvalid:     "service/gateway.TestRegisterRefuses",
	wire.EnrolRequestInvalid:   "service/gateway.TestRegisterRefuses",
	wire.GatewayDraining:       "service/gateway.TestDrainLosesNothingInFlight",
	wire.AgentReplaced:         "service/gateway.TestASecondStreamReplacesTheFirst",
	wire.AccountRestrictedCode: "service/password.TestEveryVerdict",
	wire.AccountExpiredCode:    "service/password.TestEveryVerdict",
	wire.WorkstationRefused:    "service/password.TestEveryVerdict",
	wire.IdentityUnproven:      "service/password.TestNobodyIsLetInAsAnother",
	wire.AgentLimit:            "service/fleet.TestLimit",
	wire.LockoutSpared:         "agent/directory/ldap.TestGuardSparesTheAttemptThatLocks",
	wire.AccountProtected:      "agent/directory/ldap.TestGuardProtects",
	wire.LockoutMisordered:     "service/gateway.TestLockoutTheWrongWayRound",
	wire.ReaderRefused:         "agent/directory/ldap.TestGuardWithoutReader",
	wire.NameAmbiguous:         "agent/directory/ldap.TestSignInByAnotherAttribute",
	wire.NameNotLookedUp:       "agent/directory/ldap.TestSignInByAnotherAttribute",
	wire.KeyStoreRefused:       "service/fleet.TestKeysInHardwareAreDemanded",
	wire.HostCredulous:         "agent/directory/windows.TestSelfCheck",
	wire.VerdictsDisagree:      "service/password.TestRogueAgents",
	wire.YesUnconfirmed:        "service/password.TestUnconfirmed",
	wire.AgentQuarantined:      "service/gateway.TestCopyOnAnotherGateway",
	wire.IdentityOlder:         "service/fleet.TestRenewalSwitchesWhenTheAgentComes",
	wire.CertificateSuperseded: "service/fleet.TestRenewalSwitchesWhenTheAgentComes",
	wire.FormerUnproven:        "service/fleet.TestAgain",
	wire.LogBroken:             "service/reglog.TestTamperedRows",
	wire.LogExportFailed:       "service/reglog.TestExportResumes",
	wire.DirectoryForeign:      "service/fleet.TestProve",
	wire.HostTaken:             "service/fleet.TestOneAgentAHost",
	wire.CanaryAccepted:        "service/canary.TestJudge",
	wire.CanaryRefused:         "service/canary.TestJudge",
	wire.Overloaded:            "service/gateway.TestOverloadAndDeadlines",
	wire.AgentPending:          "service/fleet.TestApproval",
	wire.EnrolHostRefused:      "service/fleet.TestTokenOfOnePlace",
	wire.EnrolAddressRefused:   "service/fleet.TestTokenOfOnePlace",
	wire.RegistrationDenied:    "service/gateway.TestCodes",
	wire.RegistrationExpired:   "service/gateway.TestCodes",
	wire.SecondNeeded:          "service/fleet.TestApproval",
	wire.Undelivered:           "service/notify.TestFailuresAreTriedAgain",
}

func TestEveryCodeIsReached(t *testing.T) {
	s := readCodes(t)
	for _, e := range wire.Catalogue() {
		name := s.names[e.Code]
		if len(s.made[e.Code]) == 0 {
			t.Errorf("%d %s: nothing in the product makes it", e.Code, name)
		}
		where, ok := reachedBy[e.Code]
		if !ok {
			t.Errorf("%d %s: no test is named that reaches it", e.Code, name)
			continue
		}
		body, ok := s.tests[where]
		if !ok {
			t.Errorf("%d %s: there is no test %s", e.Code, name, where)
		} else if !mentions(body, name, e.Code) {
			t.Errorf("%d %s: %s does not name it", e.Code, name, where)
		}
	}
	if len(reachedBy) != len(wire.Catalogue()) {
		t.Errorf("%d numbers are reached, the catalogue has %d", len(reachedBy), len(wire.Catalogue()))
	}
}

// codeSources is what the sources say of numbers.
type codeSources struct {
	names map[wire.Code]string           // constants of wire/code.go
	made  map[wire.Code][]token.Position // where the product makes a number, with paths relative to the root
	tests map[string]*ast.BlockStmt      // test functions by "package.Test"
}

func readCodes(t *testing.T) codeSources {
	t.Helper()
	s := codeSources{map[wire.Code]string{}, map[wire.Code][]token.Position{}, map[string]*ast.BlockStmt{}}
	set := token.NewFileSet()
	byName := map[string]wire.Code{}
	catalogued := readFile(t, set, "wire/code.go")
	ast.Inspect(catalogued, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == token.INT {
			var code wire.Code
			if _, err := fmt.Sscan(value.Value, &code); err != nil {
				t.Fatal(err)
			}
			byName[spec.Names[0].Name], s.names[code] = code, spec.Names[0].Name
		}
		return true
	})
	for _, e := range wire.Catalogue() {
		if s.names[e.Code] == "" {
			t.Fatalf("wire/code.go has no constant for %d: the reader is broken", e.Code)
		}
	}
	if len(s.names) != len(wire.Catalogue()) {
		t.Errorf("wire/code.go has %d numbers, the catalogue %d", len(s.names), len(wire.Catalogue()))
	}
	for _, root := range []string{"agent", "service", "cmd"} {
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(file) != ".go" {
				return err
			}
			f := readFile(t, set, file)
			switch pkg := path.Dir(filepath.ToSlash(file)); {
			case strings.HasSuffix(file, "_test.go"):
				for _, d := range f.Decls {
					if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
						s.tests[pkg+"."+fn.Name.Name] = fn.Body
					}
				}
			case !strings.HasSuffix(pkg, "test"): // the fakes of a package live in packagetest
				for _, use := range made(f) {
					if code, ok := byName[use.Sel.Name]; ok {
						s.made[code] = append(s.made[code], set.Position(use.Pos()))
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func readFile(t *testing.T, set *token.FileSet, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// made returns the names of package wire that a file uses, leaving out those that only look at a number that somebody else has
// made: the cases of a switch, comparisons, and questions to faults and to the catalogue.
func made(f *ast.File) (uses []*ast.SelectorExpr) {
	var visit func(n ast.Node) bool
	each := func(list []ast.Stmt) {
		for _, s := range list {
			ast.Inspect(s, visit)
		}
	}
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CaseClause:
			each(n.Body)
			return false
		case *ast.BinaryExpr:
			return !slices.Contains([]token.Token{token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ}, n.Op)
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			return !ok || called.Sel.Name != "Has" && called.Sel.Name != "Lookup"
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "wire" {
				uses = append(uses, n)
			}
		}
		return true
	}
	ast.Inspect(f, visit)
	return uses
}

// mentions reports whether a body names the constant, or has the number in a literal.
func mentions(body *ast.BlockStmt, name string, code wire.Code) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			found = found || ok && x.Name == "wire" && n.Sel.Name == name
		case *ast.BasicLit:
			found = found || strings.Contains(n.Value, code.String())
		}
		return !found
	})
	return found
}

func TestMadeLeavesOutWhoOnlyLooks(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
func f(c wire.Code) error {
	switch c {
	case wire.A:
		return fault.New(wire.B, "")
	}
	if c == wire.C || c >= wire.D || fault.Has(err, wire.E) {
		return &Error{Code: wire.F}
	}
	_, _ = wire.Lookup(wire.G)
	return nil
}`, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, use := range made(f) {
		names = append(names, use.Sel.Name)
	}
	if got := strings.Join(names, ""); got != "CodeBF" {
		t.Errorf("made %s", got)
	}
}
