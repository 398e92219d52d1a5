package user_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

var (
	now   = tenanttest.Now
	later = now.Add(10 * time.Minute)
)

// The objectGUIDs of two people.
const (
	anchorA = "0b2f6c1e-6a1e-4b57-9d6b-0f4a5f0c2a01"
	anchorB = "0b2f6c1e-6a1e-4b57-9d6b-0f4a5f0c2a02"
)

func ptr[T any](v T) *T { return &v }

func want(t *testing.T, what string, err error, code wire.Code, words string) {
	t.Helper()
	if !fault.Has(err, code) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want a fault %v with %q", what, err, code, words)
	}
}

// house is one tenant with a directory.
type house struct {
	db        *db.DB
	users     *user.Store
	scope     tenant.Scope
	directory string
}

func build(t testing.TB) house {
	t.Helper()
	d := dbtest.New(t)
	return add(t, d, "contoso")
}

func add(t testing.TB, d *db.DB, name string) house {
	t.Helper()
	scope := tenanttest.New(t, d, name).Scope()
	return house{d, user.NewStore(d), scope, tenanttest.Directory(t, d, scope, "corp").ID}
}

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, user.NewStore(dbtest.New(t)), 10)
}

func TestStore(t *testing.T) {
	h, ctx := build(t), t.Context()
	made, err := h.users.Create(ctx, h.scope, user.User{UPN: " Alice@Corp.Example ", Source: user.CloudOnly, DisplayName: " Alice Liddell ",
		GivenName: "Alice", FamilyName: "Liddell", Email: "alice@corp.example", Groups: []string{"b", "a", "b"}, Role: user.Administrator}, now)
	if err != nil {
		t.Fatal(err)
	}
	expected := user.User{ID: made.ID, UPN: "Alice@Corp.Example", Source: user.CloudOnly, DisplayName: "Alice Liddell", GivenName: "Alice",
		FamilyName: "Liddell", Email: "alice@corp.example", Groups: []string{"a", "b"}, Role: user.Administrator, Created: now, Changed: now}
	if diff := cmp.Diff(expected, made); diff != "" {
		t.Error(diff)
	}
	for what, find := range map[string]func() (user.User, error){
		"by id":        func() (user.User, error) { return h.users.ByID(ctx, h.scope, made.ID) },
		"by UPN":       func() (user.User, error) { return h.users.ByUPN(ctx, h.scope, "alice@corp.example") },
		"by loud UPN":  func() (user.User, error) { return h.users.ByUPN(ctx, h.scope, "  ALICE@CORP.EXAMPLE") },
		"in the list ": func() (user.User, error) { all, err := h.users.List(ctx, h.scope, "", 0); return all[0], err },
	} {
		got, err := find()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(made, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	_, err = h.users.Create(ctx, h.scope, user.User{UPN: "ALICE@corp.example", Source: user.CloudOnly}, now)
	want(t, "the same name", err, wire.Conflict, "ALICE@corp.example")
	for _, absent := range []string{"", "bob@corp.example", "a\x00@corp.example", "\xff"} {
		_, err = h.users.ByUPN(ctx, h.scope, absent)
		want(t, absent, err, wire.NotFound, "")
		_, err = h.users.ByID(ctx, h.scope, absent)
		want(t, absent, err, wire.NotFound, "")
		_, err = h.users.ByAnchor(ctx, h.scope, absent, absent)
		want(t, absent, err, wire.NotFound, "")
	}

	changed, err := h.users.Change(ctx, h.scope, made.ID, user.Change{UPN: ptr("al@corp.example"), Groups: ptr([]string(nil)), Role: ptr(user.Role("")), Disabled: ptr(true)}, later)
	if err != nil {
		t.Fatal(err)
	}
	expected.UPN, expected.Groups, expected.Role, expected.Disabled, expected.Changed = "al@corp.example", nil, "", true, later
	expected.ValidFrom = later
	if diff := cmp.Diff(expected, changed); diff != "" {
		t.Error(diff)
	}
	if got, err := h.users.ByUPN(ctx, h.scope, "al@corp.example"); err != nil || !got.Disabled {
		t.Errorf("after the change: %+v, %v", got, err)
	}
	bob, err := h.users.Create(ctx, h.scope, user.User{UPN: "bob@corp.example", Source: user.CloudOnly}, now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.users.Change(ctx, h.scope, bob.ID, user.Change{UPN: ptr("AL@corp.example")}, later)
	want(t, "change to a taken name", err, wire.Conflict, "AL@corp.example")
	_, err = h.users.Change(ctx, h.scope, bob.ID, user.Change{UPN: ptr("nobody")}, later)
	want(t, "change to a bad name", err, wire.BadRequest, "name@domain")
	_, err = h.users.Change(ctx, h.scope, "gone", user.Change{}, later)
	want(t, "change nobody", err, wire.NotFound, "")

	if page, err := h.users.List(ctx, h.scope, made.ID, 5); err != nil || len(page) != 1 || page[0].ID != bob.ID {
		t.Errorf("second page: %+v, %v", page, err)
	}
	if err := h.users.Remove(ctx, h.scope, bob.ID); err != nil {
		t.Error(err)
	}
	want(t, "remove twice", h.users.Remove(ctx, h.scope, bob.ID), wire.NotFound, "")
}

func TestPasswordHash(t *testing.T) {
	h, ctx := build(t), t.Context()
	cloud, err := h.users.Create(ctx, h.scope, user.User{UPN: "root@corp.example", Source: user.CloudOnly}, now)
	if err != nil {
		t.Fatal(err)
	}
	synced, err := h.users.Create(ctx, h.scope, user.User{UPN: "alice@corp.example", Source: user.Synced, DirectoryID: h.directory}, now)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := h.users.PasswordHash(ctx, h.scope, cloud.ID); err != nil || hash != "" {
		t.Errorf("before: %q, %v", hash, err)
	}
	if err := h.users.SetPasswordHash(ctx, h.scope, cloud.ID, "$argon2id$…", later); err != nil {
		t.Fatal(err)
	}
	// A later change of the person keeps the hash.
	if _, err := h.users.Change(ctx, h.scope, cloud.ID, user.Change{DisplayName: ptr("Root")}, later); err != nil {
		t.Fatal(err)
	}
	if hash, err := h.users.PasswordHash(ctx, h.scope, cloud.ID); err != nil || hash != "$argon2id$…" {
		t.Errorf("after: %q, %v", hash, err)
	}
	// What was signed in before the new password no longer counts.
	if u, err := h.users.ByID(ctx, h.scope, cloud.ID); err != nil || u.Admits(now) || !u.Admits(later) {
		t.Errorf("valid from %v: admits before %v, after %v (%v)", u.ValidFrom, u.Admits(now), u.Admits(later), err)
	}
	want(t, "sign out, unknown", h.users.SignOut(ctx, h.scope, "gone", later), wire.NotFound, "")
	want(t, "synced", h.users.SetPasswordHash(ctx, h.scope, synced.ID, "x", later), wire.BadRequest, "directory alone")
	want(t, "unknown", h.users.SetPasswordHash(ctx, h.scope, "gone", "x", later), wire.NotFound, "")
	_, err = h.users.PasswordHash(ctx, h.scope, "gone")
	want(t, "unknown", err, wire.NotFound, "")
}

func TestCreateRefusals(t *testing.T) {
	h := build(t)
	other := add(t, h.db, "fabrikam")
	good := user.User{UPN: "alice@corp.example", Source: user.Synced, DirectoryID: h.directory, Anchor: strings.ToUpper(anchorA)}
	with := func(f func(*user.User)) user.User { u := good; f(&u); return u }
	many := make([]string, 2001)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	for what, c := range map[string]struct {
		user user.User
		code wire.Code
	}{
		"no @":                 {with(func(u *user.User) { u.UPN = "alice" }), wire.BadRequest},
		"two @":                {with(func(u *user.User) { u.UPN = "alice@a@b" }), wire.BadRequest},
		"no name":              {with(func(u *user.User) { u.UPN = "@corp.example" }), wire.BadRequest},
		"space":                {with(func(u *user.User) { u.UPN = "a lice@corp.example" }), wire.BadRequest},
		"invisible":            {with(func(u *user.User) { u.UPN = "a\u200blice@corp.example" }), wire.BadRequest},
		"zero byte":            {with(func(u *user.User) { u.UPN = "a\x00lice@corp.example" }), wire.BadRequest},
		"broken UTF-8":         {with(func(u *user.User) { u.UPN = "a\xfflice@corp.example" }), wire.BadRequest},
		"too long":             {with(func(u *user.User) { u.UPN = strings.Repeat("a", 256) + "@corp.example" }), wire.BadRequest},
		"control in name":      {with(func(u *user.User) { u.DisplayName = "a\x1b[31m" }), wire.BadRequest},
		"too many groups":      {with(func(u *user.User) { u.Groups = many }), wire.BadRequest},
		"empty group":          {with(func(u *user.User) { u.Groups = []string{""} }), wire.BadRequest},
		"no source":            {with(func(u *user.User) { u.Source = "" }), wire.BadRequest},
		"unknown role":         {with(func(u *user.User) { u.Role = "owner" }), wire.BadRequest},
		"synced, no directory": {with(func(u *user.User) { u.DirectoryID = "" }), wire.BadRequest},
		"cloud with directory": {with(func(u *user.User) { u.Source = user.CloudOnly }), wire.BadRequest},
		"bad anchor":           {with(func(u *user.User) { u.Anchor = "{" + anchorA + "}" }), wire.BadRequest},
		"nil anchor":           {with(func(u *user.User) { u.Anchor = "00000000-0000-0000-0000-000000000000" }), wire.BadRequest},
		"unknown directory":    {with(func(u *user.User) { u.DirectoryID = "gone" }), wire.NotFound},
		"another's directory":  {with(func(u *user.User) { u.DirectoryID = other.directory }), wire.NotFound},
	} {
		_, err := h.users.Create(t.Context(), h.scope, c.user, now)
		want(t, what, err, c.code, "")
	}
	made, err := h.users.Create(t.Context(), h.scope, good, now)
	if err != nil || made.Anchor != anchorA {
		t.Errorf("made %+v, %v", made, err)
	}
	_, err = h.users.Create(t.Context(), h.scope, with(func(u *user.User) { u.UPN = "other@corp.example" }), now)
	want(t, "the same anchor", err, wire.Conflict, "anchor")
	_, err = h.users.Create(t.Context(), tenant.ScopeOf("gone"), user.User{UPN: "a@b", Source: user.CloudOnly}, now)
	want(t, "unknown tenant", err, wire.NotFound, "")
}

// TestTenantsNeverMeet gives two tenants users of the same name and the same anchor.
func TestTenantsNeverMeet(t *testing.T) {
	d, ctx := dbtest.New(t), t.Context()
	houses := []house{add(t, d, "contoso"), add(t, d, "fabrikam")}
	attributes := wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example"}
	var users []user.User
	for _, h := range houses {
		u, err := h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: h.directory}, attributes, true, now)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	for i, h := range houses {
		other := users[1-i]
		if got, err := h.users.ByUPN(ctx, h.scope, "alice@corp.example"); err != nil || got.ID != users[i].ID {
			t.Errorf("by UPN: %+v, %v", got, err)
		}
		if all, err := h.users.List(ctx, h.scope, "", 0); err != nil || len(all) != 1 {
			t.Errorf("list: %+v, %v", all, err)
		}
		_, err := h.users.ByID(ctx, h.scope, other.ID)
		want(t, "another's user", err, wire.NotFound, "")
		_, err = h.users.ByAnchor(ctx, h.scope, houses[1-i].directory, anchorA)
		want(t, "another's anchor", err, wire.NotFound, "")
		_, err = h.users.Change(ctx, h.scope, other.ID, user.Change{Disabled: ptr(true)}, later)
		want(t, "change another's user", err, wire.NotFound, "")
		_, err = h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: houses[1-i].directory}, attributes, true, later)
		want(t, "provision from another's directory", err, wire.NotFound, "")
		want(t, "remove another's user", h.users.Remove(ctx, h.scope, other.ID), wire.NotFound, "")
		want(t, "another's password", h.users.SetPasswordHash(ctx, h.scope, other.ID, "x", later), wire.NotFound, "")
		_, err = h.users.PasswordHash(ctx, h.scope, other.ID)
		want(t, "another's hash", err, wire.NotFound, "")
	}
}

