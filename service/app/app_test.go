package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/app"
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

func want(t *testing.T, what string, err error, code wire.Code, words string) {
	t.Helper()
	if !fault.Has(err, code) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want a fault %v with %q", what, err, code, words)
	}
}

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, app.NewStore(dbtest.New(t)), 7)
}

func TestStore(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s, scope := app.NewStore(d), tenanttest.New(t, d, "contoso").Scope()
	made, secret, err := s.Create(ctx, scope, app.New{Name: " Wiki ", RedirectURIs: []string{"https://wiki.example/callback"}, PostLogoutURIs: []string{"https://wiki.example/"}, GroupClaims: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	expected := app.App{ID: made.ID, Name: "Wiki", RedirectURIs: []string{"https://wiki.example/callback"}, PostLogoutURIs: []string{"https://wiki.example/"},
		Algorithm: "ES256", GroupClaims: true, Created: now, Changed: now}
	if diff := cmp.Diff(expected, made); diff != "" {
		t.Error(diff)
	}
	if got, err := s.ByID(ctx, scope, made.ID); err != nil || !cmp.Equal(got, made) {
		t.Errorf("found %+v, %v", got, err)
	}
	_, _, err = s.Create(ctx, scope, app.New{Name: "Wiki", RedirectURIs: []string{"https://b.example/"}}, now)
	want(t, "the same name", err, wire.Conflict, "Wiki")

	spa, none, err := s.Create(ctx, scope, app.New{Name: "SPA", RedirectURIs: []string{"com.example.spa:/cb"}, Public: true, Algorithm: "RS256"}, now)
	if err != nil || none != "" || !spa.Public || spa.Algorithm != "RS256" {
		t.Fatalf("public app: %+v, secret %q, %v", spa, none, err)
	}
	if page, err := s.List(ctx, scope, made.ID, 10); err != nil || len(page) != 1 || !cmp.Equal(page[0], spa) {
		t.Errorf("second page: %+v, %v", page, err)
	}

	changed, err := s.Change(ctx, scope, made.ID, app.Change{Name: ptr("Wiki 2"), PostLogoutURIs: ptr([]string{}), GroupClaims: ptr(false), Disabled: ptr(true), Algorithm: ptr("RS256"),
		RedirectURIs: ptr([]string{"https://wiki.example/a", "https://wiki.example/b"})}, later)
	if err != nil {
		t.Fatal(err)
	}
	expected = app.App{ID: made.ID, Name: "Wiki 2", RedirectURIs: []string{"https://wiki.example/a", "https://wiki.example/b"}, Algorithm: "RS256", Disabled: true, Created: now, Changed: later}
	if diff := cmp.Diff(expected, changed); diff != "" {
		t.Error(diff)
	}
	if got, err := s.ByID(ctx, scope, made.ID); err != nil || !cmp.Equal(got, changed) {
		t.Errorf("stored %+v, %v", got, err)
	}
	_, err = s.Change(ctx, scope, made.ID, app.Change{Name: ptr("SPA")}, later)
	want(t, "change to a taken name", err, wire.Conflict, "SPA")
	_, err = s.Change(ctx, scope, made.ID, app.Change{RedirectURIs: ptr([]string{"com.example.spa:/cb"})}, later)
	want(t, "a private scheme for a confidential app", err, wire.BadRequest, "public apps")
	if ok, err := s.CheckSecret(ctx, scope, made.ID, secret); err != nil || !ok {
		t.Errorf("after a change the secret is right: %v, %v", ok, err)
	}

	if err := s.Remove(ctx, scope, made.ID); err != nil {
		t.Error(err)
	}
	for _, absent := range []string{made.ID, "", "a\x00b", "\xff"} {
		_, err = s.ByID(ctx, scope, absent)
		want(t, "find", err, wire.NotFound, "")
		_, err = s.Change(ctx, scope, absent, app.Change{}, now)
		want(t, "change", err, wire.NotFound, "")
		_, err = s.RotateSecret(ctx, scope, absent, now)
		want(t, "rotate", err, wire.NotFound, "")
		_, err = s.CheckSecret(ctx, scope, absent, secret)
		want(t, "check", err, wire.NotFound, "")
		want(t, "remove", s.Remove(ctx, scope, absent), wire.NotFound, "")
	}
	_, _, err = s.Create(ctx, tenant.ScopeOf("gone"), app.New{Name: "x", RedirectURIs: []string{"https://b.example/"}}, now)
	want(t, "unknown tenant", err, wire.NotFound, "")
}

func TestSecrets(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s, scope := app.NewStore(d), tenanttest.New(t, d, "contoso").Scope()
	confidential, secret, err := s.Create(ctx, scope, app.New{Name: "a", RedirectURIs: []string{"https://a.example/"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := s.Create(ctx, scope, app.New{Name: "b", RedirectURIs: []string{"https://b.example/"}, Public: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, id, given string, expected bool) {
		t.Helper()
		if ok, err := s.CheckSecret(ctx, scope, id, given); err != nil || ok != expected {
			t.Errorf("%s: %v, %v; want %v", what, ok, err, expected)
		}
	}
	check("right", confidential.ID, secret, true)
	check("empty", confidential.ID, "", false)
	check("wrong", confidential.ID, secret+"x", false)
	check("huge", confidential.ID, strings.Repeat(secret, 100), false)
	check("public, empty", public.ID, "", false)
	check("public, any", public.ID, secret, false)

	fresh, err := s.RotateSecret(ctx, scope, confidential.ID, later)
	if err != nil || fresh == secret || !strings.HasPrefix(fresh, "sally_app_") || len(fresh) != len("sally_app_")+43 {
		t.Fatalf("rotated to %q, %v", fresh, err)
	}
	check("the old one", confidential.ID, secret, false)
	check("the new one", confidential.ID, fresh, true)
	_, err = s.RotateSecret(ctx, scope, public.ID, later)
	want(t, "rotate a public app's", err, wire.BadRequest, "public")

	// Nothing in the row lets anybody become the app.
	var hash []byte
	if err := d.Reader().QueryRowContext(ctx, `SELECT secret_hash FROM app WHERE id = $1`, confidential.ID).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	if len(hash) != 32 || strings.Contains(string(hash), fresh[10:20]) {
		t.Errorf("stored %q", hash)
	}
}

// TestTenantsNeverMeet gives two tenants an app of the same name.
func TestTenantsNeverMeet(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	s := app.NewStore(d)
	var scopes []tenant.Scope
	var apps []app.App
	var secrets []string
	for _, name := range []string{"contoso", "fabrikam"} {
		scope := tenanttest.New(t, d, name).Scope()
		a, secret, err := s.Create(ctx, scope, app.New{Name: "Wiki", RedirectURIs: []string{"https://wiki.example/"}}, now)
		if err != nil {
			t.Fatal(err)
		}
		scopes, apps, secrets = append(scopes, scope), append(apps, a), append(secrets, secret)
	}
	for i, scope := range scopes {
		other := apps[1-i].ID
		if all, err := s.List(ctx, scope, "", 0); err != nil || len(all) != 1 || all[0].ID != apps[i].ID {
			t.Errorf("list: %+v, %v", all, err)
		}
		_, err := s.ByID(ctx, scope, other)
		want(t, "another's app", err, wire.NotFound, "")
		_, err = s.Change(ctx, scope, other, app.Change{Disabled: ptr(true)}, now)
		want(t, "change another's app", err, wire.NotFound, "")
		_, err = s.RotateSecret(ctx, scope, other, now)
		want(t, "rotate another's secret", err, wire.NotFound, "")
		_, err = s.CheckSecret(ctx, scope, other, secrets[1-i])
		want(t, "check another's secret", err, wire.NotFound, "")
		want(t, "remove another's app", s.Remove(ctx, scope, other), wire.NotFound, "")
		if ok, err := s.CheckSecret(ctx, scope, apps[i].ID, secrets[1-i]); err != nil || ok {
			t.Errorf("another's secret is right: %v, %v", ok, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	d := dbtest.New(t)
	s, scope := app.NewStore(d), tenanttest.New(t, d, "contoso").Scope()
	const both, publicOnly, never = "both", "public only", "never"
	i := 0
	for uri, allowed := range map[string]string{
		"https://app.example/callback":                     both,
		"https://app.example:8443/cb?a=b&c=%20":            both,
		"https://app.example":                              both,
		"https://[2001:db8::1]/cb":                         both,
		"http://localhost:3000/cb":                         both,
		"http://127.0.0.1/cb":                              both,
		"http://[::1]:3000/cb":                             both,
		"com.example.app:/cb":                              publicOnly,
		"com.example.app://cb":                             publicOnly,
		"http://app.example/cb":                            never,
		"http://localhost.evil.example/cb":                 never,
		"http://127.0.0.1.evil.example/cb":                 never,
		"http://127.0.0.2/cb":                              never,
		"http://0.0.0.0/cb":                                never,
		"https://app.example/cb#x":                         never,
		"https://app.example/cb#":                          never,
		"https://user@app.example/cb":                      never,
		"https://user:pw@app.example/cb":                   never,
		"https://*.example/cb":                             never,
		"https://app.example\\@evil.example/":              never,
		"https://app.example/ü":                            never,
		"https://app.example/a b":                          never,
		"https://app.example/\n":                           never,
		"https:///cb":                                      never,
		"https:cb":                                         never,
		"https://:443/cb":                                  never,
		"//app.example/cb":                                 never,
		"/cb":                                              never,
		"":                                                 never,
		"javascript:alert(1)":                              never,
		"data:text/html,x":                                 never,
		"myapp://cb":                                       never,
		"com.example.app:cb":                               never,
		"https://app.example/%zz":                          never,
		"https://app.example/" + strings.Repeat("a", 2000): never,
	} {
		for _, public := range []bool{false, true} {
			good := allowed == both || allowed == publicOnly && public
			for _, n := range []app.New{
				{RedirectURIs: []string{uri}},
				{RedirectURIs: []string{"https://good.example/"}, PostLogoutURIs: []string{uri}},
			} {
				i++
				n.Name, n.Public = fmt.Sprint("app ", i), public
				_, _, err := s.Create(t.Context(), scope, n, now)
				if good && err != nil || !good && !fault.Has(err, wire.BadRequest) {
					t.Errorf("%q, public %v: %v", uri, public, err)
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	d := dbtest.New(t)
	s, scope := app.NewStore(d), tenanttest.New(t, d, "contoso").Scope()
	good := []string{"https://app.example/"}
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("https://app.example/", i)
	}
	for what, n := range map[string]app.New{
		"no name":            {RedirectURIs: good},
		"blank name":         {Name: "  ", RedirectURIs: good},
		"long name":          {Name: strings.Repeat("ä", 101), RedirectURIs: good},
		"control in name":    {Name: "a\x00", RedirectURIs: good},
		"no address":         {Name: "a"},
		"double address":     {Name: "a", RedirectURIs: append(good, good...)},
		"too many addresses": {Name: "a", RedirectURIs: many},
		"algorithm none":     {Name: "a", RedirectURIs: good, Algorithm: "none"},
		"algorithm HS256":    {Name: "a", RedirectURIs: good, Algorithm: "HS256"},
	} {
		_, _, err := s.Create(t.Context(), scope, n, now)
		want(t, what, err, wire.BadRequest, "")
	}
}

func FuzzAddress(f *testing.F) {
	d, err := db.Open(f.Context(), db.Config{URL: dbtest.SQLite(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = d.Close() })
	s, scope := app.NewStore(d), tenanttest.New(f, d, "contoso").Scope()
	made, _, err := s.Create(f.Context(), scope, app.New{Name: "a", RedirectURIs: []string{"https://a.example/"}}, now)
	if err != nil {
		f.Fatal(err)
	}
	for _, uri := range []string{"https://app.example/cb", "http://[::1]:1/", "com.example:/x", "javascript:1", "https://a@b/"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		changed, err := s.Change(t.Context(), scope, made.ID, app.Change{RedirectURIs: &[]string{uri}}, now)
		switch {
		case err == nil && changed.RedirectURIs[0] != uri:
			t.Fatalf("%q was changed to %q", uri, changed.RedirectURIs[0])
		case err == nil && (!strings.Contains(uri, ":/") || strings.ContainsAny(uri, "#*\\ \n\x00")):
			t.Fatalf("%q was registered", uri)
		case err != nil && !fault.Has(err, wire.BadRequest):
			t.Fatalf("%q: %v", uri, err)
		}
	})
}
