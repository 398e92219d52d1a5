package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/reglog"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// store is what every role shares: the database and the nouns over it.
type store struct {
	db       *db.DB
	box      *atrest.Box
	tenants  *tenant.Store
	users    *user.Store
	apps     *app.Store
	fleet    *fleet.Store
	ca       *ca.Authority
	keys     *keyring.Ring
	lockout  *lockout.Guard
	audit    *audit.Log
	log      *reglog.Log
	canaries *canary.Store
}

// openStore makes the data folder and opens everything in it.
func openStore(ctx context.Context, cfg Config, log *slog.Logger) (store, error) {
	if err := openData(cfg.Data); err != nil {
		return store{}, err
	}
	address := cfg.Database.URL
	if address == "" {
		address = "sqlite:" + filepath.Join(cfg.Data, "sallyport.db")
	}
	if err := lostDatabase(cfg, address); err != nil {
		return store{}, err
	}
	_, noKey := os.Stat(keyFile(cfg))
	box, err := atrest.OpenOrCreate(keyFile(cfg))
	if err != nil {
		return store{}, fmt.Errorf("data: %w", err)
	}
	rows, err := db.Open(ctx, db.Config{URL: address})
	if err != nil {
		return store{}, fmt.Errorf("database.url: %w", err)
	}
	authority, err := ca.Open(ctx, rows, box, ca.Config{TrustDomain: trustDomain(cfg), Lifetime: cfg.Agents.CertificateLife, RevocationURL: revocationURL(cfg)})
	if err != nil {
		return store{}, errors.Join(explainCA(cfg, errors.Is(noKey, fs.ErrNotExist), err), rows.Close())
	}
	st := store{db: rows, box: box, ca: authority, tenants: tenant.NewStore(rows), users: user.NewStore(rows), apps: app.NewStore(rows),
		fleet: fleet.NewStore(rows, authority), keys: keyring.New(rows, box, log.With("part", "keyring")),
		lockout: lockout.New(rows, lockout.Policy{Threshold: cfg.Lockout.Threshold, Duration: cfg.Lockout.Duration, Window: cfg.Lockout.Window}), audit: audit.NewLog(rows, log.With("part", "audit"))}
	st.canaries = canary.NewStore(rows, box, st.tenants, st.fleet)
	st.fleet.Limit, st.fleet.Logger = cfg.Agents.Limit, log.With("part", "fleet")
	st.log = reglog.New(rows, box, authority.TrustDomain())
	st.log.Logger = log.With("part", "reglog")
	st.tenants.Log, st.fleet.Log, st.canaries.Log = st.log, st.log, st.log
	st.lockout.Logger = log.With("part", "lockout")
	return st, nil
}

// keyFile holds the key of the secrets in the database.
func keyFile(cfg Config) string { return filepath.Join(cfg.Data, "at-rest.key") }

// lostDatabase refuses to begin an empty database where there was one: a folder with the admin API's token has had an Init.
// Beginning anew unnoticed would sign nobody in and, with the next backup, overwrite what could be restored.
func lostDatabase(cfg Config, address string) error {
	path, isFile := strings.CutPrefix(address, "sqlite:")
	if _, err := os.Stat(cfg.TokenFile()); err != nil || !isFile {
		return nil
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "//"), "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		return nil // package db says what is wrong with it
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err == nil && info.Mode().IsRegular() && info.Size() == 0:
	default:
		return nil
	}
	return fmt.Errorf("database.url: %s is missing or empty, but %s shows that there was an installation. Restore the database from a backup; "+
		"to begin anew, name another data folder", path, cfg.TokenFile())
}

// explainCA adds the remedy to the one failure of the agent CA that an operator brings about: a database without its key file. A
// key file that was made a moment ago only hides that the right one is missing, so it goes again.
func explainCA(cfg Config, madeNow bool, err error) error {
	if !errors.Is(err, atrest.ErrKey) {
		return fmt.Errorf("agents.trust_domain: %w", err)
	}
	wrong := "is not the key file that this database was made with"
	if madeNow {
		wrong = "is missing, and the database was made with one"
		err = errors.Join(err, os.Remove(keyFile(cfg)))
	}
	return fmt.Errorf("data: %s %s. Copy that file here (every process on one database needs the same), or restore it from its backup: %w",
		keyFile(cfg), wrong, err)
}

// openData makes the data folder, or refuses one that others can read: the database, keys and the evaluation CA lie in it.
func openData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data: the folder %s cannot be made by this user (uid %d): make it, owned by that user, mode 0700, or name another: %w",
			dir, os.Getuid(), err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if mode := info.Mode().Perm(); os.PathSeparator == '/' && mode&0o077 != 0 {
		return fmt.Errorf("data: the folder %s has mode %04o: others on this machine could read keys. Run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// revocationURL is what agents' certificates name for their revocation lists; nothing in an evaluation whose port is made at the start.
func revocationURL(cfg Config) string {
	public, err := url.Parse(cfg.PublicURL)
	if err != nil || public.Port() == "0" {
		return ""
	}
	return cfg.PublicURL + wire.RevocationsPath
}

// trustDomain is the one set, else the host of the public URL; an IPv6 literal is none, and leaves the authority its default.
func trustDomain(cfg Config) string {
	if cfg.Agents.TrustDomain != "" {
		return cfg.Agents.TrustDomain
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil || strings.Contains(public.Hostname(), ":") {
		return ""
	}
	return strings.ToLower(public.Hostname())
}
