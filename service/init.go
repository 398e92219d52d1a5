package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// InitRequest says what the first start makes. AdminName's domain becomes a cloud domain of the tenant; empty: admin at a name
// under .internal, which no directory can own. A zero AdminPassword is made up and returned once.
type InitRequest struct {
	Tenant, DisplayName, AdminName string
	AdminPassword                  wire.Secret
}

// InitResult is what was made. AdminPassword is set only if it was made up; TokenFile holds the admin API's token.
type InitResult struct {
	Tenant        tenant.Tenant
	Administrator user.User
	AdminPassword string
	TokenFile     string
}

// Init makes a tenant and its break-glass administrator: a cloud-only user whose password is checked here, so that somebody can
// sign in when every agent and directory is down. The first Init also writes a token for the admin API into the data folder.
// It works on the store directly and must run before, or beside, a service on the same store.
func Init(ctx context.Context, cfg Config, in InitRequest, log *slog.Logger) (out InitResult, err error) {
	st, err := openStore(ctx, cfg, log)
	if err != nil {
		return out, err
	}
	defer st.db.Close()
	now := time.Now()
	if in.DisplayName == "" {
		in.DisplayName = in.Tenant
	}
	if in.AdminName == "" {
		in.AdminName = "admin@" + in.Tenant + ".internal"
	}
	_, domain, ok := strings.Cut(in.AdminName, "@")
	if !ok {
		return out, fault.Newf(wire.BadRequest, "%q is not a sign-in name such as admin@%s.internal", in.AdminName, in.Tenant)
	}
	if in.AdminPassword.Len() == 0 {
		out.AdminPassword = rand.Text()
		in.AdminPassword = wire.NewSecret([]byte(out.AdminPassword))
	}
	defer in.AdminPassword.Wipe()
	if err := password.ValidateNew(in.AdminPassword); err != nil {
		return out, err
	}
	hash, err := password.Hash(in.AdminPassword)
	if err != nil {
		return out, err
	}
	if out.Tenant, err = st.tenants.CreateTenant(ctx, tenant.NewTenant{Name: in.Tenant, DisplayName: in.DisplayName}, now); err != nil {
		return out, err
	}
	scope := out.Tenant.Scope()
	if _, err := st.tenants.CreateDomain(ctx, scope, tenant.Domain{Name: domain, Kind: tenant.Cloud}, now); err != nil {
		return out, err
	}
	if out.Administrator, err = st.users.Create(ctx, scope, user.User{UPN: in.AdminName, Source: user.CloudOnly,
		DisplayName: "Break-glass administrator", Role: user.Administrator}, now); err != nil {
		return out, err
	}
	if err := st.users.SetPasswordHash(ctx, scope, out.Administrator.ID, hash, now); err != nil {
		return out, err
	}
	out.TokenFile = filepath.Join(cfg.Data, "admin-token")
	if _, err := os.Stat(out.TokenFile); err == nil {
		return out, nil
	}
	token, err := admin.CreateToken(ctx, st.db, "", "made by init", now)
	if err != nil {
		return out, err
	}
	if err := os.WriteFile(out.TokenFile, []byte(token+"\n"), 0o600); err != nil {
		return out, fmt.Errorf("writing the admin API's token: %w", err)
	}
	return out, nil
}
