package signin

import (
	"context"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// The pages over the real password check: a cloud-only administrator signs in with every agent down, while a directory's users
// get an honest "not now".
func TestWithPackagePassword(t *testing.T) {
	w := newWorld(t)
	ctx, now, scope := context.Background(), w.clock.now(), w.acme.Scope()
	tenants := w.svc.tenants
	directory, err := tenants.CreateDirectory(ctx, scope, "corp", true, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []tenant.Domain{{Name: "acme.example", Kind: tenant.Cloud}, {Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: directory.ID, AdmitUsers: true}} {
		if _, err := tenants.CreateDomain(ctx, scope, d, now); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := password.Hash(t.Context(), wire.NewSecret([]byte(canary)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.users.SetPasswordHash(ctx, scope, w.anna.ID, hash, now); err != nil {
		t.Fatal(err)
	}
	w.svc.password = password.New(password.Config{Tenants: tenants, Users: w.users, Fleet: fleet.NewStore(w.db, nil),
		Lockout: lockout.New(w.db, lockout.Policy{}), Queue: &passwordtest.Queue{}})
	b := w.browser()
	a := b.signIn("anna@corp.example", canary).expect(t, "password 80001")
	if !a.shows("evaluation") {
		t.Error("the embedded directory is not labelled")
	}
	b.signIn("anna@nowhere.example", canary).expect(t, "password 50126")
	for _, odd := range []string{"", "nul\x00"} {
		b.signIn("anna@acme.example", odd).expect(t, "password 50126")
	}
	b.signIn("ANNA@acme.example", canary).expect(t, "anna@acme.example")
	var codes []wire.Code
	for _, r := range w.records() {
		codes = append(codes, r.Code)
	}
	want := []wire.Code{wire.NoAgent, wire.DomainUnknown, wire.PasswordUnusable, wire.PasswordUnusable, 0}
	for i := range want {
		if i >= len(codes) || codes[i] != want[i] {
			t.Fatalf("recorded were %v, want %v", codes, want)
		}
	}
}
