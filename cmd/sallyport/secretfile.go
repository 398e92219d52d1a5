package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// secretFile lets a secret go into a file instead of onto the screen.
type secretFile struct {
	SecretFile string `placeholder:"FILE" help:"Write the secret into this new file (mode 0600) instead of showing it."`
}

// claimed is a new file that its owner alone can read, waiting for a secret.
type claimed struct{ f *os.File }

// claim makes the file before the secret is made, so that no secret is lost for want of a file. An existing file is not
// overwritten.
func claim(name string) (claimed, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return claimed{}, fmt.Errorf("%s exists already: name a new file for the secret", name)
	}
	if err != nil {
		return claimed{}, fmt.Errorf("the file for the secret cannot be made: %w", err)
	}
	return claimed{f}, nil
}

// write puts the secret in.
func (c claimed) write(secret string) error {
	_, err := c.f.WriteString(secret + "\n")
	if err := errors.Join(err, c.f.Close()); err != nil {
		return fmt.Errorf("the secret was not written and is lost; make another: %w", errors.Join(err, os.Remove(c.f.Name())))
	}
	return nil
}

// drop removes the file again.
func (c claimed) drop() error { return errors.Join(c.f.Close(), os.Remove(c.f.Name())) }

// callSecret is call for an answer with a secret that is told once: with a file it goes there and is not shown.
func callSecret[T any](ctx context.Context, t *terminal, f apiFlags, file, method, path string, in any, secret func(*T) *string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var place claimed
	if file != "" {
		if place, err = claim(file); err != nil {
			return err
		}
	}
	var out T
	if err := c.Do(ctx, method, path, in, &out); err != nil {
		if file != "" {
			err = errors.Join(err, place.drop())
		}
		return err
	}
	if file != "" {
		if err := place.write(*secret(&out)); err != nil {
			return err
		}
		*secret(&out) = ""
	}
	if f.Output == "json" {
		return printJSON(t.out, out)
	}
	return printFields(t.out, out)
}
