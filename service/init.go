package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// InitRequest says what the first start makes. AdminName's domain becomes a cloud domain of the tenant; empty: admin and six random letters and digits
// at a name under .internal, which no directory can own. A zero AdminPassword is made up and returned once.
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
// It works on the store directly and may run before, or beside, a service on the same store. It makes everything or nothing:
// what cannot stand in one transaction is removed again when a later part fails.
func Init(ctx context.Context, cfg Config, in InitRequest, log *slog.Logger) (out InitResult, err error) {
	defer in.AdminPassword.Wipe()
	if found := cfg.Check(); len(found) > 0 {
		return InitResult{}, joined(found)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if in.AdminName == "" {
		// Six letters and digits, so that strangers cannot guess whom to guess at.
		in.AdminName = "admin-" + strings.ToLower(rand.Text()[:6]) + "@" + in.Tenant + ".internal"
	}
	_, suffix, _ := strings.Cut(in.AdminName, "@")
	domain, err := tenant.DomainName(suffix)
	if err != nil {
		return InitResult{}, fault.Newf(wire.BadRequest, "the administrator's name %q must have the form name@domain, such as admin@contoso.internal", in.AdminName)
	}
	if in.AdminPassword.Len() == 0 {
		out.AdminPassword = rand.Text()
		in.AdminPassword = wire.NewSecret([]byte(out.AdminPassword))
		defer in.AdminPassword.Wipe()
	}
	if err := password.ValidateNew(in.AdminPassword); err != nil {
		return InitResult{}, err
	}
	hash, err := password.Hash(ctx, in.AdminPassword)
	if err != nil {
		return InitResult{}, err
	}
	st, err := openStore(ctx, cfg, log)
	if err != nil {
		return InitResult{}, err
	}
	defer func() { err = errors.Join(err, st.db.Close()) }()
	now := time.Now()
	if out.Tenant, err = st.tenants.CreateTenant(ctx, tenant.NewTenant{Name: in.Tenant, DisplayName: in.DisplayName}, now); err != nil {
		return InitResult{}, err
	}
	scope := out.Tenant.Scope()
	defer func() {
		if err == nil {
			return
		}
		// Also when the caller has given up: a tenant without administrator must not stay.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, st.tenants.RemoveTenant(undo, scope))
		out = InitResult{}
	}()
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
	out.TokenFile, err = firstToken(ctx, cfg, st.db, now)
	return out, err
}

// firstToken makes a token for the admin API unless the data folder holds one. The file is claimed before the token is made,
// so that no token exists that nobody was told.
func firstToken(ctx context.Context, cfg Config, rows *db.DB, now time.Time) (_ string, err error) {
	name := cfg.TokenFile()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return name, nil
	}
	if err != nil {
		return "", fmt.Errorf("data: the admin API's token cannot be written: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	token, err := admin.CreateToken(ctx, rows, admin.NewToken{Note: "made by init"}, now)
	if err != nil {
		return "", err
	}
	if _, err := f.WriteString(token.Secret + "\n"); err != nil {
		return "", fmt.Errorf("data: the admin API's token cannot be written: %w", err)
	}
	return name, nil
}

// RenewToken makes a new token for the whole installation, in place of the one in the data folder, which ends: for a token that
// has expired, was lost or is feared to be known. It works on the store directly, so it needs no token; whoever can read the
// data folder owns the installation anyway. It returns the name of the file.
func RenewToken(ctx context.Context, cfg Config, log *slog.Logger) (name string, err error) {
	if found := cfg.Check(); len(found) > 0 {
		return "", joined(found)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	st, err := openStore(ctx, cfg, log)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, st.db.Close()) }()
	name = cfg.TokenFile()
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("data: %w", err)
	}
	line, err := admin.LineOf(ctx, st.db, strings.TrimSpace(string(old)))
	if err != nil {
		return "", err
	}
	token, err := admin.CreateToken(ctx, st.db, admin.NewToken{Note: "made by token renew", Ancestors: line}, time.Now())
	if err != nil {
		return "", err
	}
	// A new file that takes the old one's place: whoever reads meets one or the other, whole.
	f, err := os.CreateTemp(cfg.Data, ".admin-token-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("data: the admin API's token cannot be written: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, writeErr := f.WriteString(token.Secret + "\n")
	if err := errors.Join(writeErr, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("data: the admin API's token cannot be written: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return "", fmt.Errorf("data: the admin API's token cannot be written: %w", err)
	}
	if secret := strings.TrimSpace(string(old)); secret != "" {
		return name, admin.EndToken(ctx, st.db, secret)
	}
	return name, nil
}
