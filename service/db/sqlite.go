package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// openSQLite opens the file that rest, the part of the URL behind "sqlite:", names.
func openSQLite(ctx context.Context, rest string) (*DB, error) {
	path, synchronous, err := parseSQLite(rest)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	write, err := sql.Open("sqlite", dsn(path, synchronous, false))
	if err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	// One writer (see group): SQLite has one write lock, and waiting for it in Go is fair and free of busy errors.
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	if err := migrate(ctx, SQLite, write); err != nil {
		return nil, errors.Join(explainSQLite(path, err), write.Close())
	}
	read, err := sql.Open("sqlite", dsn(path, synchronous, true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", path, err), write.Close())
	}
	readers := max(leastReaders, readersPerCPU*runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	d := &DB{dialect: SQLite, path: path, write: write, read: read, reader: newStatements(read)}
	if d.group, err = newGroup(ctx, write); err != nil {
		return nil, errors.Join(explainSQLite(path, err), read.Close(), write.Close())
	}
	if err := d.Ping(ctx); err != nil {
		return nil, errors.Join(explainSQLite(path, err), d.Close())
	}
	return d, nil
}

// parseSQLite splits "/path/file.db?synchronous=normal".
func parseSQLite(rest string) (path, synchronous string, err error) {
	path, query, _ := strings.Cut(rest, "?")
	// sqlite:///path is what a habit of URLs writes; the two further slashes name an empty host.
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.ContainsRune(path, 0) {
		return "", "", errors.New("the database URL names no file: write sqlite:/path/to/file.db")
	}
	if path == ":memory:" || strings.HasPrefix(path, "file:") {
		return "", "", errors.New("the database URL must name a file by its path: write sqlite:/path/to/file.db")
	}
	if path, err = url.PathUnescape(path); err != nil {
		return "", "", fmt.Errorf("the path in the database URL has a broken %%-escape (%w): write %%25 for a percent sign", err)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", fmt.Errorf("the database URL's parameters cannot be read: %w", err)
	}
	synchronous = "full"
	for key, value := range values {
		if key != "synchronous" {
			return "", "", fmt.Errorf("the database URL has an unknown parameter %q: only synchronous=full or synchronous=normal may stand behind the path", key)
		}
		synchronous = strings.ToLower(value[len(value)-1])
		if synchronous != "full" && synchronous != "normal" {
			return "", "", fmt.Errorf("the database URL says synchronous=%q: write full (survives a power cut) or normal", value[len(value)-1])
		}
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", "", fmt.Errorf("the database path: %w", err)
	}
	return path, synchronous, nil
}

// prepareFile makes the file for its owner alone when it is absent, and refuses one that others can read: it holds hashes
// and sealed keys. SQLite gives its -wal and -shm files the same mode.
func prepareFile(path string) error {
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s of the database does not exist: create it, owned by the user that runs the service, mode 0700", folder)
	case err != nil:
		return fmt.Errorf("the folder %s of the database cannot be reached by this user (uid %d): change its owner, "+
			"or name another folder in the database URL: %w", folder, os.Getuid(), err)
	case !info.IsDir():
		return fmt.Errorf("%s should be the folder of the database, but it is not a folder: correct the database URL", folder)
	}
	// SQLite keeps the write-ahead log beside the file, so being allowed to write the file is not enough.
	probe, err := os.CreateTemp(folder, ".sallyport-write-test-*")
	if err != nil {
		return explainFolder(folder, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return explainFolder(folder, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the database file %s cannot be opened for writing by this user (uid %d): change its owner: %w", path, os.Getuid(), err)
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("the database file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("the database file %s is not a regular file: correct the database URL", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the database file %s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// explainFolder adds the remedy to a failure to write into the database's folder.
func explainFolder(folder string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the folder %s of the database lies on a file system that is mounted read-only: mount it writable "+
			"(the kernel does this by itself after an error of the disk: look at dmesg): %w", folder, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk of the database's folder %s is full: make room: %w", folder, err)
	}
	return fmt.Errorf("the folder %s of the database cannot be written by this user (uid %d): change its owner, "+
		"or name another folder in the database URL: %w", folder, os.Getuid(), err)
}

// dsn is the driver's name of the file, with the settings that were measured to work together.
func dsn(path, synchronous string, reader bool) string {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	q.Set("_journal_mode", "WAL")
	q.Set("_synchronous", strings.ToUpper(synchronous))
	q.Set("_foreign_keys", "on")
	// A transaction that starts as a reader and becomes a writer fails at once when another one has written.
	q.Set("_txlock", "immediate")
	// "name" is never a string, and no statement may damage the file.
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Set("_error_rc", "1")
	if reader {
		q.Set("_query_only", "on")
		q.Set("_txlock", "deferred")
	}
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return name.String()
}

// explainSQLite adds the remedy to those of SQLite's own errors that an administrator meets.
func explainSQLite(path string, err error) error {
	var lite *sqlitedriver.Error
	if !errors.As(err, &lite) {
		return err
	}
	switch lite.Code() & 0xff {
	case sqlitelib.SQLITE_NOTADB:
		return fmt.Errorf("the file %s is not a SQLite database: correct the database URL, or restore the file from a backup: %w", path, err)
	case sqlitelib.SQLITE_CORRUPT:
		return fmt.Errorf("the database %s is damaged: restore it from a backup: %w", path, err)
	case sqlitelib.SQLITE_FULL:
		return fmt.Errorf("the disk of the database %s is full: make room: %w", path, err)
	case sqlitelib.SQLITE_IOERR:
		return fmt.Errorf("the database %s cannot be read or written: make room if its disk is full, else look at dmesg for errors of the disk: %w", path, err)
	case sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_PERM:
		return fmt.Errorf("the database %s cannot be written: check the owner and the mode of its folder and of the files beside it "+
			"(-wal, -shm), and that the file system is not mounted read-only: %w", path, err)
	case sqlitelib.SQLITE_BUSY:
		return fmt.Errorf("the database %s is held by another process: end it, or wait until it is done: %w", path, err)
	}
	return err
}
