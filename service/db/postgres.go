package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgres connects to the server that c.URL names.
func openPostgres(ctx context.Context, c Config) (*DB, error) {
	config, err := pgx.ParseConfig(c.URL)
	if err != nil {
		// The parser's own words quote the URL, and not always without the password.
		return nil, errors.New("the database URL is malformed: write postgres://user:password@host:port/database, " +
			"with every special character of the password as a %-escape")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "sallyport"
	}
	pool := stdlib.OpenDB(*config)
	connections := c.Connections
	if connections <= 0 {
		connections = defaultConnections
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxLifetime(connectionLife)

	first, cancel := context.WithTimeout(ctx, openTimeout)
	err = pool.PingContext(first)
	cancel()
	if err != nil {
		return nil, errors.Join(explainPostgres(config, err), pool.Close())
	}
	if err := migrate(ctx, Postgres, pool); err != nil {
		return nil, errors.Join(explainPostgres(config, err), pool.Close())
	}
	return &DB{dialect: Postgres, write: pool, read: pool, reader: pool, level: sql.LevelSerializable}, nil
}

// explainPostgres adds the remedy to those of the server's errors that an administrator meets.
func explainPostgres(config *pgx.ConnConfig, err error) error {
	where := fmt.Sprintf("%s:%d", config.Host, config.Port)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "28P01", "28000":
			return fmt.Errorf("PostgreSQL at %s refuses the user %q: correct user and password in the database URL, or the server's pg_hba.conf: %w", where, config.User, err)
		case "3D000":
			return fmt.Errorf("PostgreSQL at %s has no database %q: create it (createdb --owner=%s %s): %w", where, config.Database, config.User, config.Database, err)
		case "42501":
			return fmt.Errorf("the user %q may not create tables in the database %q: make it the owner (ALTER DATABASE %s OWNER TO %s): %w", config.User, config.Database, config.Database, config.User, err)
		case "25006":
			return fmt.Errorf("PostgreSQL at %s is read-only (a standby?): name the primary in the database URL: %w", where, err)
		case "53300":
			return fmt.Errorf("PostgreSQL at %s has no connection left: raise max_connections, or lower the number of connections of each replica: %w", where, err)
		}
		return err
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return fmt.Errorf("PostgreSQL at %s cannot be reached: check that it runs and that the database URL names its host and port: %w", where, err)
	}
	return err
}
