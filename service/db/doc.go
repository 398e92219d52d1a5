// Package db opens the store, brings its schema up to date and runs transactions. It is the only package that knows whether
// the store is a SQLite file or a PostgreSQL server; everybody else writes one text of SQL for both.
//
// What everybody else keeps to: PostgreSQL syntax with $1 parameters, in ascending order of their first use; columns of text,
// bigint, bytea and boolean only; times as unix milliseconds ([Millis], [Time]); identifiers made by us ([NewID]); no arrays, no JSON
// operators. The schema in migrations/ is written in PostgreSQL's types; for SQLite this package rewrites them and makes every
// table STRICT.
//
// It refuses to know any table but its own, to hold rules, and to let a reader write: [DB.Reader] of a SQLite file is
// opened query-only.
//
//	             ┌── Reader ──▶ pool of readers ──┐
//	stores ──────┤                                ├──▶ one SQLite file (WAL), or PostgreSQL
//	             └── Write ───▶ one writer ───────┘
//
// With SQLite all writes of a process go over its only write connection, so they queue up in Go instead of failing as busy; those
// that wait at the same time are committed together, each in a savepoint of its own (see group). With PostgreSQL a write is one serialisable transaction; the server aborts those that it
// cannot put in an order, and [DB.Write] runs them again.
//
// # What survives
//
// Once Write has returned, its rows survive the death of the process, whatever the setting. Whether they also
// survive a power cut is the database's setting: SQLite is opened with synchronous=FULL by default (one fsync a
// transaction), and with ?synchronous=normal in its URL the last transactions may be lost (never torn) when power fails.
// Full is the default because an acknowledged sign-in record should outlive anything that happens to the machine, and
// because writes are committed in groups, which makes the fsync cheap.
//
// Callers: every store under service/, and the wiring, which opens it.
package db
