package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func userJSON(u user.User) User {
	return User{ID: u.ID, UPN: u.UPN, Source: string(u.Source), Directory: u.DirectoryID, Anchor: u.Anchor,
		DisplayName: u.DisplayName, GivenName: u.GivenName, FamilyName: u.FamilyName, Email: u.Email, Groups: u.Groups,
		Role: string(u.Role), Disabled: u.Disabled, Created: u.Created.UTC(), Changed: u.Changed.UTC()}
}

// findUser finds a user by UPN, else by id.
func (a *API) findUser(ctx context.Context, s tenant.Scope, upnOrID string) (user.User, error) {
	u, err := a.cfg.Users.ByUPN(ctx, s, upnOrID)
	if missing(err) {
		u, err = a.cfg.Users.ByID(ctx, s, upnOrID)
	}
	if missing(err) {
		return u, fault.Newf(wire.NotFound, "no user %q", upnOrID)
	}
	return u, err
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
	if u.Source == "" {
		u.Source = user.CloudOnly
		if u.DirectoryID != "" {
			u.Source = user.Synced
		}
	}
	u, err = a.cfg.Users.Create(ctx, r.scope, u, r.now)
	return shown(http.StatusCreated, u, err, userJSON)
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

// secretInput is a JSON string that becomes a wire.Secret without passing through a string.
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
	if u.Source != user.CloudOnly {
		return 0, nil, fault.New(wire.BadRequest, "only cloud-only users have a password here; this one's is in the directory")
	}
	if err := password.ValidateNew(in.Password.Secret); err != nil {
		return 0, nil, err
	}
	hash, err := password.Hash(in.Password.Secret)
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
