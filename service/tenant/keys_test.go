package tenant_test

import (
	"testing"

	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestAgentKeysRule(t *testing.T) {
	for _, c := range []struct {
		demand tenant.AgentKeys
		kind   string
		want   bool
	}{
		{"", "file", true}, {"", "tpm", true}, {tenant.KeysInFiles, "", true}, {tenant.KeysInFiles, "file", true}, {tenant.KeysInFiles, "tpm", true},
		{tenant.KeysInHardware, "tpm", true}, {tenant.KeysInHardware, "file", false}, {tenant.KeysInHardware, "", false},
		{tenant.KeysInHardware, "TPM", false}, {tenant.KeysInHardware, "vault", false},
	} {
		if got := c.demand.Allows(c.kind); got != c.want {
			t.Errorf("%q allows %q: %v", c.demand, c.kind, got)
		}
	}
}

func TestAgentKeysAreKept(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	a, b := tenanttest.New(t, d, "contoso").Scope(), tenanttest.New(t, d, "fabrikam").Scope()
	holds := func(scope tenant.Scope, want tenant.AgentKeys) {
		t.Helper()
		if k, err := s.AgentKeys(ctx, scope); err != nil || k != want {
			t.Errorf("%q, %v; want %q", k, err, want)
		}
	}
	holds(a, tenant.KeysInFiles)
	for _, k := range []tenant.AgentKeys{tenant.KeysInHardware, tenant.KeysInFiles, tenant.KeysInHardware} {
		if got, err := s.SetAgentKeys(ctx, a, k, now); err != nil || got != k {
			t.Errorf("set %q: %q, %v", k, got, err)
		}
		holds(a, k)
	}
	holds(b, tenant.KeysInFiles)
	for _, k := range []tenant.AgentKeys{"", "tpm", "Hardware"} {
		_, err := s.SetAgentKeys(ctx, a, k, now)
		want(t, string(k), err, wire.BadRequest, "")
	}
	holds(a, tenant.KeysInHardware)
	gone := tenanttest.New(t, d, "gone").Scope()
	if err := s.RemoveTenant(ctx, gone); err != nil {
		t.Fatal(err)
	}
	_, err := s.SetAgentKeys(ctx, gone, tenant.KeysInHardware, now)
	want(t, "a tenant that is gone", err, wire.NotFound, "")
	if _, err := s.AgentKeys(ctx, tenant.Scope{}); err == nil {
		t.Error("a zero scope has a policy")
	}
	if _, err := s.SetAgentKeys(ctx, tenant.Scope{}, tenant.KeysInFiles, now); err == nil {
		t.Error("a zero scope has its policy set")
	}
}
