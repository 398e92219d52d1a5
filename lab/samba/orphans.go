package samba

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	dirPrefix = "sallyport-dc-"
	ownerFile = "owner"
)

// own marks dir as used by this process, by a lock that the process cannot outlive. The file gets its name when it is locked, so
// that nobody sees it unlocked in between.
func own(dir string) (*os.File, error) {
	name := filepath.Join(dir, ownerFile)
	if old, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
		taken, err := lockFile(old, false)
		if err == nil && taken {
			return old, nil
		}
		_ = old.Close()
		return nil, fmt.Errorf("samba: %s is in use by another domain controller", dir)
	}
	f, err := os.CreateTemp(dir, ownerFile)
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	if _, err := lockFile(f, false); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("samba: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("samba: %w", err)
	}
	return f, nil
}

// removeOrphans removes the directories of tests that were killed: 16 MB each. Samba itself has ended with its owner. What
// belongs to other users cannot be opened and stays.
func removeOrphans() {
	owners, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*", ownerFile))
	if err != nil {
		return
	}
	for _, name := range owners {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if taken, err := lockFile(f, false); err == nil && taken {
			_ = os.RemoveAll(filepath.Dir(name))
		}
		_ = f.Close()
	}
}
