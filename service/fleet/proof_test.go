package fleet

import (
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

var corp = Proof{NamingContext: "DC=corp,DC=example", Forest: "DC=corp,DC=example", GUID: "11f3650c-e625-4bce-b544-d4d5d1c3d11a",
	SID: "S-1-5-21-2079283981-299419374-711697537", DC: "dc1.corp.example"}

// TestPin: which proofs show the domain that a directory is.
func TestPin(t *testing.T) {
	nameless := Proof{NamingContext: corp.NamingContext}
	change := func(f func(*Proof)) Proof { p := corp; f(&p); return p }
	for what, c := range map[string]struct {
		pinned, shown Proof
		is            bool
	}{
		"the same":                          {corp, corp, true},
		"by another domain controller":      {corp, change(func(p *Proof) { p.DC = "dc2.corp.example" }), true},
		"renamed":                           {corp, change(func(p *Proof) { p.NamingContext = "DC=new,DC=example" }), true},
		"built anew under the same name":    {corp, change(func(p *Proof) { p.GUID = "22f3650c-e625-4bce-b544-d4d5d1c3d11a" }), false},
		"another SID":                       {corp, change(func(p *Proof) { p.SID += "1" }), false},
		"a copy that hides who it is":       {corp, nameless, false},
		"neither tells more than its name":  {nameless, change(func(p *Proof) { p.GUID, p.SID, p.NamingContext = "", "", "dc=CORP,dc=example" }), true},
		"another name, and no more is told": {nameless, Proof{NamingContext: "DC=other,DC=example"}, false},
		"more than was told before":         {nameless, corp, false},
	} {
		if got := (Pin{Proof: c.pinned}).is(c.shown); got != c.is {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestProve: the first proof decides which domain a directory is, for all its agents and no other tenant's, until it is forgotten.
func TestProve(t *testing.T) {
	ctx, f := t.Context(), setUp(t)
	one, _ := f.enrol(t, f.a, f.dirA, "one")
	two, _ := f.enrol(t, f.a, f.dirA, "two")
	theirs, _ := f.enrol(t, f.b, f.dirB, "one")
	other := Proof{NamingContext: "DC=other,DC=example", GUID: "33f3650c-e625-4bce-b544-d4d5d1c3d11a", SID: "S-1-5-21-1-2-3", DC: "dc1.other.example"}

	if _, known, err := f.PinOf(ctx, f.a, f.dirA); known || err != nil {
		t.Errorf("before any proof: %v %v", known, err)
	}
	pin, err := f.Prove(ctx, f.a, one.ID, corp, f.now)
	if err != nil || pin.Proof != corp || pin.Agent != one.ID || pin.Since.IsZero() {
		t.Fatalf("%+v %v", pin, err)
	}
	if same, err := f.Prove(ctx, f.a, two.ID, corp, f.now.Add(time.Hour)); err != nil || same != pin {
		t.Errorf("%+v %v", same, err)
	}
	for range 3 {
		_, err = f.Prove(ctx, f.a, two.ID, other, f.now)
		want(t, "another domain", err, wire.DirectoryForeign)
	}
	if h, err := f.History(ctx, f.a, two.ID); err != nil || len(h) != 2 || h[0].Event != foreignEvent || h[0].Detail == "" {
		t.Errorf("shown thrice, it stands there once: %+v %v", h, err)
	}
	third := Proof{NamingContext: "DC=third,DC=example", GUID: "44f3650c-e625-4bce-b544-d4d5d1c3d11a", SID: "S-1-5-21-4-5-6", DC: "dc1.third.example"}
	_, err = f.Prove(ctx, f.a, two.ID, third, f.now)
	want(t, "a third domain", err, wire.DirectoryForeign)
	if h, err := f.History(ctx, f.a, two.ID); err != nil || len(h) != 3 {
		t.Errorf("a third domain is news: %+v %v", h, err)
	}
	if _, err := f.Prove(ctx, f.b, theirs.ID, other, f.now); err != nil {
		t.Errorf("another tenant's directory: %v", err)
	}
	_, err = f.Prove(ctx, f.b, one.ID, corp, f.now)
	want(t, "an agent of another tenant", err, wire.NotFound)
	_, err = f.Prove(ctx, f.a, one.ID, Proof{GUID: corp.GUID, SID: corp.SID}, f.now)
	want(t, "nothing", err, wire.BadRequest)
	if _, err := f.Prove(ctx, tenant.Scope{}, one.ID, corp, f.now); err == nil {
		t.Error("a zero scope proves something")
	}

	want(t, "another tenant forgets", f.Unpin(ctx, f.b, f.dirA, f.now), wire.NotFound)
	if err := f.Unpin(ctx, f.a, f.dirA, f.now); err != nil {
		t.Fatal(err)
	}
	want(t, "nothing to forget", f.Unpin(ctx, f.a, f.dirA, f.now), wire.NotFound)
	if pin, err := f.Prove(ctx, f.a, two.ID, other, f.now); err != nil || pin.Proof != other {
		t.Errorf("%+v %v", pin, err)
	}
}
