package canary

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// fixture is a store with two tenants of equal names.
type fixture struct {
	*Store
	rows       *db.DB
	a, b       tenant.Scope
	dirA, dirB string
	now        time.Time
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func setUp(t *testing.T) fixture {
	t.Helper()
	ctx, rows := t.Context(), dbtest.New(t)
	box := must(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t)
	authority := must(ca.Open(ctx, rows, box, ca.Config{}))(t)
	tenants := tenant.NewStore(rows)
	f := fixture{rows: rows, now: time.Now(), Store: NewStore(rows, box, tenants, fleet.NewStore(rows, authority))}
	for _, x := range []struct {
		name  string
		scope *tenant.Scope
		dir   *string
	}{{"tenant-a", &f.a, &f.dirA}, {"tenant-b", &f.b, &f.dirB}} {
		*x.scope = must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: x.name, DisplayName: x.name, Color: "#204060"}, f.now))(t).Scope()
		*x.dir = must(tenants.CreateDirectory(ctx, *x.scope, "corp", false, f.now))(t).ID
		must(tenants.CreateDomain(ctx, *x.scope, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: *x.dir}, f.now))(t)
		must(tenants.CreateDomain(ctx, *x.scope, tenant.Domain{Name: "cloud.example", Kind: tenant.Cloud}, f.now))(t)
	}
	return f
}

func want(t *testing.T, what string, err error, code wire.Code) {
	t.Helper()
	if got := fault.CodeOf(err); got != code {
		t.Errorf("%s: %v (%v), want %v", what, got, err, code)
	}
}

func TestCanaries(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	_, err := f.Get(ctx, f.a, f.dirA)
	want(t, "none yet", err, wire.NotFound)
	const right = "Tr0ub4dor&3-canary"
	typed := []string{" probe@CORP.example", "decoy@corp.example"}
	c := must(f.Set(ctx, f.a, f.dirA, typed, wire.NewSecret([]byte(right)), f.now))(t)
	wanted := Canary{Names: []string{"probe@corp.example", "decoy@corp.example"}, HasPassword: true, Changed: f.now.UTC().Truncate(time.Millisecond)}
	if d := cmp.Diff([]Canary{wanted, wanted}, []Canary{c, must(f.Get(ctx, f.a, f.dirA))(t)}); d != "" {
		t.Error(d)
	}
	if typed[0] != " probe@CORP.example" {
		t.Errorf("the caller's name became %q", typed[0])
	}
	if _, secret, err := f.open(ctx, f.a, f.dirA); err != nil || string(secret.Reveal()) != right {
		t.Errorf("opened %q, %v", secret.Reveal(), err)
	}
	var kept []byte
	if err := f.rows.Reader().QueryRowContext(ctx, `SELECT password FROM directory_canary`).Scan(&kept); err != nil || bytes.Contains(kept, []byte(right)) || len(kept) == 0 {
		t.Errorf("kept %q, %v", kept, err)
	}
	// A row's password opens for no other directory.
	must(f.Set(ctx, f.b, f.dirB, []string{"decoy@corp.example"}, wire.NewSecret([]byte("another")), f.now))(t)
	if err := f.rows.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `UPDATE directory_canary SET password = $1 WHERE directory_id = $2`, kept, f.dirB)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, secret, err := f.open(ctx, f.b, f.dirB); err == nil {
		t.Errorf("opened %q for another directory", secret.Reveal())
	}
	if c = must(f.Set(ctx, f.a, f.dirA, []string{"decoy@corp.example"}, wire.Secret{}, f.now))(t); c.HasPassword || must(f.Get(ctx, f.a, f.dirA))(t).HasPassword {
		t.Error("the password stayed")
	}
	if _, secret, err := f.open(ctx, f.a, f.dirA); err != nil || secret.Len() != 0 {
		t.Errorf("opened %d bytes of no password, %v", secret.Len(), err)
	}
	if c = must(f.Set(ctx, f.a, f.dirA, slices.Repeat([]string{"decoy@corp.example"}, maxNames), wire.Secret{}, f.now))(t); len(c.Names) != maxNames {
		t.Errorf("%d names of as many as may be", len(c.Names))
	}
	if err := f.Remove(ctx, f.a, f.dirA, f.now); err != nil {
		t.Fatal(err)
	}
	want(t, "removed twice", f.Remove(ctx, f.a, f.dirA, f.now), wire.NotFound)
}

