package password

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
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
	attributes.SignInName = k.otherName(told.SignInName)
	if err != nil {
		return err
	}
	u, err := k.users.Provision(ctx, k.scope, k.domain.DirectoryID, attributes, admits && k.domain.AdmitUsers, time.Now())
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

// otherName is the name beside the UPN that a directory told, if this check asked for it, in the form in which names are looked up. A directory names
// people of the domain alone of which it was asked.
func (k *check) otherName(told string) string {
	name, form, domain := nameOf(told)
	if form != formUPN || k.domain.SignInAttribute == "" || domain != k.domain.Name {
		return ""
	}
	return name
}

// ownName keeps a directory from naming users of another: the name it tells must be in a domain that this tenant has given to this
// directory. If it is not (an internal suffix such as corp.local), the typed name stands, which is in such a domain and
// which the directory has just accepted. admits is what the domain of the name that stands says of unknown people.
func (k *check) ownName(ctx context.Context, a wire.Attributes) (own wire.Attributes, admits bool, err error) {
	if user.Key(a.UPN) == user.Key(k.name) {
		return a, k.domain.AdmitUsers, nil
	}
	if at := strings.LastIndexByte(a.UPN, '@'); at >= 0 {
		d, err := k.tenants.Domain(ctx, k.scope, a.UPN[at+1:])
		if err != nil && !fault.Has(err, wire.NotFound) {
			return a, false, fmt.Errorf("password: looking for the domain of the user's name: %w", err)
		}
		if err == nil && d.DirectoryID == k.domain.DirectoryID {
			return a, d.AdmitUsers, nil
		}
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "directory's name for a user is not in one of its domains; the typed name stands",
		slog.String("tenant", k.tenantID), slog.String("directory", k.domain.DirectoryID), slog.String("name", k.name), slog.String("told", text(a.UPN)))
	a.UPN = k.name
	return a, k.domain.AdmitUsers, nil
}