func TestProvision(t *testing.T) {
	told := wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example", DisplayName: "Alice", GivenName: "Al", FamilyName: "Ice",
		Email: "a@corp.example", Groups: []string{"Sales", "Admins"}}
	renamed := told
	renamed.UPN, renamed.FamilyName = "alice.married@corp.example", "Married"
	successor := told
	successor.Anchor = anchorB

	for _, c := range []struct {
		name   string
		before []user.User // made by hand; DirectoryID "corp" and "other" stand for those directories
		told   wire.Attributes
		admit  bool
		code   wire.Code
		words  string
		check  func(t *testing.T, before []user.User, got user.User)
	}{
		{name: "unknown and admitted", told: told, admit: true, check: func(t *testing.T, _ []user.User, got user.User) {
			expected := user.User{ID: got.ID, UPN: told.UPN, Source: user.Synced, DirectoryID: got.DirectoryID, Anchor: anchorA, DisplayName: "Alice",
				GivenName: "Al", FamilyName: "Ice", Email: "a@corp.example", Groups: []string{"Admins", "Sales"}, AttributesAt: later, Created: later, Changed: later}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Error(diff)
			}
		}},
		{name: "unknown and not admitted", told: told, code: wire.UserNotFound, words: "does not admit"},
		{name: "known", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorA, Role: user.Administrator, Disabled: true}},
			told: told, check: func(t *testing.T, before []user.User, got user.User) {
				if got.ID != before[0].ID || got.DisplayName != "Alice" || got.Role != user.Administrator || !got.Disabled || !got.Created.Equal(now) || !got.Changed.Equal(later) {
					t.Errorf("got %+v", got)
				}
			}},
		{name: "renamed in the directory", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorA}},
			told: renamed, check: func(t *testing.T, before []user.User, got user.User) {
				if got.ID != before[0].ID || got.UPN != renamed.UPN || got.FamilyName != "Married" {
					t.Errorf("got %+v", got)
				}
			}},
		{name: "only the case of the name changed", before: []user.User{{UPN: "ALICE@corp.example", Source: user.Synced, DirectoryID: "corp", Anchor: anchorA}},
			told: told, check: func(t *testing.T, before []user.User, got user.User) {
				if got.ID != before[0].ID || got.UPN != told.UPN {
					t.Errorf("got %+v", got)
				}
			}},
		{name: "the name is a successor's now", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorA}},
			told: successor, admit: true, code: wire.Conflict, words: "objectGUID " + anchorA},
		{name: "renamed to a name that somebody has", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorA},
			{UPN: renamed.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorB}}, told: renamed, admit: true, code: wire.Conflict, words: "rename or remove"},
		{name: "made by hand before", before: []user.User{{UPN: "Alice@Corp.Example", Source: user.Synced, DirectoryID: "corp", Role: user.Administrator}},
			told: told, check: func(t *testing.T, before []user.User, got user.User) {
				if got.ID != before[0].ID || got.Anchor != anchorA || got.Role != user.Administrator || !got.Changed.Equal(later) {
					t.Errorf("got %+v", got)
				}
			}},
		{name: "made by hand for another directory", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "other"}},
			told: told, admit: true, code: wire.Conflict, words: "another directory"},
		{name: "of another directory", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "other", Anchor: anchorA}},
			told: told, admit: true, code: wire.Conflict, words: "not joined"},
		{name: "cloud-only", before: []user.User{{UPN: told.UPN, Source: user.CloudOnly, Role: user.Administrator}},
			told: told, admit: true, code: wire.Conflict, words: "cloud-only"},
		{name: "renamed to a cloud-only user's name", before: []user.User{{UPN: told.UPN, Source: user.Synced, DirectoryID: "corp", Anchor: anchorA},
			{UPN: renamed.UPN, Source: user.CloudOnly}}, told: renamed, admit: true, code: wire.Conflict, words: "cloud-only"},
		{name: "no anchor", told: wire.Attributes{UPN: told.UPN}, admit: true, code: wire.BadRequest, words: "objectGUID"},
		{name: "strange anchor", told: wire.Attributes{UPN: told.UPN, Anchor: "x"}, admit: true, code: wire.BadRequest, words: "objectGUID"},
		{name: "no name", told: wire.Attributes{Anchor: anchorA}, admit: true, code: wire.BadRequest, words: "name@domain"},
		{name: "strange texts are tamed", told: wire.Attributes{Anchor: anchorA, UPN: told.UPN, DisplayName: " A\x00l\u202eice\xff\n ", GivenName: strings.Repeat("ä", 300),
			Groups: []string{"\x00", "G\x07"}}, admit: true, check: func(t *testing.T, _ []user.User, got user.User) {
			if got.DisplayName != "Alice" || got.GivenName != strings.Repeat("ä", 256) || !slices.Equal(got.Groups, []string{"G"}) {
				t.Errorf("got %+v", got)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ctx := build(t), t.Context()
			other := tenanttest.Directory(t, h.db, h.scope, "other").ID
			var before []user.User
			for _, u := range c.before {
				u.DirectoryID = map[string]string{"corp": h.directory, "other": other}[u.DirectoryID]
				made, err := h.users.Create(ctx, h.scope, u, now)
				if err != nil {
					t.Fatal(err)
				}
				before = append(before, made)
			}
			got, err := h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: h.directory}, c.told, c.admit, later)
			if c.code != 0 {
				want(t, "refusal", err, c.code, c.words)
				if all, err := h.users.List(ctx, h.scope, "", 0); err != nil || !cmp.Equal(all, before) {
					t.Errorf("a refusal changed the users: %v, %s", err, cmp.Diff(before, all))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, before, got)
			stored, err := h.users.ByAnchor(ctx, h.scope, h.directory, anchorA)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, stored); diff != "" {
				t.Errorf("returned and stored differ: %s", diff)
			}
		})
	}
}

