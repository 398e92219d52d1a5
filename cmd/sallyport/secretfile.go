package main

import (
	"fmt"
	"os"
)

// writeSecret writes a secret into a new file that its owner alone can read; an existing file is not overwritten.
func writeSecret(name, secret string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the secret was not written, and the token is lost (make another): %w", err)
	}
	if _, err := f.WriteString(secret + "\n"); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
