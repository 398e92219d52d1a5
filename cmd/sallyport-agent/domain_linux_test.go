package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/agent/doctor"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
)

// The program as it is, with a name server of our own in its /etc/resolv.conf, finds a real domain controller by the domain alone.
func TestByDomain(t *testing.T) {
	sambatest.RequireNetwork(t, false)
	dc := sambatest.Start(t, samba.Options{}, people.Everybody("corp.example.com")...)
	server := fmt.Sprintf("127.53.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	dns := locatetest.StartAt(t, server+":53")
	dns.Host(dc.Host, net.ParseIP(dc.Addr))
	record := locatetest.SRV{Weight: 100, Port: 389, Target: dc.Host + "."}
	dns.Services("_ldap._tcp.dc._msdcs.corp.example.com", record)
	dns.Services("_ldap._tcp.Berlin._sites.dc._msdcs.corp.example.com", record)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+server+"\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-m", "mount", "--bind", resolv, "/etc/resolv.conf").CombinedOutput(); err != nil {
		t.Fatalf("nothing can be mounted here: %v: %s", err, out)
	}
	run := func(password string, args ...string) result {
		t.Helper()
		var out, errOut strings.Builder
		c := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-c", `mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`, "sh", resolv, binary}, args...)...)
		c.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(password+"\n"), &out, &errOut
		_ = c.Run() // the code tells
		return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
	}
	flags := []string{"--domain", "corp.example.com", "--dc-ca-file", dc.CAFile}
	for _, how := range [][]string{nil, {"--dc-starttls"}, {"--site", "Berlin"}, {"--site", "Rome"}} {
		args := append(append([]string{"test-signin", "--password-file", "-"}, flags...), how...)
		if r := run(people.RightPassword, append(args, "alice@corp.example.com")...); r.code != 0 || !strings.Contains(r.out, "right: "+dc.Host) {
			t.Errorf("%v: %+v", how, r)
		}
	}
	r := run("", append([]string{"doctor", "--state", t.TempDir() + "/none", "--site", "Rome"}, flags...)...)
	for _, want := range []string{marks[doctor.Warning] + " DNS corp.example.com: 1 domain controllers: " + dc.Host, "no domain controllers of the site Rome",
		marks[doctor.OK] + " preference " + dc.Host + ":636: is asked first: the only one", marks[doctor.OK] + " domain controller " + dc.Host + ":636"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %+v", want, r)
		}
	}
	if r := run("x", "test-signin", "--domain", "other.example", "--password-file", "-", "alice@corp.example.com"); r.code != exitFailure || !strings.Contains(r.errOut, "domain controllers of other.example") {
		t.Errorf("%+v", r)
	}
}
