package password

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// admit finds or makes the user whom the directory accepted: the one with the objectGUID that it told, and never merely the one
// with the name, which may be another person's by now. If it was asked for and not told, nobody is let in, and nobody is taken
// for wrong either: the fault is [wire.IdentityUnproven]. Who is not to be let in looks like a wrong password, and the log has
// the reason.
func (k *check) admit(ctx context.Context, told *wire.Attributes) error {
	switch {
	case told == nil && k.want:
		return fault.Newf(wire.IdentityUnproven, "the directory accepted the password of %s, but agent %s (%s) could not tell whose it is%s",
			text(k.name), k.ans.Agent, k.ans.AgentName, detail(k.ans.Diagnostic))
	case told == nil:
		k.right(k.known)
		return nil
	}
	attributes, admits, err := k.ownName(ctx, *told)
	if err != nil {
		return err
	}
	u, err := k.users.Provision(ctx, k.scope, user.Asked{DirectoryID: k.domain.DirectoryID, SignInAttribute: k.domain.SignInAttribute}, attributes,
		admits && k.domain.AdmitUsers, time.Now())
	switch code := fault.CodeOf(err); code {
	case 0:
		k.right(u)
		return nil
	case wire.UserNotFound, wire.Conflict:
		k.refuse(code, text(err.Error()))
		if k.known.Anchor != "" {
			// The known user's administrator has to hear of it: until the old user is renamed or removed here, the new one stays out.
			k.log.LogAttrs(ctx, slog.LevelWarn, "the directory accepted somebody else than the user of this name; refused", slog.String("tenant", k.tenantID),
				slog.String("directory", k.domain.DirectoryID), slog.String("name", k.name), slog.String("user", k.known.ID),
				slog.String("object_guid", k.known.Anchor), slog.String("told_object_guid", text(told.Anchor)), slog.String("reason", text(err.Error())))
		}
		return nil
	case wire.BadRequest, wire.NotFound:
		return fault.Wrap(wire.DirectoryUnusable, "what the directory told of the user cannot be stored", err)
	}
	return fmt.Errorf("password: storing the user: %w", err)
}

// ownName keeps a directory from naming users of another: the names it tells must be in domains that this tenant has given to this
// directory. If the UPN is not (an internal suffix such as corp.local), the other name stands that people sign in with, if it told one, and else the
// typed name, which is in such a domain and which the directory has just accepted. admits is what the domain of the name that stands says of
// unknown people.
func (k *check) ownName(ctx context.Context, a wire.Attributes) (own wire.Attributes, admits bool, err error) {
	other, err := k.own(ctx, a.SignInName)
	if err != nil {
		return a, false, err
	}
	if k.domain.SignInAttribute == "" || other.SignInAttribute == "" {
		a.SignInName = "" // nobody asked for it
	}
	if user.Key(a.UPN) == user.Key(k.name) {
		return a, k.domain.AdmitUsers, nil
	}
	if d, err := k.own(ctx, a.UPN); err != nil || d.Name != "" {
		return a, d.AdmitUsers, err
	}
	if a.SignInName != "" {
		a.UPN = a.SignInName
		return a, other.AdmitUsers, nil
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "directory's name for a user is not in one of its domains; the typed name stands",
		slog.String("tenant", k.tenantID), slog.String("directory", k.domain.DirectoryID), slog.String("name", k.name), slog.String("told", text(a.UPN)))
	a.UPN = k.name
	return a, k.domain.AdmitUsers, nil
}

// own is the domain of a name, if this tenant has given it to the directory that was asked; else the zero domain.
func (k *check) own(ctx context.Context, name string) (tenant.Domain, error) {
	_, form, domain := nameOf(name)
	switch {
	case form != formUPN:
		return tenant.Domain{}, nil
	case domain == k.domain.Name:
		return k.domain, nil
	}
	d, err := k.tenants.Domain(ctx, k.scope, domain)
	if fault.Has(err, wire.NotFound) || err == nil && d.DirectoryID != k.domain.DirectoryID {
		return tenant.Domain{}, nil
	}
	if err != nil {
		return tenant.Domain{}, fmt.Errorf("password: looking for the domain of the user's name: %w", err)
	}
	return d, nil
}
