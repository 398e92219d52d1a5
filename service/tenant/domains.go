package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Kind says who checks the passwords of a domain's users.
type Kind string

// The kinds.
const (
	PassThrough Kind = "pass-through" // a directory, through its agents
	Cloud       Kind = "cloud"        // this service
)

// Domain is a DNS suffix of the tenant's user names.
type Domain struct {
	// Name is in the form of [DomainName].
	Name string
	Kind Kind
	// DirectoryID names the directory of a pass-through domain; it is empty for a cloud domain.
	DirectoryID string
	// AdmitUsers lets a user whom the directory accepts, and who is unknown here, in: the user is made at the first
	// sign-in. It is false for a cloud domain.
	AdmitUsers bool
	// SignInAttribute is the directory's attribute that names of this domain may be values of, such as mail, besides user principal names; empty
	// for none. An agent looks them up, so it needs a reader account.
	SignInAttribute string
	// NetBIOSName lets people of this domain type CORP\ada, which is ada@ this domain then; empty if they may not. It is in upper case, and
	// one domain's alone.
	NetBIOSName      string
	Created, Changed time.Time
}

// DomainChange is what may change of a domain; nil fields stay as they are. A change to Cloud drops the directory and
// AdmitUsers and the other forms of names, unless the same change sets them, which is refused.
type DomainChange struct {
	DirectoryID *string
	Kind        *Kind
	AdmitUsers  *bool
	// SignInAttribute and NetBIOSName: "" ends what was allowed.
	SignInAttribute, NetBIOSName *string
}

const domainColumns = `name, kind, directory_id, admit_users, sign_in_attribute, netbios_name, created_at, changed_at`

// CreateDomain adds a domain; d's times are ignored. Faults: BadRequest, Conflict for a name or NetBIOS name that the tenant has already,
// NotFound for a directory that it does not have.
func (s *Store) CreateDomain(ctx context.Context, scope Scope, d Domain, now time.Time) (Domain, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Domain{}, err
	}
	if d.Name, err = DomainName(d.Name); err != nil {
		return Domain{}, err
	}
	if d, err = d.clean(); err != nil {
		return Domain{}, err
	}
	d.Created = db.Time(db.Millis(now))
	d.Changed = d.Created
	err = s.db.Write(ctx, func(tx db.Querier) error {
		if err := ownDirectory(ctx, tx, tenant, d); err != nil {
			return err
		}
		if err := freeNetBIOS(ctx, tx, tenant, d); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO domain (tenant_id, `+domainColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			tenant, d.Name, string(d.Kind), optional(d.DirectoryID), d.AdmitUsers, d.SignInAttribute, optional(d.NetBIOSName), db.Millis(d.Created), db.Millis(d.Changed))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, tenant, d.event("create"), now)
	})
	switch err = db.Translate(err); {
	case errors.Is(err, db.ErrReference):
		return Domain{}, noTenant(tenant)
	case errors.Is(err, db.ErrConflict):
		return Domain{}, fault.Newf(wire.Conflict, "the tenant has the domain %s already", d.Name)
	case err != nil:
		return Domain{}, fmt.Errorf("tenant: create domain: %w", err)
	}
	return d, nil
}

// event tells who checks the passwords of a domain from now on.
func (d Domain) event(verb string) Event {
	names := ""
	if d.SignInAttribute != "" {
		names += ", names are looked up by " + d.SignInAttribute
	}
	if d.NetBIOSName != "" {
		names += ", also as " + d.NetBIOSName + `\`
	}
	return Event{What: "domain." + verb, Directory: d.DirectoryID, Detail: fmt.Sprintf("%s: %s, admits users: %t%s", d.Name, d.Kind, d.AdmitUsers, names)}
}

// clean holds what is true of every domain, and brings names into the form in which they are stored.
func (d Domain) clean() (Domain, error) {
	var err error
	if d.SignInAttribute, err = cleanAttribute(d.SignInAttribute); err != nil {
		return d, err
	}
	if d.NetBIOSName, err = cleanNetBIOS(d.NetBIOSName); err != nil {
		return d, err
	}
	return d, d.check()
}

func (d Domain) check() error {
	switch d.Kind {
	case PassThrough:
		if d.DirectoryID == "" {
			return fault.Newf(wire.BadRequest, "the pass-through domain %s needs a directory", d.Name)
		}
	case Cloud:
		if d.DirectoryID != "" || d.AdmitUsers {
			return fault.Newf(wire.BadRequest, "the cloud domain %s can neither have a directory nor admit users from one", d.Name)
		}
		if d.SignInAttribute != "" || d.NetBIOSName != "" {
			return fault.Newf(wire.BadRequest, "names of the cloud domain %s are user names alone: no directory stands behind them", d.Name)
		}
	default:
		return fault.Newf(wire.BadRequest, "the kind of a domain is %q or %q, not %q", PassThrough, Cloud, clip(string(d.Kind)))
	}
	return nil
}

// ownDirectory makes sure that the directory is of the same tenant: a foreign key alone would let it be another's.
func ownDirectory(ctx context.Context, tx db.Querier, tenant string, d Domain) error {
	if d.DirectoryID == "" {
		return nil
	}
	_, err := oneDirectory(ctx, tx, tenant, d.DirectoryID)
	return err
}

// Domains lists all domains of the tenant by name: they are few.
func (s *Store) Domains(ctx context.Context, scope Scope) ([]Domain, error) {
	tenant, err := scope.ID()
	if err != nil {
		return nil, err
	}
	all, err := db.Collect(ctx, s.db.Reader(), scanDomain, `SELECT `+domainColumns+` FROM domain WHERE tenant_id = $1 ORDER BY name`, tenant)
	return listed(all, err)
}

// Domain finds a domain by any spelling of its name, or fails with the fault NotFound.
func (s *Store) Domain(ctx context.Context, scope Scope, name string) (Domain, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Domain{}, err
	}
	return oneDomain(ctx, s.db.Reader(), tenant, name)
}

// DomainByNetBIOS finds the domain whose people may type this NetBIOS name before a backslash, in any case, or fails with the fault NotFound.
func (s *Store) DomainByNetBIOS(ctx context.Context, scope Scope, name string) (Domain, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Domain{}, err
	}
	clean, err := cleanNetBIOS(name)
	if err != nil || clean == "" {
		return Domain{}, noDomain(name)
	}
	d, err := scanDomain(s.db.Reader().QueryRowContext(ctx, `SELECT `+domainColumns+` FROM domain WHERE tenant_id = $1 AND netbios_name = $2`, tenant, clean))
	return found(d, err, noDomain(name))
}

// ChangeDomain changes who checks a domain's passwords, and returns the domain; what changes nothing is not recorded. Faults: BadRequest,
// NotFound, Conflict for a NetBIOS name that another domain has.
func (s *Store) ChangeDomain(ctx context.Context, scope Scope, name string, c DomainChange, now time.Time) (Domain, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Domain{}, err
	}
	var d Domain
	err = s.db.Write(ctx, func(tx db.Querier) error {
		before, err := oneDomain(ctx, tx, tenant, name)
		if err != nil {
			return err
		}
		if d, err = c.apply(before).clean(); err != nil || d == before {
			return err
		}
		d.Changed = db.Time(db.Millis(now))
		if err := ownDirectory(ctx, tx, tenant, d); err != nil {
			return err
		}
		if err := freeNetBIOS(ctx, tx, tenant, d); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE domain SET kind = $1, directory_id = $2, admit_users = $3, sign_in_attribute = $4, netbios_name = $5, changed_at = $6
			WHERE tenant_id = $7 AND name = $8`,
			string(d.Kind), optional(d.DirectoryID), d.AdmitUsers, d.SignInAttribute, optional(d.NetBIOSName), db.Millis(now), tenant, d.Name)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, tenant, d.event("change"), now)
	})
	if errors.Is(db.Translate(err), db.ErrConflict) {
		return Domain{}, fault.Newf(wire.Conflict, "another domain has the NetBIOS name %s already", d.NetBIOSName) // since a moment
	}
	if err != nil {
		return Domain{}, fmt.Errorf("tenant: change domain: %w", err)
	}
	return d, nil
}

