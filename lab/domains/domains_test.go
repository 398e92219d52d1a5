package domains

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/wire"
)

// programs are built once for all tests.
var programs world.Programs

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-domains-")
	if err == nil {
		defer os.RemoveAll(dir)
		programs, err = world.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start starts a service of one process with agents of a directory.
func start(t *testing.T, agents int, d world.Directory) *world.World {
	t.Helper()
	dir := t.TempDir()
	if keep := os.Getenv("SALLYPORT_WORLD_LOGS"); keep != "" {
		dir = filepath.Join(keep, t.Name())
		noError(t, os.RemoveAll(dir))
		noError(t, os.MkdirAll(dir, 0o700))
	}
	w, err := world.Start(t.Context(), world.Options{Programs: programs, Dir: dir, Agents: agents, Directory: d})
	noError(t, err)
	t.Cleanup(w.Close)
	return w
}

// of describes domain controllers of one domain to the agents that ask them.
func of(t *testing.T, dcs ...*samba.DC) world.Directory {
	t.Helper()
	d := world.Directory{CAFile: filepath.Join(t.TempDir(), "ca.pem"), Domain: dcs[0].UPNSuffix}
	var all []byte
	for _, dc := range dcs {
		d.Addresses = append(d.Addresses, dc.LDAPS())
		pem, err := os.ReadFile(dc.CAFile)
		noError(t, err)
		all = append(all, pem...)
	}
	noError(t, os.WriteFile(d.CAFile, all, 0o600))
	return d
}

// at is a domain controller as the sign-in log names it.
func at(dc *samba.DC) string { return net.JoinHostPort(dc.Addr, "636") }

// crowd makes people who are all alike.
func crowd(prefix, suffix string, count int) []people.Person {
	all := make([]people.Person, count)
	for i := range all {
		sam := fmt.Sprintf("%s%d", prefix, i)
		all[i] = people.Person{SAM: sam, UPN: sam + "@" + suffix, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal}
	}
	return all
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
