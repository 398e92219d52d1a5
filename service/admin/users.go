package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func userJSON(u user.User) User {
	return User{ID: u.ID, UPN: u.UPN, Source: string(u.Source), Directory: u.DirectoryID, Anchor: u.Anchor,
		DisplayName: u.DisplayName, GivenName: u.GivenName, FamilyName: u.FamilyName, Email: u.Email, SignInName: u.SignInName, Groups: u.Groups,
		Role: string(u.Role), Disabled: u.Disabled, Created: u.Created.UTC(), Changed: u.Changed.UTC()}
}

// findUser finds a user by UPN, else by id, else by another name that a domain lets people type.
func (a *API) findUser(ctx context.Context, s tenant.Scope, nameOrID string) (user.User, error) {
	u, err := a.cfg.Users.ByUPN(ctx, s, nameOrID)
	if missing(err) {
		u, err = a.cfg.Users.ByID(ctx, s, nameOrID)
	}
	if missing(err) {
		u, err = a.byOtherName(ctx, s, nameOrID)
	}
	if missing(err) {
		return u, fault.Newf(wire.NotFound, "no user “%s”", nameOrID)
	}
	return u, err
}

// byOtherName finds a user by CORP\ada, or by the value of the attribute that names of a domain may be.
func (a *API) byOtherName(ctx context.Context, s tenant.Scope, name string) (user.User, error) {
	if short, account, ok := strings.Cut(name, `\`); ok {
		d, err := a.cfg.Tenants.DomainByNetBIOS(ctx, s, short)
		if err != nil {
			return user.User{}, err
		}
		return a.cfg.Users.ByUPN(ctx, s, account+"@"+d.Name)
	}
	_, domain, _ := strings.Cut(name, "@")
	d, err := a.cfg.Tenants.Domain(ctx, s, domain)
	if err != nil {
		return user.User{}, err
	}
	return a.cfg.Users.BySignInName(ctx, s, d.DirectoryID, d.SignInAttribute, name, time.Now())
}

func (a *API) listUsers(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	rows, err := a.cfg.Users.List(ctx, r.scope, after, limit)
	if err != nil {
		return 0, nil, err
	}
	return page(rows, limit, userJSON, func(u user.User) string { return u.ID })
}

func (a *API) createUser(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[UserInput](r)
	if err != nil {
		return 0, nil, err
	}
	u := user.User{UPN: in.UPN, Source: user.Source(in.Source), DisplayName: value(in.DisplayName, ""),
		GivenName: value(in.GivenName, ""), FamilyName: value(in.FamilyName, ""), Email: value(in.Email, ""),
		Groups: value(in.Groups, nil), Role: user.Role(value(in.Role, "")), Disabled: value(in.Disabled, false)}
	if in.Directory != "" {
		d, err := a.findDirectory(ctx, r.scope, in.Directory)
		if err != nil {
			return 0, nil, err
		}
		u.DirectoryID = d.ID
	}
	d, err := a.domainOf(ctx, r, u.UPN)
	if err != nil {
		return 0, nil, err
	}
	if u.Source == "" {
		switch {
		case u.DirectoryID != "":
			u.Source = user.Synced
		case d.Kind == tenant.PassThrough:
			u.Source, u.DirectoryID = user.Synced, d.DirectoryID
		default:
			u.Source = user.CloudOnly
		}
	}
	if err := fits(u.Source, u.DirectoryID, d); err != nil {
		return 0, nil, err
	}
	u, err = a.cfg.Users.Create(ctx, r.scope, u, r.now)
	return shown(http.StatusCreated, u, err, userJSON)
}

// domainOf finds the tenant's domain that a sign-in name belongs to. The rest of the name is judged by package user.
func (a *API) domainOf(ctx context.Context, r *request, upn string) (tenant.Domain, error) {
	_, name, ok := strings.Cut(strings.TrimSpace(upn), "@")
	if !ok {
		return tenant.Domain{}, fault.New(wire.BadRequest, "the sign-in name must have the form name@domain")
	}
	d, err := a.cfg.Tenants.Domain(ctx, r.scope, name)
	if missing(err) {
		return d, fault.Newf(wire.BadRequest, "%.80q is not a domain of this tenant, so nobody could check the password. Add the domain first (domain create)", name)
	}
	return d, err
}

// fits holds users and domains together: whoever checks the passwords of a name's domain must be able to check this user's.
func fits(source user.Source, directoryID string, d tenant.Domain) error {
	switch {
	case source == user.CloudOnly && d.Kind == tenant.PassThrough:
		return fault.Newf(wire.BadRequest, "%s is a pass-through domain: its users' passwords are checked by a directory. "+
			"Make cloud-only users in a cloud domain", d.Name)
	case source == user.Synced && d.Kind == tenant.Cloud:
		return fault.Newf(wire.BadRequest, "%s is a cloud domain: no directory checks its users' passwords. Make synced users in a pass-through domain", d.Name)
	case source == user.Synced && directoryID != "" && directoryID != d.DirectoryID:
		return fault.Newf(wire.BadRequest, "the passwords of %s are checked by another directory than the one given", d.Name)
	}
	return nil
}

func (a *API) showUser(ctx context.Context, r *request) (int, any, error) {
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	return shown(http.StatusOK, u, err, userJSON)
}

func (a *API) changeUser(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[UserInput](r)
	if err != nil {
		return 0, nil, err
	}
	if in.Source != "" || in.Directory != "" {
		return 0, nil, fault.New(wire.BadRequest, "a user's source and directory cannot change")
	}
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	if err != nil {
		return 0, nil, err
	}
	change := user.Change{DisplayName: in.DisplayName, GivenName: in.GivenName, FamilyName: in.FamilyName,
		Email: in.Email, Groups: in.Groups, Disabled: in.Disabled}
	if in.UPN != "" {
		d, err := a.domainOf(ctx, r, in.UPN)
		if err != nil {
			return 0, nil, err
		}
		if err := fits(u.Source, u.DirectoryID, d); err != nil {
			return 0, nil, err
		}
		change.UPN = &in.UPN
	}
	if in.Role != nil {
		role := user.Role(*in.Role)
		change.Role = &role
	}
	u, err = a.cfg.Users.Change(ctx, r.scope, u.ID, change, r.now)
	return shown(http.StatusOK, u, err, userJSON)
}

func (a *API) removeUser(ctx context.Context, r *request) (int, any, error) {
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Users.Remove(ctx, r.scope, u.ID))
}

// secretInput is a JSON string that becomes a wire.Secret as soon as it is decoded.
type secretInput struct{ wire.Secret }

// UnmarshalJSON takes a JSON string.
func (s *secretInput) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fault.New(wire.BadRequest, "password must be a string")
	}
	s.Secret = wire.NewSecret([]byte(text))
	return nil
}

func (a *API) setPassword(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[struct {
		Password secretInput `json:"password"`
	}](r)
	if err != nil {
		return 0, nil, err
	}
	defer in.Password.Wipe()
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	if err != nil {
		return 0, nil, err
	}
	if u.Source != user.CloudOnly { // also refused by the store; said before the hash is computed
		return 0, nil, fault.Newf(wire.BadRequest, "%s is a synced user: the password lives in the directory alone", u.UPN)
	}
	if err := password.ValidateNew(in.Password.Secret); err != nil {
		return 0, nil, err
	}
	hash, err := password.Hash(ctx, in.Password.Secret)
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Users.SetPasswordHash(ctx, r.scope, u.ID, hash, r.now))
}

func (a *API) unlockUser(ctx context.Context, r *request) (int, any, error) {
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Lockout.Clear(ctx, r.scope, u.ID))
}

// signOutUser ends every session and token of a user, on all devices.
func (a *API) signOutUser(ctx context.Context, r *request) (int, any, error) {
	u, err := a.findUser(ctx, r.scope, r.PathValue("user"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Users.SignOut(ctx, r.scope, u.ID, r.now))
}
