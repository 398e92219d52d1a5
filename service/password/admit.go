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

// admit finds or makes the user whom the directory accepted. Who is not to be let in looks like a wrong password, and the log
// has the reason.
func (k *check) admit(ctx context.Context, told *wire.Attributes) error {
	if told == nil {
		// No attributes: either none were asked for, or the agent could not read them. A user of this directory is let in as known;
		// anybody else cannot be told from a namesake.
		if k.known.ID == "" || k.known.Source != user.Synced || k.known.DirectoryID != k.domain.DirectoryID {
			k.refuse(wire.UserNotFound, "the directory accepted the password, but told nothing of the person, who is unknown here")
			return nil
		}
		k.right(k.known)
		return nil
	}
	attributes, err := k.ownName(ctx, *told)
	if err != nil {
		return err
	}
	u, err := k.users.Provision(ctx, k.scope, k.domain.DirectoryID, attributes, k.domain.AdmitUsers, time.Now())
	switch code := fault.CodeOf(err); code {
	case 0:
		k.right(u)
		return nil
	case wire.UserNotFound, wire.Conflict:
		k.refuse(code, text(err.Error()))
		return nil
	case wire.BadRequest, wire.NotFound:
		return fault.Wrap(wire.DirectoryUnusable, "what the directory told of the user cannot be stored", err)
	}
	return fmt.Errorf("password: storing the user: %w", err)
}

// ownName keeps a directory from naming users of another: the name it tells must be in a domain that this tenant has given to this
// directory. If it is not (an internal suffix such as corp.local), the typed name stands, which is in such a domain and
// which the directory has just accepted.
func (k *check) ownName(ctx context.Context, a wire.Attributes) (wire.Attributes, error) {
	if user.Key(a.UPN) == user.Key(k.name) {
		return a, nil
	}
	if at := strings.LastIndexByte(a.UPN, '@'); at >= 0 {
		d, err := k.tenants.Domain(ctx, k.scope, a.UPN[at+1:])
		if err != nil && !fault.Has(err, wire.NotFound) {
			return a, fmt.Errorf("password: looking for the domain of the user's name: %w", err)
		}
		if err == nil && d.DirectoryID == k.domain.DirectoryID {
			return a, nil
		}
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "directory's name for a user is not in one of its domains; the typed name stands",
		slog.String("tenant", k.tenantID), slog.String("directory", k.domain.DirectoryID), slog.String("name", k.name), slog.String("told", text(a.UPN)))
	a.UPN = k.name
	return a, nil
}
