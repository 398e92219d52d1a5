package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestSame(t *testing.T) {
	ada, ben := Actor{User: "ada"}, Actor{User: "ben"}
	root := Actor{Token: "r"}
	child, grandchild, sibling := Actor{Token: "c", Ancestors: []string{"r"}}, Actor{Token: "g", Ancestors: []string{"r", "c"}}, Actor{Token: "s", Ancestors: []string{"r"}}
	for name, test := range map[string]struct {
		a, b Actor
		same bool
	}{
		"a person": {ada, ada, true}, "two people": {ada, ben, false}, "a person and a token": {ada, root, false},
		"a token": {root, root, true}, "a token's child": {root, child, true}, "a token's grandchild": {root, grandchild, true},
		"a child's child": {child, grandchild, true}, "two children": {child, sibling, false}, "niece": {sibling, grandchild, false},
		"nobody known": {Actor{}, ada, true}, "nobody twice": {Actor{}, Actor{}, true},
	} {
		if test.a.Same(test.b) != test.same || test.b.Same(test.a) != test.same {
			t.Errorf("%s: not %v", name, test.same)
		}
	}
}

func TestEntry(t *testing.T) {
	for _, test := range []struct {
		policy        tenant.Approval
		token, byCode State
	}{
		{tenant.ApprovalNone, Active, Active}, {tenant.ApprovalNeeded, Pending, Active}, {tenant.ApprovalSecond, Pending, Pending},
	} {
		if got := entry(Active, test.policy, false); got != test.token {
			t.Errorf("%s, token: %s", test.policy, got)
		}
		if got := entry(Active, test.policy, true); got != test.byCode {
			t.Errorf("%s, code: %s", test.policy, got)
		}
	}
	if entry(Drained, tenant.ApprovalNone, false) != Drained {
		t.Error("a drained agent that comes back does not stay drained")
	}
	if tenant.ApprovalNone.Stricter(tenant.ApprovalSecond) != tenant.ApprovalSecond || tenant.ApprovalNeeded.Stricter("") != tenant.ApprovalNeeded {
		t.Error("not the stricter policy")
	}
}

