package samba

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing is wrapped by what [Available] returns.
var ErrMissing = errors.New("no Samba domain controller can be started here")

// python is called by its path: a python3 of another installation has no samba module.
const python = "/usr/bin/python3"

// need is a file that must exist and the Debian package that holds it; any one of the patterns is enough.
type need struct {
	what, pack string
	patterns   []string
}

// needs follows Debian's and Ubuntu's packages.
func needs() []need {
	return []need{
		{"the program samba", "samba", []string{"/usr/sbin/samba", "/usr/local/sbin/samba", "/usr/local/samba/sbin/samba"}},
		{python, "python3", []string{python}},
		{"Python's samba module", "python3-samba", []string{"/usr/lib/python3/dist-packages/samba/provision/__init__.py", "/usr/lib*/python3*/site-packages/samba/provision/__init__.py"}},
		{"Samba's directory database modules", "samba-dsdb-modules", []string{"/usr/lib/*/samba/ldb/samba_dsdb.so", "/usr/lib*/samba/ldb/samba_dsdb.so"}},
		{"the Active Directory schema", "samba-ad-provision", []string{"/usr/share/samba/setup/ad-schema", "/usr/share/samba/setup/provision.ldif"}},
		{"the program ldbmodify", "ldb-tools", []string{"/usr/bin/ldbmodify", "/usr/local/bin/ldbmodify"}},
	}
}

// missing returns what is not there, and the packages that hold it.
func missing(needs []need) (what, packages []string) {
	for _, n := range needs {
		if path(n.patterns) == "" {
			what, packages = append(what, n.what), append(packages, n.pack)
		}
	}
	return what, packages
}

// absent returns an error that says what is not there and how it is installed, or nil.
func absent(needs []need) error {
	what, packages := missing(needs)
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s not found; install with: apt-get install --no-install-recommends %s",
		ErrMissing, strings.Join(what, ", "), strings.Join(packages, " "))
}

// path returns the first file that matches one of the patterns, or "".
func path(patterns []string) string {
	for _, p := range patterns {
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// program returns where the need named by its package lies; it is only called for needs that Available has found.
func program(pack string) string {
	for _, n := range needs() {
		if n.pack == pack {
			return path(n.patterns)
		}
	}
	return ""
}

// Available returns nil when a domain controller can be started here. Otherwise its error wraps [ErrMissing] and says in one
// sentence what is missing and the command that supplies it.
func Available() error {
	if system != "linux" {
		return fmt.Errorf("%w: Samba's domain controller runs on Linux, this is %s", ErrMissing, system)
	}
	if err := absent(needs()); err != nil {
		return err
	}
	// LDAP's and Kerberos's ports are below 1024 and cannot be chosen.
	l, err := net.Listen("tcp", "127.77.0.1:636")
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: ports below 1024 may not be bound; run as root, or: setpriv --inh-caps +net_bind_service --ambient-caps +net_bind_service COMMAND",
			ErrMissing)
	}
	if err == nil {
		_ = l.Close()
	}
	return nil
}

// version returns Samba's own version, "4.17.12-Debian".
func version() (string, error) {
	out, err := exec.Command(program("samba"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("samba: asking for the version: %w", err)
	}
	v := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(out)), "Version"))
	if v == "" || strings.ContainsAny(v, "/ \n") {
		return "", fmt.Errorf("samba: unexpected version %q", v)
	}
	return v, nil
}
