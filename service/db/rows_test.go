package db_test

import (
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
)

func TestRows(t *testing.T) {
	d, ctx := dbtest.New(t), t.Context()
	names := func(after string) ([]string, error) {
		return db.Collect(ctx, d.Reader(), db.Value[string], `SELECT name FROM tenant WHERE name > $1 ORDER BY name`, after)
	}
	if got, err := names(""); got != nil || err != nil {
		t.Errorf("of no rows %v, %v", got, err)
	}
	for _, name := range []string{"b", "a", "c"} {
		if err := d.Write(ctx, func(tx db.Querier) error {
			return db.Hit(ctx, tx, `INSERT INTO tenant (id, name, display_name, color, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6)`, name+"-id", name, name, "#000000", 1, 1)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := names("a"); !slices.Equal(got, []string{"b", "c"}) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := db.Collect(ctx, d.Reader(), db.Value[string], `SELECT name FROM nothing`); got != nil || err == nil {
		t.Errorf("a query that is refused: %v, %v", got, err)
	}
	bad := errors.New("bad")
	second := func(row db.Scanner) (string, error) {
		s, err := db.Value[string](row)
		if s == "b" {
			err = bad
		}
		return s, err
	}
	if got, err := db.Collect(ctx, d.Reader(), second, `SELECT name FROM tenant ORDER BY name`); got != nil || !errors.Is(err, bad) {
		t.Errorf("a row that cannot be read: %v, %v", got, err)
	}
	for name, want := range map[string]error{"a": nil, "nobody": sql.ErrNoRows} {
		if err := d.Write(ctx, func(tx db.Querier) error {
			return db.Hit(ctx, tx, `UPDATE tenant SET color = $1 WHERE name = $2`, "#111111", name)
		}); !errors.Is(err, want) {
			t.Errorf("a hit at %s: %v", name, err)
		}
	}
}
