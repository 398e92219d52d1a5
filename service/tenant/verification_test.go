package tenant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestVerificationRule(t *testing.T) {
	v := tenant.Verification{Groups: []string{"Domain Admins"}}
	for what, c := range map[string]struct {
		v      tenant.Verification
		role   bool
		groups []string
		want   bool
	}{
		"nobody":                      {tenant.Verification{}, true, []string{"Domain Admins"}, false},
		"a role":                      {tenant.Verification{Administrators: true}, true, nil, true},
		"no role":                     {tenant.Verification{Administrators: true}, false, []string{"Domain Admins"}, false},
		"a role, but only groups":     {v, true, nil, false},
		"a group, in another case":    {v, false, []string{"Users", "DOMAIN admins"}, true},
		"a group that only begins so": {v, false, []string{"Domain Admins 2"}, false},
	} {
		if got := c.v.Always(c.role, c.groups); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	for percent, want := range map[int]int{0: 0, 1: 1, 37: 37, 100: 100} {
		n := 0
		for throw := range 100 {
			if (tenant.Verification{Percent: percent}).Sampled(throw) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d %% choose %d of 100 throws", percent, n)
		}
	}
}

func TestVerificationIsKept(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := tenant.NewStore(d)
	a, b := tenanttest.New(t, d, "contoso").Scope(), tenanttest.New(t, d, "fabrikam").Scope()
	if v, err := s.Verification(ctx, a); err != nil || v.Always(true, []string{"x"}) || v.Sampled(0) {
		t.Errorf("a tenant begins with %+v, %v", v, err)
	}
	set, err := s.SetVerification(ctx, a, tenant.Verification{Administrators: true, Groups: []string{" Tier 0 ", "Domain Admins", "Tier 0"}, Percent: 5}, now)
	if err != nil {
		t.Fatal(err)
	}
	expected := tenant.Verification{Administrators: true, Groups: []string{"Domain Admins", "Tier 0"}, Percent: 5}
	got, err := s.Verification(ctx, a)
	if diff := cmp.Diff(expected, got); diff != "" || err != nil || !cmp.Equal(set, got) {
		t.Errorf("%s %v", diff, err)
	}
	if v, err := s.Verification(ctx, b); err != nil || v.Administrators {
		t.Errorf("the other tenant has %+v, %v", v, err)
	}
	if v, err := s.SetVerification(ctx, a, tenant.Verification{}, later); err != nil || v.Administrators || len(v.Groups) > 0 || v.Percent != 0 {
		t.Errorf("the policy was replaced by %+v, %v", v, err)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("group ", i)
	}
	for what, v := range map[string]tenant.Verification{
		"below 0":            {Percent: -1},
		"above 100":          {Percent: 101},
		"an empty group":     {Groups: []string{" "}},
		"a group too long":   {Groups: []string{strings.Repeat("g", 257)}},
		"a group with a NUL": {Groups: []string{"a\x00b"}},
		"too many groups":    {Groups: many},
	} {
		_, err := s.SetVerification(ctx, a, v, now)
		want(t, what, err, wire.BadRequest, "")
	}
	gone := tenanttest.New(t, d, "gone").Scope()
	if err := s.RemoveTenant(ctx, gone); err != nil {
		t.Fatal(err)
	}
	_, err = s.SetVerification(ctx, gone, tenant.Verification{Percent: 1}, now)
	want(t, "a tenant that is gone", err, wire.NotFound, "")
}
