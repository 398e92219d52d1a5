package samba

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
)

// reservation is a loopback address that is ours until it is released: LDAP's ports are fixed, so each domain controller
// needs an address of its own. The lock is what counts. Without it two tests could pick the same free address at the same
// moment, and the race would be silent: the first domain controller would answer for both.
type reservation struct {
	address netip.Addr
	file    *os.File
}

func (r *reservation) release() { _ = r.file.Close() }

// reserve takes the wanted address, or, for the zero value, the first that nobody uses of 127.77.1.1 and above.
func reserve(wanted netip.Addr) (*reservation, error) {
	dir, err := locksDir()
	if err != nil {
		return nil, err
	}
	if wanted.IsValid() {
		r, err := try(dir, wanted)
		if err == nil && r == nil {
			err = fmt.Errorf("samba: the address %s is in use", wanted)
		}
		return r, err
	}
	for i := 1; i < 255; i++ {
		for j := 1; j < 255; j++ {
			if r, err := try(dir, netip.AddrFrom4([4]byte{127, 77, byte(i), byte(j)})); r != nil || err != nil {
				return r, err
			}
		}
	}
	return nil, errors.New("samba: no loopback address is free")
}

// locksDir is where a file stands for each address and network that somebody has.
func locksDir() (string, error) {
	dir := filepath.Join(os.TempDir(), "sallyport-samba-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("samba: %w", err)
	}
	return dir, nil
}

// try reserves one address; nil without error means that somebody else has it.
func try(dir string, address netip.Addr) (*reservation, error) {
	f, err := os.OpenFile(filepath.Join(dir, address.String()), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	taken, err := lockFile(f, false)
	if err != nil || !taken {
		_ = f.Close()
		return nil, err
	}
	// Another user's domain controller, or one whose owner died a moment ago, does not hold our lock.
	for _, port := range []string{"636", "389", "88"} {
		l, err := net.Listen("tcp", net.JoinHostPort(address.String(), port))
		if err != nil {
			_ = f.Close()
			return nil, nil
		}
		_ = l.Close()
	}
	return &reservation{address: address, file: f}, nil
}