// book is a registration log that can fail.
type book struct {
	events []tenant.Event
	failed error
}

func (b *book) Record(_ context.Context, _ db.Querier, _ tenant.Scope, e tenant.Event, _ time.Time) error {
	b.events = append(b.events, e)
	return b.failed
}

// Each change is in the registration log, and what cannot be written there does not happen.
func TestChangesAreRecorded(t *testing.T) {
	f, b := setUp(t), &book{}
	f.Log = b
	ctx := t.Context()
	must(f.Set(ctx, f.a, f.dirA, []string{"probe@corp.example", "decoy@corp.example"}, wire.NewSecret([]byte("right")), f.now))(t)
	must(f.Set(ctx, f.a, f.dirA, []string{"decoy@corp.example"}, wire.Secret{}, f.now))(t)
	b.failed = errors.New("the log is full")
	if _, err := f.Set(ctx, f.a, f.dirA, []string{"probe@corp.example"}, wire.Secret{}, f.now); !errors.Is(err, b.failed) {
		t.Errorf("set: %v", err)
	}
	if err := f.Remove(ctx, f.a, f.dirA, f.now); !errors.Is(err, b.failed) {
		t.Errorf("remove: %v", err)
	}
	if c, err := f.Get(ctx, f.a, f.dirA); err != nil || !slices.Equal(c.Names, []string{"decoy@corp.example"}) {
		t.Errorf("kept %+v, %v", c, err)
	}
	b.failed = nil
	if err := f.Remove(ctx, f.a, f.dirA, f.now); err != nil {
		t.Error(err)
	}
	set := func(detail string) tenant.Event {
		return tenant.Event{What: "canary.set", Directory: f.dirA, Detail: detail}
	}
	removed := tenant.Event{What: "canary.remove", Directory: f.dirA}
	if d := cmp.Diff([]tenant.Event{set("probe@corp.example, decoy@corp.example, password kept: true"), set("decoy@corp.example, password kept: false"),
		set("probe@corp.example, password kept: false"), removed, removed}, b.events); d != "" {
		t.Error(d)
	}
}

func TestCanaryRefusals(t *testing.T) {
	f := setUp(t)
	ctx, none := t.Context(), wire.Secret{}
	ok := []string{"decoy@corp.example"}
	for what, c := range map[string]struct {
		names  []string
		secret string
		code   wire.Code
	}{
		"no name":              {nil, "", wire.BadRequest},
		"too many":             {slices.Repeat(ok, maxNames+1), "", wire.BadRequest},
		"not a name":           {[]string{"decoy"}, "", wire.BadRequest},
		"of a cloud domain":    {[]string{"decoy@cloud.example"}, "", wire.BadRequest},
		"of no domain":         {[]string{"decoy@elsewhere.example"}, "", wire.BadRequest},
		"an unusable password": {ok, "a\x00b", wire.PasswordUnusable},
		"one too long":         {ok, strings.Repeat("x", 4000), wire.PasswordUnusable},
	} {
		_, err := f.Set(ctx, f.a, f.dirA, c.names, wire.NewSecret([]byte(c.secret)), f.now)
		want(t, what, err, c.code)
	}
	_, err := f.Set(ctx, f.a, f.dirB, ok, none, f.now)
	want(t, "another tenant's directory", err, wire.NotFound)
	must(f.Set(ctx, f.b, f.dirB, ok, none, f.now))(t)
	_, err = f.Get(ctx, f.a, f.dirB)
	want(t, "another tenant's canary", err, wire.NotFound)
	want(t, "removing another tenant's", f.Remove(ctx, f.a, f.dirB, f.now), wire.NotFound)
	_, set := f.Set(ctx, tenant.Scope{}, f.dirA, ok, none, f.now)
	_, get := f.Get(ctx, tenant.Scope{}, f.dirA)
	for what, err := range map[string]error{"Set": set, "Get": get, "Remove": f.Remove(ctx, tenant.Scope{}, f.dirA, f.now)} {
		if err != tenant.ErrNoScope {
			t.Errorf("%s: %v", what, err)
		}
	}
}
