package demo

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/visitor"
)

var update = flag.Bool("update", false, "write docs/account-states.md from what is seen")

// judge runs independent programs against a domain controller. Its methods may be called by several goroutines, but for Fatal.
type judge struct {
	t                       *testing.T
	address, caFile, folder string
	winbind                 *samba.Winbind
}

// newJudge finds the programs, or skips.
func newJudge(t *testing.T, dc *samba.DC) *judge {
	t.Helper()
	need(t, "ldapwhoami", "ldapsearch", "kinit")
	j := &judge{t: t, address: dc.Addr, caFile: dc.CAFile, folder: t.TempDir(), winbind: sambatest.Winbind(t, dc)}
	conf := fmt.Sprintf("[libdefaults]\ndefault_realm = %s\ndns_lookup_kdc = false\nudp_preference_limit = 1\n[realms]\n%s = {\n kdc = %s\n}\n",
		dc.Realm, dc.Realm, dc.Addr)
	if err := os.WriteFile(filepath.Join(j.folder, "krb5.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return j
}

// need skips, or in CI fails, when a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("SALLYPORT_CI") != "" {
				t.Fatalf("%s is missing (Debian packages ldap-utils, krb5-user)", program)
			}
			t.Skipf("%s is missing (Debian packages ldap-utils, krb5-user)", program)
		}
	}
}

var subCode = regexp.MustCompile(`data ([0-9a-f]+)`)

// openldap binds with one of OpenLDAP's clients and returns AD's sub-code: "" when the bind succeeded.
func (j *judge) openldap(program, name, password string, more ...string) (string, error) {
	file, err := os.CreateTemp(j.folder, "password")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(password); err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	cmd := exec.Command(program, append([]string{"-x", "-H", "ldaps://" + j.address, "-D", name, "-y", file.Name()}, more...)...)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+j.caFile, "LDAPTLS_REQCERT=demand")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if !strings.Contains(text, "ldap_bind:") {
		// The bind went through. Samba 4.17 does not know the "who am I" operation that follows, and says so.
		if err != nil && !strings.Contains(text, "Protocol error") {
			return "", fmt.Errorf("%s as %s: %w\n%s", program, name, err, text)
		}
		return "", nil
	}
	m := subCode.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s as %s says nothing of a sub-code:\n%s", program, name, text)
	}
	return m[1], nil
}

func (j *judge) ldapwhoami(name, password string) (string, error) {
	return j.openldap("ldapwhoami", name, password)
}

func (j *judge) ldapsearch(name, password string) (string, error) {
	return j.openldap("ldapsearch", name, password, "-s", "base", "-b", "", "defaultNamingContext")
}

// received is a KRB-ERROR in the trace of MIT's library, which numbers KDC errors from this base.
var received = regexp.MustCompile(`Received error from KDC: (-\d+)/`)

const (
	kdcBase      = -1765328384
	kdcNeedProof = 25
)

// kinit asks the KDC with MIT's client and returns the number of its error, 0 for a ticket. With 25 the KDC only asks for a proof; what comes
// after a refusal is about another ticket, with which an expired password could be changed.
func (j *judge) kinit(name, password string) (int, error) {
	folder, err := os.MkdirTemp(j.folder, "kinit")
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("kinit", "-E", name)
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+filepath.Join(j.folder, "krb5.conf"), "KRB5CCNAME=FILE:"+filepath.Join(folder, "cc"),
		"KRB5_TRACE=/dev/stdout", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.CombinedOutput()
	for _, m := range received.FindAllSubmatch(out, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil || n-kdcBase != kdcNeedProof {
			return n - kdcBase, err
		}
	}
	if err != nil {
		return 0, fmt.Errorf("kinit %s: %w\n%s", name, err, out)
	}
	return 0, nil
}

// TestOwnDirectory runs the demonstration against a domain controller that it did not start, given only an address and a CA:
// over LDAPS and over StartTLS. The domain's name comes from the directory.
func TestOwnDirectory(t *testing.T) {
	if err := samba.Available(); err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dc, err := samba.Start(t.Context(), samba.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dc.Stop)
	if err := dc.Fill(t.Context(), people.Everybody(dc.UPNSuffix)[:1]); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{dc.LDAPS(), dc.LDAP()} {
		w := startWorld(t, Options{Directory: address, CAFile: dc.CAFile})
		if w.directory.domain != dc.UPNSuffix {
			t.Fatalf("%s: the domain is %q, not %q", address, w.directory.domain, dc.UPNSuffix)
		}
		transport, err := w.transport()
		if err != nil {
			t.Fatal(err)
		}
		alice := "alice@" + dc.UPNSuffix
		saw, err := visitor.New(w.app(), transport).SignIn(t.Context(), alice, people.RightPassword)
		if err != nil || saw.SignedIn != alice {
			t.Errorf("%s: %+v, %v", address, saw, err)
		}
		if _, failed, err := w.Check(t.Context()); err != nil || failed != 0 {
			t.Errorf("%s: %d plays failed, %v", address, failed, err)
		}
		w.Close()
	}
	if w, err := Start(t.Context(), Options{Directory: dc.LDAPS()}); err == nil || !strings.Contains(err.Error(), "--ca-file") {
		if err == nil {
			w.Close()
		}
		t.Errorf("without the CA: %v", err)
	}
}