// apply is the pure part of ChangeDomain.
func (c DomainChange) apply(d Domain) Domain {
	if c.Kind != nil {
		d.Kind = *c.Kind
		if d.Kind == Cloud {
			d.DirectoryID, d.AdmitUsers, d.SignInAttribute, d.NetBIOSName = "", false, "", ""
		}
	}
	if c.DirectoryID != nil {
		d.DirectoryID = *c.DirectoryID
	}
	if c.AdmitUsers != nil {
		d.AdmitUsers = *c.AdmitUsers
	}
	if c.SignInAttribute != nil {
		d.SignInAttribute = *c.SignInAttribute
	}
	if c.NetBIOSName != nil {
		d.NetBIOSName = *c.NetBIOSName
	}
	return d
}

// RemoveDomain removes a domain; its users stay. Fault: NotFound.
func (s *Store) RemoveDomain(ctx context.Context, scope Scope, name string, now time.Time) error {
	tenant, err := scope.ID()
	if err != nil {
		return err
	}
	clean, err := DomainName(name)
	if err != nil {
		return noDomain(name)
	}
	return s.exec(ctx, noDomain(name), func(tx db.Querier) error {
		return s.record(ctx, tx, tenant, Event{What: "domain.remove", Detail: clean}, now)
	}, `DELETE FROM domain WHERE tenant_id = $1 AND name = $2`, tenant, clean)
}

func oneDomain(ctx context.Context, q db.Querier, tenant, name string) (Domain, error) {
	clean, err := DomainName(name)
	if err != nil {
		return Domain{}, noDomain(name)
	}
	d, err := scanDomain(q.QueryRowContext(ctx, `SELECT `+domainColumns+` FROM domain WHERE tenant_id = $1 AND name = $2`, tenant, clean))
	return found(d, err, noDomain(name))
}

// freeNetBIOS refuses a NetBIOS name that another domain of the tenant has. An index of the database does, too, with fewer words.
func freeNetBIOS(ctx context.Context, tx db.Querier, tenant string, d Domain) error {
	if d.NetBIOSName == "" {
		return nil
	}
	var other string
	err := tx.QueryRowContext(ctx, `SELECT name FROM domain WHERE tenant_id = $1 AND netbios_name = $2 AND name <> $3`, tenant, d.NetBIOSName, d.Name).Scan(&other)
	if db.NoRow(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.Newf(wire.Conflict, "the domain %s has the NetBIOS name %s already: take it away there first (domain change %s --netbios-name \"\")",
		other, d.NetBIOSName, other)
}

func noDomain(name string) error {
	return fault.Newf(wire.NotFound, "there is no domain %q in this tenant", clip(name))
}

func scanDomain(row db.Scanner) (d Domain, err error) {
	var created, changed int64
	var directory, netbios sql.NullString
	err = row.Scan(&d.Name, &d.Kind, &directory, &d.AdmitUsers, &d.SignInAttribute, &netbios, &created, &changed)
	d.DirectoryID, d.NetBIOSName = directory.String, netbios.String
	d.Created, d.Changed = db.Time(created), db.Time(changed)
	return d, err
}

// optional stores "" as NULL.
func optional(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
