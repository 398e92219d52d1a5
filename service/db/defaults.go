package db

import "time"

const (
	// busyTimeout is how long SQLite waits for another process that holds the write lock (a backup, the command line
	// beside a running service) before it gives up. A sign-in has 15 s in all; 5 s leaves room for the rest.
	busyTimeout = 5 * time.Second

	// writeTries bounds how often one write is run. Each try of a serialisable transaction fails only if another one
	// succeeded, so the whole always moves; 24 tries with the pauses below last about two seconds, longer than any
	// honest pile-up on one row.
	writeTries = 24

	// firstPause and lastPause bound the random pause before a write is run again: long enough for the transaction
	// that won to be gone, short enough not to be felt by a person.
	firstPause = 2 * time.Millisecond
	lastPause  = 100 * time.Millisecond

	// defaultConnections is the size of the pool of PostgreSQL connections: the server's own default limit is 100, shared by all
	// replicas. Measured inserts stop growing between 8 and 16 connections on small servers.
	defaultConnections = 16

	// readersPerCPU and leastReaders size the pool of SQLite readers. A reader never waits for the writer; each costs
	// a page cache of about 2 MB.
	readersPerCPU = 2
	leastReaders  = 4

	// connectionLife makes PostgreSQL connections move on after a failover or a change of the DNS name.
	connectionLife = 30 * time.Minute

	// largestGroup bounds how many writes are committed together, and with it how long the first of them waits for the last.
	largestGroup = 64

	// statementLimit bounds the prepared statements that are kept for readers. Statements are constants in the
	// program, far fewer than this; the bound is there so that a query that is built at run time costs speed, not memory.
	statementLimit = 512

	// lockTimeout is how long a starting process waits for another one that is migrating the same database.
	lockTimeout = 2 * time.Minute

	// defaultPage fills a screen of an administrator; largestPage keeps one answer of the API at about a megabyte.
	defaultPage = 100
	largestPage = 1000

	// openTimeout is how long PostgreSQL may take to answer when the service starts.
	openTimeout = 15 * time.Second
)
