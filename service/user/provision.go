package user

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Asked says whom an accepted person's attributes come from.
type Asked struct {
	DirectoryID string
	// SignInAttribute is the attribute of which the other name was to be told; empty if nobody asked for one.
	SignInAttribute string
}

// Provision brings what a directory told of an accepted person into the store and returns the user, by the rules of the
// package comment. The user may be disabled: the caller looks. Faults: UserNotFound when the person is unknown and admit is
// false, Conflict when the name is another user's, BadRequest for attributes that cannot be stored, NotFound for an unknown directory.
//
// A sign-in that tells nothing new writes nothing.
func (s *Store) Provision(ctx context.Context, scope tenant.Scope, asked Asked, a wire.Attributes, admit bool, now time.Time) (User, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return User{}, err
	}
	told, err := fromAttributes(asked, a, now)
	if err != nil {
		return User{}, err
	}
	known, err := s.ByAnchor(ctx, scope, asked.DirectoryID, told.Anchor)
	if err == nil && !known.stale(told) {
		return known, nil
	}
	if err != nil && !fault.Has(err, wire.NotFound) {
		return User{}, err
	}
	if err := s.ownDirectory(ctx, scope, asked.DirectoryID); err != nil {
		return User{}, err
	}
	var u User
	provision := func(tx db.Querier) (err error) {
		u, err = provisionIn(ctx, tx, tenantID, told, admit)
		return err
	}
	err = s.db.Write(ctx, provision)
	if errors.Is(db.Translate(err), db.ErrConflict) {
		// Another sign-in made the user between our look and our insert. It is there now, and the rules can tell whose it is.
		err = s.db.Write(ctx, provision)
	}
	return settle(u, err, told.UPN)
}

// fromAttributes is the user that the directory described.
func fromAttributes(asked Asked, a wire.Attributes, now time.Time) (User, error) {
	if a.Anchor == "" {
		return User{}, fault.New(wire.BadRequest, "the directory told no objectGUID: without it a person cannot be told from a later one of the same name")
	}
	var groups []string
	for _, g := range a.Groups {
		if g = tame(g, maxGroup); g != "" {
			groups = append(groups, g)
		}
	}
	at := db.Time(db.Millis(now))
	u := User{UPN: a.UPN, Source: Synced, DirectoryID: asked.DirectoryID, Anchor: a.Anchor, DisplayName: tame(a.DisplayName, maxText),
		GivenName: tame(a.GivenName, maxText), FamilyName: tame(a.FamilyName, maxText), Email: tame(a.Email, maxText), Groups: groups,
		AttributesAt: at, Created: at, Changed: at}
	if u.SignInAttribute = strings.ToLower(asked.SignInAttribute); u.SignInAttribute != "" {
		u.SignInName, u.SignInAt = a.SignInName, at
	}
	return u.clean()
}

// same reports whether u is stored as the directory told.
func (u User) same(told User) bool {
	called := u.recalled(told)
	return u.Anchor == told.Anchor && u.UPN == told.UPN && u.DisplayName == told.DisplayName && u.GivenName == told.GivenName &&
		u.FamilyName == told.FamilyName && u.Email == told.Email && u.SignInName == called.SignInName && u.SignInAttribute == called.SignInAttribute &&
		slices.Equal(u.Groups, told.Groups)
}

// stale reports whether the store should learn what the directory told.
func (u User) stale(told User) bool {
	return !u.same(told) || told.AttributesAt.Sub(u.AttributesAt) >= refreshAfter
}

// provisionIn decides and writes within one transaction.
func provisionIn(ctx context.Context, tx db.Querier, tenantID string, told User, admit bool) (User, error) {
	anchored, anchorErr := find(ctx, tx, tenantID, `directory_id = $2 AND anchor = $3`, told.DirectoryID, told.Anchor)
	named, nameErr := find(ctx, tx, tenantID, `upn_key = $2`, Key(told.UPN))
	for _, err := range []error{anchorErr, nameErr} {
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return User{}, err
		}
	}
	before, err := whose(anchored, anchorErr == nil, named, nameErr == nil, told)
	if err != nil {
		return User{}, err
	}
	if before.ID != "" {
		return refresh(ctx, tx, tenantID, before, told)
	}
	if !admit {
		return User{}, fault.Newf(wire.UserNotFound, "the directory accepted %s, who is unknown here, and the domain does not admit users", told.UPN)
	}
	if told.SignInName == "" {
		told.SignInAttribute, told.SignInAt = "", time.Time{}
	}
	told.ID = db.NewID()
	return told, insert(ctx, tx, tenantID, told)
}

// whose says which stored user the directory spoke of: the zero User for one who is to be made. anchored is the user with
// the told anchor, named the one with the told name, if known.
func whose(anchored User, isAnchored bool, named User, isNamed bool, told User) (User, error) {
	switch {
	case isAnchored && (!isNamed || named.ID == anchored.ID):
		return anchored, nil
	case isAnchored:
		return User{}, fault.Newf(wire.Conflict, "the directory now calls the user %s (%s) by the name %s, which is still the name of %s here: "+
			"rename or remove that one", anchored.UPN, anchored.ID, told.UPN, describe(named))
	case !isNamed:
		return User{}, nil
	case named.Source == Synced && named.DirectoryID == told.DirectoryID && named.Anchor == "":
		return named, nil
	default:
		return User{}, fault.Newf(wire.Conflict, "the directory accepted %s with the objectGUID %s, but here the name is that of %s: they are not joined, "+
			"since they may be two people; rename or remove that one", told.UPN, told.Anchor, describe(named))
	}
}

// describe tells an administrator which user stands in the way.
func describe(u User) string {
	switch {
	case u.Source == CloudOnly:
		return "the cloud-only user " + u.ID
	case u.Anchor == "":
		return "the user " + u.ID + " of another directory"
	default:
		return "the user " + u.ID + " with the objectGUID " + u.Anchor
	}
}

// refresh writes what the directory told into a known user. What administrators decide (role, disabled) stays.
func refresh(ctx context.Context, tx db.Querier, tenantID string, before, told User) (User, error) {
	u := before.recalled(told)
	u.UPN, u.Anchor, u.DisplayName, u.GivenName, u.FamilyName, u.Email = told.UPN, told.Anchor, told.DisplayName, told.GivenName, told.FamilyName, told.Email
	u.Groups, u.AttributesAt = told.Groups, told.AttributesAt
	if !before.same(told) {
		u.Changed = told.Changed
	}
	return u, update(ctx, tx, tenantID, u)
}
