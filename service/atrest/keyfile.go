package atrest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// OpenOrCreate reads the key file, or makes one with mode 0600 when there is none. Of several processes that start at once,
// one makes the file and all read it. The errors are sentences for the administrator.
func OpenOrCreate(path string) (*Box, error) {
	b, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
		b, err = open(path)
	}
	return b, err
}

// open reads an existing key file.
func open(path string) (*Box, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("the key file %s cannot be read by this user (uid %d): run as its owner, or change the owner of the whole "+
				"folder: %w", path, os.Getuid(), err)
		}
		return nil, fmt.Errorf("the key file cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the key file %s is not a regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s can be read by others (mode %04o): run chmod 600 %s, and ask yourself who has read it",
			path, info.Mode().Perm(), path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, KeySize+1))
	if err != nil {
		return nil, fmt.Errorf("the key file %s cannot be read: %w", path, err)
	}
	b := new(Box)
	if len(raw) != KeySize {
		return nil, fmt.Errorf("the key file %s must hold exactly %d bytes: restore it from a backup; without it the secrets "+
			"in the database cannot be opened", path, KeySize)
	}
	if bytes.Equal(raw, b.key[:]) {
		return nil, fmt.Errorf("the key file %s holds nothing but zeros: restore it from a backup", path)
	}
	copy(b.key[:], raw)
	clear(raw)
	return b, nil
}

// create makes a key file, complete or not at all, and never in place of another.
func create(path string) error {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("a new key file cannot be made in %s: create the folder, owned by the user that runs the service, mode 0700, on a "+
			"file system that is writable and has room: %w", folder, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	var key [KeySize]byte
	_, randErr := rand.Read(key[:])
	_, writeErr := f.Write(key[:])
	clear(key[:])
	if err := errors.Join(randErr, writeErr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("a new key file cannot be written in %s: make room if the disk is full: %w", folder, err)
	}
	// A link fails when the name is taken, where a rename would replace another process's key.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a new key file cannot be put in place: %w", err)
	}
	return syncFolder(folder)
}

// syncFolder makes the new name survive a power cut: a database full of secrets under a lost key is worth nothing.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be opened there; NTFS journals names
	}
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("the folder of the key file: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("the folder of the key file: %w", err)
	}
	return nil
}
