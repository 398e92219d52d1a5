package tenant_test

import (
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestRecentTenant: what another process changes is seen within a second, what this one changes at once.
func TestRecentTenant(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	here, elsewhere := tenant.NewStore(d), tenant.NewStore(d)
	made, err := here.CreateTenant(ctx, tenant.NewTenant{Name: "contoso"}, now)
	if err != nil {
		t.Fatal(err)
	}
	name := func(s *tenant.Store, at time.Time) string {
		t.Helper()
		got, err := s.RecentTenant(ctx, "contoso", at)
		if err != nil {
			t.Fatal(err)
		}
		return got.DisplayName
	}
	name(here, now)
	name(elsewhere, now)
	if _, err := here.ChangeTenant(ctx, made.Scope(), tenant.TenantChange{DisplayName: ptr("Contoso Ltd")}, now); err != nil {
		t.Fatal(err)
	}
	if got := name(here, now); got != "Contoso Ltd" {
		t.Errorf("where it was changed it is %q still", got)
	}
	if got := name(elsewhere, now.Add(999*time.Millisecond)); got != "contoso" {
		t.Errorf("within the second it is read anew: %q", got)
	}
	for what, at := range map[string]time.Time{"a second later": now.Add(time.Second), "with a clock set back": now.Add(-time.Hour)} {
		if got := name(elsewhere, at); got != "Contoso Ltd" {
			t.Errorf("%s it is %q still", what, got)
		}
	}
	if err := here.RemoveTenant(ctx, made.Scope()); err != nil {
		t.Fatal(err)
	}
	_, err = here.RecentTenant(ctx, "contoso", now)
	want(t, "removed here", err, wire.NotFound, "")
	_, err = elsewhere.RecentTenant(ctx, "contoso", now.Add(time.Minute))
	want(t, "removed elsewhere", err, wire.NotFound, "")
}
