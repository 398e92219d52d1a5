package dbtest

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// lesserUser returns the attributes under which PostgreSQL runs, and how to hand it a file. Root drops to the user
// postgres; anybody else stays who they are. The kernel ends the server when the test that started it is killed.
func lesserUser() (*syscall.SysProcAttr, func(path string) error, error) {
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if os.Getuid() != 0 {
		return attributes, func(string) error { return nil }, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: root needs the user postgres to run it as: %w", ErrNoPostgres, err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return nil, nil, fmt.Errorf("the user postgres has the unreadable ids %q and %q", account.Uid, account.Gid)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, func(path string) error { return os.Chown(path, int(uid), int(gid)) }, nil
}