// A user is found by the other name that the directory told last, for as long as [user.User.CalledBy] says, unless two have it.
func TestSignInName(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := user.NewStore(d)
	scope := tenanttest.New(t, d, "contoso").Scope()
	corp, other := tenanttest.Directory(t, d, scope, "corp"), tenanttest.Directory(t, d, scope, "other")
	at, month := now, 30*24*time.Hour
	told := wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example"}
	tell := func(a wire.Attributes, called, attribute string) user.User {
		t.Helper()
		a.SignInName = called
		u, err := s.Provision(ctx, scope, user.Asked{DirectoryID: corp.ID, SignInAttribute: attribute}, a, true, at)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	by := func(what, directory, attribute, name, id string) {
		t.Helper()
		got, err := s.BySignInName(ctx, scope, directory, attribute, name, at)
		if id == "" && !fault.Has(err, wire.NotFound) || id != "" && (err != nil || got.ID != id) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		if err == nil && !got.CalledBy(attribute, at) {
			t.Errorf("%s: found, and not called so: %+v", what, got)
		}
	}
	alice := tell(told, "Al.Ice@mail.example", "Mail")
	by("any spelling", corp.ID, "mail", " al.ice@MAIL.example", alice.ID)
	by("another directory", other.ID, "mail", "al.ice@mail.example", "")
	by("the user principal name", corp.ID, "mail", "alice@corp.example", "")
	by("nothing", corp.ID, "mail", "", "")
	by("the domain has another attribute", corp.ID, "proxyAddresses", "al.ice@mail.example", "")
	by("the domain has none", corp.ID, "", "al.ice@mail.example", "")
	by("nothing of none", corp.ID, "", "", "")
	// A sign-in that did not ask for it leaves it, and its age; one that tells another replaces it.
	at = at.Add(10 * time.Minute)
	if u := tell(told, "", ""); u.SignInName != "Al.Ice@mail.example" || !u.SignInAt.Equal(now) {
		t.Errorf("not asked: %+v", u)
	}
	tell(told, "ice@mail.example", "mail")
	by("the old name", corp.ID, "mail", "al.ice@mail.example", "")
	by("the new name", corp.ID, "MAIL", "ice@mail.example", alice.ID)
	// It ends by itself, and each sign-in that tells it again puts that off.
	at = at.Add(month - time.Millisecond)
	by("almost a month later", corp.ID, "mail", "ice@mail.example", alice.ID)
	at = at.Add(time.Millisecond)
	by("a month later", corp.ID, "mail", "ice@mail.example", "")
	tell(told, "ice@mail.example", "mail")
	by("told again", corp.ID, "mail", "ice@mail.example", alice.ID)
	// Two with one name: one of them has it no longer, and nobody knows which.
	bob := tell(wire.Attributes{Anchor: anchorB, UPN: "bob@corp.example"}, "ICE@mail.example", "mail")
	by("shared", corp.ID, "mail", "ice@mail.example", "")
	// What was taken away is gone at once, also within the time in which a sign-in that tells nothing new writes nothing.
	if u := tell(told, "", "mail"); u.SignInName != "" || u.SignInAttribute != "" || !u.SignInAt.IsZero() {
		t.Errorf("taken away: %+v", u)
	}
	by("bob's alone", corp.ID, "mail", "ice@mail.example", bob.ID)
	if u, err := s.ByID(ctx, scope, bob.ID); err != nil || u.SignInName != "ICE@mail.example" {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestProvisionWritesOnlyNews(t *testing.T) {
	h, ctx := build(t), t.Context()
	told := wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example", Groups: []string{"b", "a"}}
	first, err := h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: h.directory}, told, true, now)
	if err != nil {
		t.Fatal(err)
	}
	told.Groups = []string{"a", "b"} // only another order
	soon, err := h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: h.directory}, told, false, now.Add(9*time.Minute))
	if err != nil || !cmp.Equal(first, soon) {
		t.Errorf("a repetition changed something: %v %s", err, cmp.Diff(first, soon))
	}
	later := now.Add(10 * time.Minute)
	again, err := h.users.Provision(ctx, h.scope, user.Asked{DirectoryID: h.directory}, told, false, later)
	if err != nil || !again.AttributesAt.Equal(later) || !again.Changed.Equal(now) {
		t.Errorf("after ten minutes: %+v, %v", again, err)
	}
}

