package db

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestForSQLite(t *testing.T) {
	in := `-- +goose Up
-- a comment about bigint and bytea
CREATE TABLE one (
    id text PRIMARY KEY,
    at bigint NOT NULL, -- bigint
    on_off boolean NOT NULL,
    bytea_name bytea
);
CREATE INDEX one_at ON one (at);
CREATE TABLE two (
    id text PRIMARY KEY
);

-- +goose Down
DROP TABLE two; DROP TABLE one;
`
	want := `-- +goose Up

CREATE TABLE one (
    id text PRIMARY KEY,
    at INTEGER NOT NULL, 
    on_off INTEGER NOT NULL,
    bytea_name BLOB
) STRICT;
CREATE INDEX one_at ON one (at);
CREATE TABLE two (
    id text PRIMARY KEY
) STRICT;

-- +goose Down
DROP TABLE two; DROP TABLE one;
`
	if got := string(forSQLite([]byte(in))); got != want {
		t.Errorf("got %s", got)
	}
	files := sqliteFS{fstest.MapFS{"00001_x.sql": {Data: []byte(in)}}}
	if err := fstest.TestFS(files, "00001_x.sql"); err != nil && !strings.Contains(err.Error(), "Size") {
		t.Error(err)
	}
	read, err := fs.ReadFile(files, "00001_x.sql")
	if err != nil || string(read) != want {
		t.Errorf("read %q, %v", read, err)
	}
}
