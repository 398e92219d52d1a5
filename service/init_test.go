package service

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// opened is the store of a configuration, for looking at what was made.
func opened(t *testing.T, cfg Config) store {
	t.Helper()
	st := must[store](t)(openStore(t.Context(), cfg, (&logBuffer{}).logger()))
	t.Cleanup(func() { _ = st.db.Close() })
	return st
}

// TestInitMakesAnAdministrator: the one that it names signs in, through the one function that checks passwords.
func TestInitMakesAnAdministrator(t *testing.T) {
	cfg := trial(t)
	out := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso", DisplayName: "Contoso Ltd"}, nil))
	if out.Tenant.DisplayName != "Contoso Ltd" || !regexp.MustCompile(`^admin-[a-z2-7]{6}@contoso\.internal$`).MatchString(out.Administrator.UPN) ||
		out.Administrator.Role != user.Administrator || out.Administrator.Source != user.CloudOnly || len(out.AdminPassword) < 20 {
		t.Fatalf("%+v", out)
	}
	st := opened(t, cfg)
	checker := password.New(password.Config{Tenants: st.tenants, Users: st.users, Fleet: st.fleet, Lockout: st.lockout}) // no queue: none is needed
	for _, try := range []struct {
		password string
		right    bool
	}{{out.AdminPassword, true}, {out.AdminPassword + "x", false}} {
		answer, err := checker.Check(t.Context(), out.Tenant.Scope(), password.Attempt{Name: strings.ToUpper(out.Administrator.UPN), Password: wire.NewSecret([]byte(try.password))})
		if err != nil || answer.Right != try.right {
			t.Errorf("right %v, not %v; %v", answer.Right, try.right, err)
		}
	}
	info, err := os.Stat(out.TokenFile)
	if err != nil || info.Mode().Perm() != 0o600 || out.TokenFile != filepath.Join(cfg.Data, "admin-token") {
		t.Errorf("token file %s: %v, %v", out.TokenFile, info, err)
	}
}

func TestInitWithChosenNameAndPassword(t *testing.T) {
	cfg := trial(t)
	secret := wire.NewSecret([]byte("correct horse battery"))
	out := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso", AdminName: "Root@Emergency.Contoso.example", AdminPassword: secret}, nil))
	if out.AdminPassword != "" || out.Administrator.UPN != "Root@Emergency.Contoso.example" || out.Tenant.DisplayName != "contoso" {
		t.Errorf("%+v", out)
	}
	if strings.Trim(string(secret.Reveal()), "\x00") != "" {
		t.Error("the password was not wiped")
	}
	d, err := opened(t, cfg).tenants.Domain(t.Context(), out.Tenant.Scope(), "emergency.contoso.example")
	if err != nil || d.Kind != tenant.Cloud {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestSecondInit keeps the token and adds a tenant.
func TestSecondInit(t *testing.T) {
	cfg := trial(t)
	first := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil))
	token := string(must[[]byte](t)(os.ReadFile(first.TokenFile)))
	second := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "fabrikam"}, nil))
	if got := string(must[[]byte](t)(os.ReadFile(second.TokenFile))); got != token || second.TokenFile != first.TokenFile {
		t.Error("the second init replaced the token")
	}
	r := start(t, cfg)
	if all, err := admin.All[admin.Tenant](t.Context(), r.api(), admin.Path("tenants")); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	// Beside a running service, too.
	third := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "northwind"}, nil))
	if status, _, _ := r.get(r.PublicURL() + "/t/" + third.Tenant.Name + "/.well-known/openid-configuration"); status != http.StatusOK {
		t.Errorf("a tenant made beside the running service: %d", status)
	}
}

