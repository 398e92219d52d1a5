package db

import (
	"context"
	"database/sql"
)

// Scanner is a row, or rows at one of them.
type Scanner interface{ Scan(dest ...any) error }

// Collect runs a query and reads all its rows with scan; nil when there are none. Errors are the database's and scan's, as they are.
func Collect[T any](ctx context.Context, q Querier, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// Value reads the only column of a row.
func Value[T any](row Scanner) (v T, err error) {
	err = row.Scan(&v)
	return v, err
}

// Hit runs a statement that must meet a row; else it returns sql.ErrNoRows (see [NoRow]).
func Hit(ctx context.Context, tx Querier, query string, args ...any) error {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return sql.ErrNoRows
	}
	return err
}
