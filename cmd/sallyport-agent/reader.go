package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

// guardFlags say what is looked at before an attempt is spent; run and doctor share them.
type guardFlags struct {
	ReaderName         string   `help:"Account that may read lockout policy and counts of wrong passwords: name@domain. Without it the agent cannot spare the attempt that locks somebody in the directory." placeholder:"NAME"`
	ReaderPasswordFile string   `help:"File with its password. By default what systemd hands over as reader-password, or reader-password-NAME for one of several instances." placeholder:"FILE" type:"path"`
	LockoutReserve     int      `help:"How many attempts to leave unspent before the directory locks an account; 0 is the default (1, the one that locks)." default:"0" placeholder:"N"`
	ProtectName        []string `help:"Account (sAMAccountName) whose password is never checked, besides the built-in administrator and krbtgt. Repeat it for each." placeholder:"NAME"`
	ProtectGroup       []string `help:"Group, as a distinguished name, whose direct and indirect members' passwords are never checked; needs the reader. Repeat it for each." placeholder:"DN" sep:"none"`
}

// readerCredential is the name under which systemd hands the reader's password over (LoadCredential=, systemd.exec(5)).
const readerCredential = "reader-password"

// credentialOf is that of one instance.
func credentialOf(instance string) string {
	if instance == "" {
		return readerCredential
	}
	return readerCredential + "-" + instance
}

func (f guardFlags) protection() guard.Protection {
	return guard.Protection{Names: f.ProtectName, Groups: f.ProtectGroup}
}

// guard reads the reader's password, if there is a reader. instance is the section of the settings that these flags are of, if they have any: what
// systemd hands over belongs to one directory, and must not be shown to the domain controllers of another.
func (f guardFlags) guard(instance string) (ldap.Guard, error) {
	g := ldap.Guard{Reader: f.ReaderName, Reserve: f.LockoutReserve, Protection: f.protection()}
	if err := g.Protection.Check(); err != nil {
		return g, &usageError{err}
	}
	file := f.ReaderPasswordFile
	switch {
	case f.ReaderName == "" && file != "":
		return g, &usageError{errors.New("--reader-password-file without --reader-name")}
	case f.ReaderName == "":
		return g, nil
	case !strings.Contains(f.ReaderName, "@"):
		return g, &usageError{fmt.Errorf("--reader-name %q: want name@domain", f.ReaderName)}
	case file == "" && os.Getenv("CREDENTIALS_DIRECTORY") != "":
		file = filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), credentialOf(instance))
	case file == "":
		return g, &usageError{errors.New("--reader-name without --reader-password-file")}
	}
	var err error
	g.Password, err = secretFile(file)
	return g, err
}

// secretFile reads a password that nobody but its owner may read; those of systemd are for root and the service as it makes them.
func secretFile(path string) (wire.Secret, error) {
	refuse := func(err error) (wire.Secret, error) {
		return wire.Secret{}, &usageError{fmt.Errorf("reader's password file: %w", err)}
	}
	f, err := os.Open(path)
	if err != nil {
		return refuse(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return refuse(err)
	}
	if exposed(info.Mode()) {
		return refuse(fmt.Errorf("%s can be read by everybody on this host (mode %v): chmod 600 it, and take a new password", path, info.Mode().Perm()))
	}
	raw, err := io.ReadAll(io.LimitReader(f, directory.MaxPassword+3))
	if err != nil {
		return refuse(err)
	}
	password := wire.NewSecret([]byte(strings.TrimRight(string(raw), "\r\n")))
	clear(raw)
	if n := password.Len(); n == 0 || n > directory.MaxPassword {
		return refuse(fmt.Errorf("%s holds no password of at most %d bytes", path, directory.MaxPassword))
	}
	return password, nil
}

// exposed reports whether a file's mode lets everybody read it. Windows has no such bits and tells the same for all files.
func exposed(m fs.FileMode) bool { return os.PathSeparator == '/' && m.Perm()&0o004 != 0 }