// TestInitMakesAllOrNothing: whatever fails, no tenant without administrator stays, and the same name can be used again.
func TestInitMakesAllOrNothing(t *testing.T) {
	long := strings.Repeat("x", 400)
	for _, c := range []struct {
		name string
		in   InitRequest
		want string
	}{
		{"tenant name", InitRequest{Tenant: "Contoso Ltd", AdminName: "a@b.example"}, "lower-case letters"},
		{"display name", InitRequest{Tenant: "contoso", DisplayName: "a\x00b"}, "display name"},
		{"no domain", InitRequest{Tenant: "contoso", AdminName: "admin"}, "must have the form name@domain"},
		{"bad domain", InitRequest{Tenant: "contoso", AdminName: "admin@-"}, "must have the form name@domain"},
		{"no name", InitRequest{Tenant: "contoso", AdminName: "@contoso.internal"}, "must have the form name@domain"},
		{"long name", InitRequest{Tenant: "contoso", AdminName: long + "@contoso.internal"}, "at most"},
		{"two @", InitRequest{Tenant: "contoso", AdminName: "a@b@c.example"}, "must have the form name@domain"},
		{"short password", InitRequest{Tenant: "contoso", AdminPassword: wire.NewSecret([]byte("short"))}, "at least"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := trial(t)
			out, err := Init(t.Context(), cfg, c.in, nil)
			wantError(t, err, c.want)
			if out.Tenant.ID != "" || out.AdminPassword != "" {
				t.Errorf("a result beside the error: %+v", out)
			}
			if all := must[[]tenant.Tenant](t)(opened(t, cfg).tenants.Tenants(t.Context(), "", 0)); len(all) != 0 {
				t.Errorf("left behind: %+v", all)
			}
			if _, err := os.Stat(filepath.Join(cfg.Data, "admin-token")); err == nil {
				t.Error("a token was left behind")
			}
			must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil))
		})
	}
	t.Run("token file", func(t *testing.T) {
		cfg := trial(t)
		tokens := filepath.Join(cfg.Data, "admin-token")
		st := opened(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := firstToken(ctx, cfg, st.db, time.Now())
		if err == nil {
			t.Fatal("a token was made for a caller that has gone")
		}
		if _, err := os.Stat(tokens); err == nil {
			t.Error("an empty token file was left behind")
		}
	})
	t.Run("administrator cannot be made", func(t *testing.T) {
		cfg := trial(t)
		st := opened(t, cfg)
		// No row of a person is taken any more: the tenant and its domain can be made, the administrator cannot.
		if err := st.db.Write(t.Context(), func(tx db.Querier) error {
			_, err := tx.ExecContext(t.Context(), `CREATE TRIGGER full BEFORE INSERT ON person BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		_, err := Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil)
		wantError(t, err, "the disk is full")
		if all := must[[]tenant.Tenant](t)(st.tenants.Tenants(t.Context(), "", 0)); len(all) != 0 {
			t.Errorf("left behind: %+v", all)
		}
	})
}

func TestInitTwice(t *testing.T) {
	cfg := trial(t)
	first := must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil))
	_, err := Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil)
	if !fault.Has(err, wire.Conflict) {
		t.Fatalf("%v", err)
	}
	wantError(t, err, `there is a tenant named "contoso" already`)
	st := opened(t, cfg)
	if u, err := st.users.ByUPN(t.Context(), first.Tenant.Scope(), first.Administrator.UPN); err != nil || u.ID != first.Administrator.ID {
		t.Errorf("the first administrator: %+v, %v", u, err)
	}
}

// TestRenewToken: the new token opens the API, the old one does not any more.
func TestRenewToken(t *testing.T) {
	cfg := trial(t)
	must[InitResult](t)(Init(t.Context(), cfg, InitRequest{Tenant: "contoso"}, nil))
	r := start(t, cfg)
	old := r.api()
	file := must[string](t)(RenewToken(t.Context(), cfg, nil))
	if info := must[os.FileInfo](t)(os.Stat(file)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := admin.All[admin.Tenant](t.Context(), r.api(), admin.Path("tenants")); err != nil {
		t.Errorf("with the new token: %v", err)
	}
	if _, err := admin.All[admin.Tenant](t.Context(), old, admin.Path("tenants")); err == nil {
		t.Error("the old token still works")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	must[string](t)(RenewToken(t.Context(), cfg, nil)) // a lost file is what it is for
	if _, err := admin.All[admin.Tenant](t.Context(), r.api(), admin.Path("tenants")); err != nil {
		t.Errorf("with the token after the loss: %v", err)
	}
}