func TestProvisionAtOnce(t *testing.T) {
	h := build(t)
	const times = 12
	ids := make([]string, times)
	errs := make([]error, times)
	var group sync.WaitGroup
	for i := range times {
		group.Go(func() {
			u, err := h.users.Provision(t.Context(), h.scope, user.Asked{DirectoryID: h.directory}, wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example"}, true, now)
			ids[i], errs[i] = u.ID, err
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(ids); ids[0] != ids[times-1] {
		t.Errorf("one person became several users: %v", slices.Compact(ids))
	}
}

func TestKey(t *testing.T) {
	for _, same := range [][]string{
		{"alice@corp.example", " Alice@CORP.example\t", "ALICE@CORP.EXAMPLE"},
		{"j\u00fcrgen@corp.example", "ju\u0308rgen@corp.example", "JU\u0308RGEN@corp.example", "J\u00dcRGEN@corp.example"},
		{"σ@corp.example", "Σ@corp.example"},
	} {
		for _, s := range same {
			if user.Key(s) != user.Key(same[0]) {
				t.Errorf("%q and %q have the keys %q and %q", s, same[0], user.Key(s), user.Key(same[0]))
			}
		}
	}
	if user.Key("jurgen@corp.example") == user.Key("jürgen@corp.example") || user.Key("a lice@x") == user.Key("alice@x") {
		t.Error("different names have one key")
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"Alice@Corp.Example", "ju\u0308rgen@x", "İ@x", "\xff", "\u2000a ", "ǅ", "ẞ", "K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k := user.Key(s); user.Key(k) != k {
			t.Fatalf("%q has the key %q, whose key is %q", s, k, user.Key(k))
		}
	})
}

func BenchmarkByUPN(b *testing.B) {
	h := build(b)
	if _, err := h.users.Provision(b.Context(), h.scope, user.Asked{DirectoryID: h.directory}, wire.Attributes{Anchor: anchorA, UPN: "alice@corp.example", Groups: []string{"a", "b", "c"}}, true, now); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.users.ByUPN(b.Context(), h.scope, "Alice@corp.example"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