// registered sets tenant a's policy and returns an agent that registered with a token of maker.
func (f fixture) registered(t *testing.T, p tenant.Approval, maker Actor, host string) Agent {
	t.Helper()
	if err := tenant.NewStore(f.db).SetApproval(t.Context(), f.a, p, f.now, nil); err != nil {
		t.Fatal(err)
	}
	_, secret, err := f.CreateToken(t.Context(), f.a, NewToken{DirectoryID: f.dirA, By: maker}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	_, a, _, err := f.Enrol(t.Context(), secret, enrolment(t, host), f.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestApproval(t *testing.T) {
	f, ctx := setUp(t), t.Context()
	maker, child, other := Actor{Token: "m", Name: "m"}, Actor{Token: "c", Ancestors: []string{"m"}}, Actor{User: "ben", Name: "ben"}
	admitted := func(a Agent) error {
		_, _, err := f.Admit(ctx, wire.AgentIdentity{TrustDomain: "corp.example", Tenant: f.a.String(), Agent: a.ID}, a.CertificateSerial, f.now)
		return err
	}

	free := f.registered(t, tenant.ApprovalNone, maker, "free")
	if free.State != Active {
		t.Fatal(free.State)
	}
	needed := f.registered(t, tenant.ApprovalNeeded, maker, "needed")
	want(t, "a pending agent connects", admitted(needed), wire.AgentPending)
	if _, err := f.Approve(ctx, f.b, needed.ID, "", other, f.now); err == nil {
		t.Error("another tenant approved it")
	}
	if got, err := f.Approve(ctx, f.a, needed.ID, "", maker, f.now); err != nil || got.State != Active {
		t.Fatal(got.State, err)
	}
	want(t, "an approved agent connects", admitted(needed), 0)

	second := f.registered(t, tenant.ApprovalSecond, maker, "second")
	for who, by := range map[string]Actor{"the token's maker": maker, "its child": child, "nobody": {}} {
		_, err := f.Approve(ctx, f.a, second.ID, "", by, f.now)
		want(t, who, err, wire.SecondNeeded)
	}
	// A policy that was weakened afterwards does not help.
	if err := tenant.NewStore(f.db).SetApproval(ctx, f.a, tenant.ApprovalNone, f.now, nil); err != nil {
		t.Fatal(err)
	}
	_, err := f.Approve(ctx, f.a, second.ID, "", maker, f.now)
	want(t, "the maker, after weakening the policy", err, wire.SecondNeeded)
	if waiting, err := f.Pending(ctx, f.a); err != nil || len(waiting) != 1 || waiting[0].ID != second.ID {
		t.Error(waiting, err)
	}
	if got, err := f.Approve(ctx, f.a, second.ID, fingerprint(t, f, second), other, f.now); err != nil || got.State != Active {
		t.Fatal(got.State, err)
	}

	// A release is a registration like another.
	if err := tenant.NewStore(f.db).SetApproval(ctx, f.a, tenant.ApprovalSecond, f.now, nil); err != nil {
		t.Fatal(err)
	}
	compared := fingerprint(t, f, second)
	_, secret, err := f.Release(ctx, f.a, second.ID, maker, f.now)
	if err != nil {
		t.Fatal(err)
	}
	_, again, _, err := f.Enrol(ctx, secret, enrolment(t, "second"), f.now)
	if err != nil || again.ID != second.ID || again.State != Pending {
		t.Fatal(again.State, err)
	}
	_, err = f.Approve(ctx, f.a, again.ID, "", maker, f.now)
	want(t, "who released it", err, wire.SecondNeeded)
	// Whoever compared the keys from before has not said yes to these.
	_, err = f.Approve(ctx, f.a, again.ID, compared, other, f.now)
	want(t, "keys that were exchanged meanwhile", err, wire.Conflict)
	if !errors.Is(err, ErrOtherKeys) {
		t.Error(err)
	}
	// What was drained before is not put to work by a yes to its new keys, however often it registers before.
	if _, err := f.Drain(ctx, f.a, needed.ID, f.now); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, secret, err := f.Release(ctx, f.a, needed.ID, maker, f.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, back, _, err := f.Enrol(ctx, secret, enrolment(t, "needed"), f.now); err != nil || back.State != Pending {
			t.Fatal(back.State, err)
		}
	}
	if got, err := f.Approve(ctx, f.a, needed.ID, "", other, f.now); err != nil || got.State != Drained {
		t.Error(got.State, err)
	}
	denied, err := f.Deny(ctx, f.a, again.ID, maker, f.now)
	if err != nil || denied.State != Revoked || denied.RevokedReason == "" {
		t.Fatal(denied, err)
	}
	want(t, "a denied agent connects", admitted(again), wire.AgentRevoked)
	_, err = f.Deny(ctx, f.a, needed.ID, other, f.now)
	want(t, "denying an active agent", err, wire.Conflict)
	_, err = f.Approve(ctx, tenant.Scope{}, again.ID, "", other, f.now)
	if err == nil {
		t.Error("approved without scope")
	}
	if err := tenant.NewStore(f.db).SetApproval(ctx, f.a, "later", f.now, nil); err == nil {
		t.Error("an unknown policy was stored")
	}
}

func TestPlace(t *testing.T) {
	p, err := parsePlace(" DC?*.corp.example ", []string{"10.1.2.3/16", "2001:db8::1", "192.0.2.9"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		host, address string
		want          wire.Code
	}{
		{"dc01.corp.example", "10.1.255.9", 0}, {"DC1.CORP.EXAMPLE", "2001:db8::1", 0}, {"dc1.corp.example", "::ffff:192.0.2.9", 0},
		{"dc.corp.example", "10.1.0.1", wire.EnrolHostRefused}, {"web.corp.example", "10.1.0.1", wire.EnrolHostRefused}, {"", "10.1.0.1", wire.EnrolHostRefused},
		{"dc1.corp.example", "10.2.0.1", wire.EnrolAddressRefused}, {"dc1.corp.example", "2001:db8::2", wire.EnrolAddressRefused},
		{"dc1.corp.example", "", wire.EnrolAddressRefused}, {"dc1.corp.example", "nonsense\n", wire.EnrolAddressRefused},
	} {
		want(t, test.host+" at "+test.address, p.admits(test.host, test.address), test.want)
	}
	want(t, "anywhere", place{}.admits("x", ""), 0)
	for _, bad := range []struct {
		hosts    string
		networks []string
	}{{"[a-z]", nil}, {"a b", nil}, {"", []string{"10.0.0.0/33"}}, {"", []string{""}}, {"", []string{"::ffff:10.0.0.0/104"}}, {"", []string{"fe80::1%eth0"}},
		{"", slices.Repeat([]string{"10.0.0.1"}, maxNetworks+1)}, {strings.Repeat("a", maxHost+1), nil}, {"a{", nil}, {"a`", nil}, {"a/", nil}, {"a:", nil}, {"ä", nil}} {
		if _, err := parsePlace(bad.hosts, bad.networks); err == nil {
			t.Errorf("%q %v was taken", bad.hosts, bad.networks)
		}
	}
	for _, good := range []struct {
		hosts    string
		networks []string
	}{{strings.Repeat("a", maxHost), slices.Repeat([]string{"10.0.0.1"}, maxNetworks)}, {"az-AZ_09.*?", nil}, {"", nil}} {
		if _, err := parsePlace(good.hosts, good.networks); err != nil {
			t.Errorf("%q %v: %v", good.hosts, good.networks, err)
		}
	}
}

// FuzzPlace: what is stored of a place is read back as the same place.
func FuzzPlace(f *testing.F) {
	f.Add("dc*.corp.example", "10.0.0.0/8")
	f.Add("?", "fe80::1%eth0")
	f.Fuzz(func(t *testing.T, hosts, network string) {
		p, err := parsePlace(hosts, []string{network})
		if err != nil {
			return
		}
		again, err := parsePlace(p.hosts, p.texts())
		if err != nil || again.hosts != p.hosts || again.networks[0] != p.networks[0] {
			t.Fatalf("%v became %v, %v", p, again, err)
		}
		_ = p.admits(hosts, network)
	})
}

func TestTokenOfOnePlace(t *testing.T) {
	f, ctx := setUp(t), context.Background()
	tok, secret, err := f.CreateToken(ctx, f.a, NewToken{DirectoryID: f.dirA, Hosts: "dc*", Networks: []string{"192.0.2.0/24"}}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	e := enrolment(t, "web")
	_, _, _, err = f.Enrol(ctx, secret, e, f.now)
	want(t, "another host", err, wire.EnrolHostRefused)
	if told := (*fault.Error)(nil); !errors.As(err, &told) || told.Detail != "" {
		t.Errorf("a caller is told the pattern: %q", told.Detail)
	}
	e.Host, e.Address = "dc1", "198.51.100.1"
	_, _, _, err = f.Enrol(ctx, secret, e, f.now)
	want(t, "another network", err, wire.EnrolAddressRefused)
	all, err := f.Tokens(ctx, f.a)
	if err != nil || len(all) != 1 || all[0].UsesLeft != 1 || all[0].Hosts != "dc*" || len(all[0].Networks) != 1 || all[0].ID != tok.ID {
		t.Fatal(all, err)
	}
	e.Address = "192.0.2.77"
	if _, _, _, err = f.Enrol(ctx, secret, e, f.now); err != nil {
		t.Fatal(err)
	}
}

func fingerprint(t *testing.T, f fixture, a Agent) string {
	t.Helper()
	v, err := f.Voucher(t.Context(), f.a, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	return v.Fingerprint
}
