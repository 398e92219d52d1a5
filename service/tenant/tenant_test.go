package tenant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

var (
	now   = tenanttest.Now
	later = now.Add(time.Hour)
)

func ptr[T any](v T) *T { return &v }

// want checks a fault's number, and that its detail holds words ("" for any).
func want(t *testing.T, what string, err error, code wire.Code, words string) {
	t.Helper()
	if !fault.Has(err, code) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want a fault %v with %q", what, err, code, words)
	}
}

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, tenant.NewStore(dbtest.New(t)), 14)
}

func TestTenants(t *testing.T) {
	ctx, s := t.Context(), tenant.NewStore(dbtest.New(t))
	made, err := s.CreateTenant(ctx, tenant.NewTenant{Name: "contoso", DisplayName: "  Contoso Ltd ", Color: "#0A0A0A"}, now)
	if err != nil {
		t.Fatal(err)
	}
	expected := tenant.Tenant{ID: made.ID, Name: "contoso", DisplayName: "Contoso Ltd", Color: "#0a0a0a", Created: now, Changed: now}
	if diff := cmp.Diff(expected, made); diff != "" {
		t.Error(diff)
	}
	for what, find := range map[string]func() (tenant.Tenant, error){
		"by name": func() (tenant.Tenant, error) { return s.TenantByName(ctx, "contoso") },
		"by id":   func() (tenant.Tenant, error) { return s.TenantByID(ctx, made.ID) },
	} {
		if got, err := find(); err != nil || got != made {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	_, err = s.CreateTenant(ctx, tenant.NewTenant{Name: "contoso"}, now)
	want(t, "the same name", err, wire.Conflict, "contoso")
	for _, absent := range []string{"fabrikam", "", "a\x00b", "\xff", "CONTOSO"} {
		_, err = s.TenantByName(ctx, absent)
		want(t, absent, err, wire.NotFound, "")
		_, err = s.TenantByID(ctx, absent)
		want(t, absent, err, wire.NotFound, "")
	}

	changed, err := s.ChangeTenant(ctx, made.Scope(), tenant.TenantChange{DisplayName: ptr("Contoso")}, later)
	if err != nil || changed.DisplayName != "Contoso" || changed.Color != "#0a0a0a" || !changed.Changed.Equal(later) || !changed.Created.Equal(now) {
		t.Errorf("changed to %+v, %v", changed, err)
	}
	_, err = s.ChangeTenant(ctx, made.Scope(), tenant.TenantChange{Color: ptr("#ffff00")}, later)
	want(t, "yellow", err, wire.BadRequest, "darker")
	_, err = s.ChangeTenant(ctx, tenant.ScopeOf("gone"), tenant.TenantChange{}, later)
	want(t, "unknown tenant", err, wire.NotFound, "")

	if err := s.RemoveTenant(ctx, made.Scope()); err != nil {
		t.Fatal(err)
	}
	want(t, "remove twice", s.RemoveTenant(ctx, made.Scope()), wire.NotFound, "")
	_, err = s.CreateDirectory(ctx, made.Scope(), "corp", false, now)
	want(t, "a directory of a tenant that is gone", err, wire.NotFound, "")
	_, err = s.CreateDomain(ctx, made.Scope(), tenant.Domain{Name: "corp.example", Kind: tenant.Cloud}, now)
	want(t, "a domain of a tenant that is gone", err, wire.NotFound, "")
}

func TestTenantPages(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	var names []string
	for _, name := range []string{"t9", "t1", "t5", "t3"} {
		names = append(names, tenanttest.New(t, d, name).Name)
	}
	var got []string
	for after := ""; ; {
		page, err := s.Tenants(ctx, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, one := range page {
			got, after = append(got, one.Name), one.ID
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
}

func TestTenantNames(t *testing.T) {
	s := tenant.NewStore(dbtest.New(t))
	for name, good := range map[string]bool{
		"ab": true, "contoso-2": true, "0a": true, strings.Repeat("a", 63): true,
		"": false, "a": false, strings.Repeat("a", 64): false, "Contoso": false, "-ab": false, "ab-": false, "a_b": false,
		"a b": false, "a.b": false, "a/b": false, "ä-b": false, "ab\n": false,
	} {
		_, err := s.CreateTenant(t.Context(), tenant.NewTenant{Name: name}, now)
		if good && err != nil || !good && !fault.Has(err, wire.BadRequest) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for what, n := range map[string]tenant.NewTenant{
		"too long":          {Name: "ok", DisplayName: strings.Repeat("ä", 101)},
		"control character": {Name: "ok", DisplayName: "a\x07b"},
		"direction":         {Name: "ok", DisplayName: "a\u202eb"},
		"broken UTF-8":      {Name: "ok", DisplayName: "a\xff"},
		"blank":             {Name: "ok", DisplayName: "   "},
		"color name":        {Name: "ok", Color: "red"},
		"short color":       {Name: "ok", Color: "#123"},
		"signed color":      {Name: "ok", Color: "#+12345"},
		"light color":       {Name: "ok", Color: "#777777"}, // 4.48:1, the well-known near miss
	} {
		_, err := s.CreateTenant(t.Context(), n, now)
		want(t, what, err, wire.BadRequest, "")
	}
	if _, err := s.CreateTenant(t.Context(), tenant.NewTenant{Name: "grey", Color: "#767676"}, now); err != nil { // 4.54:1
		t.Error(err)
	}
}

func TestDirectories(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	scope := tenanttest.New(t, d, "contoso").Scope()
	corp, err := s.CreateDirectory(ctx, scope, " corp ", true, now)
	if err != nil {
		t.Fatal(err)
	}
	if expected := (tenant.Directory{ID: corp.ID, Name: "corp", Evaluation: true, Created: now, Changed: now}); corp != expected {
		t.Errorf("made %+v, want %+v", corp, expected)
	}
	if got, err := s.DirectoryByName(ctx, scope, "corp"); err != nil || got != corp {
		t.Errorf("by name: %+v, %v", got, err)
	}
	_, err = s.CreateDirectory(ctx, scope, "corp", false, now)
	want(t, "the same name", err, wire.Conflict, "corp")
	for _, bad := range []string{"", "a/b", strings.Repeat("x", 64), "a\x00b"} {
		_, err = s.CreateDirectory(ctx, scope, bad, false, now)
		want(t, bad, err, wire.BadRequest, "")
		_, err = s.DirectoryByName(ctx, scope, bad)
		want(t, bad, err, wire.NotFound, "")
	}
	branch := tenanttest.Directory(t, d, scope, "branch")
	renamed, err := s.RenameDirectory(ctx, scope, branch.ID, "filial", later)
	if err != nil || renamed.Name != "filial" || renamed.ID != branch.ID || !renamed.Changed.Equal(later) {
		t.Errorf("renamed to %+v, %v", renamed, err)
	}
	_, err = s.RenameDirectory(ctx, scope, branch.ID, "corp", later)
	want(t, "rename to a taken name", err, wire.Conflict, "corp")
	_, err = s.RenameDirectory(ctx, scope, "gone", "x", later)
	want(t, "rename nothing", err, wire.NotFound, "")
	all, err := s.Directories(ctx, scope)
	if err != nil || len(all) != 2 || all[0] != corp || all[1] != renamed {
		t.Errorf("all: %+v, %v", all, err)
	}

	domain := tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: corp.ID}
	if _, err := s.CreateDomain(ctx, scope, domain, now); err != nil {
		t.Fatal(err)
	}
	want(t, "remove while in use", s.RemoveDirectory(ctx, scope, corp.ID, now), wire.Conflict, "still has domains")
	if err := s.RemoveDomain(ctx, scope, "corp.example", now); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDirectory(ctx, scope, corp.ID, now); err != nil {
		t.Error(err)
	}
	want(t, "remove twice", s.RemoveDirectory(ctx, scope, corp.ID, now), wire.NotFound, "")
}

func TestDomains(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	scope := tenanttest.New(t, d, "contoso").Scope()
	corp := tenanttest.Directory(t, d, scope, "corp")
	foreign := tenanttest.Directory(t, d, tenanttest.New(t, d, "fabrikam").Scope(), "corp")

	made, err := s.CreateDomain(ctx, scope, tenant.Domain{Name: "Corp.Example", Kind: tenant.PassThrough, DirectoryID: corp.ID, AdmitUsers: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	expected := tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: corp.ID, AdmitUsers: true, Created: now, Changed: now}
	if made != expected {
		t.Errorf("made %+v, want %+v", made, expected)
	}
	if got, err := s.Domain(ctx, scope, "CORP.example"); err != nil || got != expected {
		t.Errorf("found %+v, %v", got, err)
	}
	for what, c := range map[string]struct {
		domain tenant.Domain
		code   wire.Code
	}{
		"the same name":            {tenant.Domain{Name: "CORP.EXAMPLE", Kind: tenant.Cloud}, wire.Conflict},
		"no directory":             {tenant.Domain{Name: "a.example", Kind: tenant.PassThrough}, wire.BadRequest},
		"unknown directory":        {tenant.Domain{Name: "a.example", Kind: tenant.PassThrough, DirectoryID: "gone"}, wire.NotFound},
		"another's directory":      {tenant.Domain{Name: "a.example", Kind: tenant.PassThrough, DirectoryID: foreign.ID}, wire.NotFound},
		"cloud with directory":     {tenant.Domain{Name: "a.example", Kind: tenant.Cloud, DirectoryID: corp.ID}, wire.BadRequest},
		"cloud that admits":        {tenant.Domain{Name: "a.example", Kind: tenant.Cloud, AdmitUsers: true}, wire.BadRequest},
		"unknown kind":             {tenant.Domain{Name: "a.example", Kind: "federated"}, wire.BadRequest},
		"no kind":                  {tenant.Domain{Name: "a.example"}, wire.BadRequest},
		"a name that is no domain": {tenant.Domain{Name: "a..example", Kind: tenant.Cloud}, wire.BadRequest},
	} {
		_, err := s.CreateDomain(ctx, scope, c.domain, now)
		want(t, what, err, c.code, "")
	}

	changed, err := s.ChangeDomain(ctx, scope, "corp.EXAMPLE", tenant.DomainChange{AdmitUsers: ptr(false)}, later)
	if err != nil || changed.AdmitUsers || changed.DirectoryID != corp.ID || !changed.Changed.Equal(later) {
		t.Errorf("changed to %+v, %v", changed, err)
	}
	_, err = s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{DirectoryID: &foreign.ID}, later)
	want(t, "change to another's directory", err, wire.NotFound, "")
	_, err = s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{Kind: ptr(tenant.Cloud), DirectoryID: &corp.ID}, later)
	want(t, "cloud with a directory", err, wire.BadRequest, "")
	cloud, err := s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{Kind: ptr(tenant.Cloud)}, later)
	if err != nil || cloud.Kind != tenant.Cloud || cloud.DirectoryID != "" {
		t.Errorf("changed to %+v, %v", cloud, err)
	}
	if got, err := s.Domain(ctx, scope, "corp.example"); err != nil || got != cloud {
		t.Errorf("stored %+v, %v; want %+v", got, err, cloud)
	}
	_, err = s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{Kind: ptr(tenant.PassThrough)}, later)
	want(t, "back without a directory", err, wire.BadRequest, "needs a directory")
	_, err = s.ChangeDomain(ctx, scope, "gone.example", tenant.DomainChange{}, later)
	want(t, "change nothing", err, wire.NotFound, "")
	for _, absent := range []string{"gone.example", "", "x", "a\x00.example"} {
		_, err = s.Domain(ctx, scope, absent)
		want(t, absent, err, wire.NotFound, "")
		want(t, absent, s.RemoveDomain(ctx, scope, absent, now), wire.NotFound, "")
	}
}

// What people may type besides user principal names.
func TestOtherNames(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	scope, other := tenanttest.New(t, d, "contoso").Scope(), tenanttest.New(t, d, "fabrikam").Scope()
	corp, theirs := tenanttest.Directory(t, d, scope, "corp"), tenanttest.Directory(t, d, other, "corp")
	made, err := s.CreateDomain(ctx, scope, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: corp.ID, SignInAttribute: " mail ", NetBIOSName: "corp"}, now)
	if err != nil || made.SignInAttribute != "mail" || made.NetBIOSName != "CORP" {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, spelling := range []string{"CORP", "corp", " Corp "} {
		if got, err := s.DomainByNetBIOS(ctx, scope, spelling); err != nil || got != made {
			t.Errorf("%q: %+v, %v", spelling, got, err)
		}
	}
	for _, absent := range []string{"", "CORP2", "corp.example", "CO RP", "a,b", strings.Repeat("x", 16)} {
		_, err := s.DomainByNetBIOS(ctx, scope, absent)
		want(t, absent, err, wire.NotFound, "")
	}
	_, err = s.DomainByNetBIOS(ctx, other, "CORP")
	want(t, "another tenant", err, wire.NotFound, "")
	if _, err := s.CreateDomain(ctx, other, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: theirs.ID, NetBIOSName: "CORP"}, now); err != nil {
		t.Errorf("the same NetBIOS name in another tenant: %v", err)
	}
	second := tenant.Domain{Name: "second.example", Kind: tenant.PassThrough, DirectoryID: corp.ID}
	with := func(edit func(*tenant.Domain)) tenant.Domain { d := second; edit(&d); return d }
	for what, c := range map[string]struct {
		domain tenant.Domain
		code   wire.Code
		words  string
	}{
		"a NetBIOS name that is taken": {with(func(d *tenant.Domain) { d.NetBIOSName = "Corp" }), wire.Conflict, "the domain corp.example has the NetBIOS name CORP already"},
		"a NetBIOS name too long":      {with(func(d *tenant.Domain) { d.NetBIOSName = strings.Repeat("x", 16) }), wire.BadRequest, "at most 15"},
		"a backslash":                  {with(func(d *tenant.Domain) { d.NetBIOSName = `CORP\` }), wire.BadRequest, "NetBIOS"},
		"a filter":                     {with(func(d *tenant.Domain) { d.SignInAttribute = "mail=*)(cn" }), wire.BadRequest, "attribute"},
		"an attribute too long":        {with(func(d *tenant.Domain) { d.SignInAttribute = strings.Repeat("x", 65) }), wire.BadRequest, "attribute"},
		"a digit first":                {with(func(d *tenant.Domain) { d.SignInAttribute = "1x" }), wire.BadRequest, "attribute"},
		"a cloud domain":               {tenant.Domain{Name: "cloud.example", Kind: tenant.Cloud, SignInAttribute: "mail"}, wire.BadRequest, "user names alone"},
	} {
		_, err := s.CreateDomain(ctx, scope, c.domain, now)
		want(t, what, err, c.code, c.words)
	}
	if _, err := s.CreateDomain(ctx, scope, second, now); err != nil {
		t.Fatal(err)
	}
	_, err = s.ChangeDomain(ctx, scope, "second.example", tenant.DomainChange{NetBIOSName: ptr("CORP")}, later)
	want(t, "changed to a NetBIOS name that is taken", err, wire.Conflict, "the domain corp.example has")
	if got, err := s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{NetBIOSName: ptr("corp"), Kind: ptr(tenant.PassThrough)}, later); err != nil || got != made {
		t.Errorf("a change of nothing: %+v, %v", got, err)
	}
	if got, err := s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{NetBIOSName: ptr(""), SignInAttribute: ptr("employeeID")}, later); err != nil || got.NetBIOSName != "" || got.SignInAttribute != "employeeID" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := s.ChangeDomain(ctx, scope, "second.example", tenant.DomainChange{NetBIOSName: ptr("CORP")}, later); err != nil || got.NetBIOSName != "CORP" {
		t.Errorf("free again: %+v, %v", got, err)
	}
	if got, err := s.ChangeDomain(ctx, scope, "corp.example", tenant.DomainChange{Kind: ptr(tenant.Cloud)}, later); err != nil || got.SignInAttribute != "" {
		t.Errorf("a domain that becomes cloud: %+v, %v", got, err)
	}
}

// TestTenantsNeverMeet gives two tenants the same names for everything and looks at each through the other's scope.
func TestTenantsNeverMeet(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	type side struct {
		scope     tenant.Scope
		directory tenant.Directory
	}
	var sides []side
	for _, name := range []string{"contoso", "fabrikam"} {
		scope := tenanttest.New(t, d, name).Scope()
		directory := tenanttest.Directory(t, d, scope, "corp")
		if _, err := s.CreateDomain(ctx, scope, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: directory.ID}, now); err != nil {
			t.Fatal(err)
		}
		sides = append(sides, side{scope, directory})
	}
	for i, own := range sides {
		other := sides[1-i]
		if got, err := s.DirectoryByName(ctx, own.scope, "corp"); err != nil || got != own.directory {
			t.Errorf("found %+v, %v", got, err)
		}
		if got, err := s.Domain(ctx, own.scope, "corp.example"); err != nil || got.DirectoryID != own.directory.ID {
			t.Errorf("found %+v, %v", got, err)
		}
		if all, err := s.Directories(ctx, own.scope); err != nil || len(all) != 1 {
			t.Errorf("directories: %+v, %v", all, err)
		}
		if all, err := s.Domains(ctx, own.scope); err != nil || len(all) != 1 {
			t.Errorf("domains: %+v, %v", all, err)
		}
		_, err := s.Directory(ctx, own.scope, other.directory.ID)
		want(t, "another's directory", err, wire.NotFound, "")
		_, err = s.RenameDirectory(ctx, own.scope, other.directory.ID, "stolen", now)
		want(t, "rename another's directory", err, wire.NotFound, "")
		want(t, "remove another's directory", s.RemoveDirectory(ctx, own.scope, other.directory.ID, now), wire.NotFound, "")
	}
	if err := s.RemoveDomain(ctx, sides[0].scope, "corp.example", now); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveTenant(ctx, sides[0].scope); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Domain(ctx, sides[1].scope, "corp.example"); err != nil || got.DirectoryID != sides[1].directory.ID {
		t.Errorf("after the other tenant is gone: %+v, %v", got, err)
	}
}

func TestDomainName(t *testing.T) {
	for in, out := range map[string]string{
		"corp.example":      "corp.example",
		"  Corp.EXAMPLE ":   "corp.example",
		"münchen.example":   "xn--mnchen-3ya.example",
		"MÜNCHEN.example":   "xn--mnchen-3ya.example",
		"mu\u0308nchen.de":  "xn--mnchen-3ya.de", // decomposed
		"xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
		"a-b.c0.example":    "a-b.c0.example",
		strings.Repeat(strings.Repeat("a", 49)+".", 5) + "de": strings.Repeat(strings.Repeat("a", 49)+".", 5) + "de",
	} {
		if got, err := tenant.DomainName(in); err != nil || got != out {
			t.Errorf("%q: %q, %v; want %q", in, got, err, out)
		}
	}
	for _, bad := range []string{
		"", "corp", ".", ".example", "corp.", "corp.example.", "a..b", "-a.example", "a-.example", "a_b.example", "a b.example", "a/b.example",
		"*.example", "corp.example:443", "127.0.0.1", "[::1]", "user@corp.example", "corp.0x7f", "xn--a.example", "corp\x00.example",
		"corp\xff.example", "corp.example\n.", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 126) + "example", "\u200d.example",
	} {
		if got, err := tenant.DomainName(bad); !fault.Has(err, wire.BadRequest) {
			t.Errorf("%q: %q, %v; want a refusal", bad, got, err)
		}
	}
}

func FuzzDomainName(f *testing.F) {
	for _, s := range []string{"corp.example", "MÜNCHEN.de", "xn--mnchen-3ya.de", "a..b", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := tenant.DomainName(s)
		if err != nil {
			if !fault.Has(err, wire.BadRequest) {
				t.Fatalf("%q: %v is no fault", s, err)
			}
			return
		}
		if again, err := tenant.DomainName(name); err != nil || again != name {
			t.Fatalf("%q became %q, which becomes %q, %v", s, name, again, err)
		}
		if strings.ToLower(name) != name || len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool { return r > 'z' || r < '-' }) {
			t.Fatalf("%q became %q", s, name)
		}
	})
}

func BenchmarkTenantByName(b *testing.B) {
	d := dbtest.New(b)
	tenanttest.New(b, d, "contoso")
	s := tenant.NewStore(d)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.TenantByName(b.Context(), "contoso"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkOpen is what every test that wants a store pays.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		d, err := db.Open(b.Context(), db.Config{URL: dbtest.URL(b)})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
