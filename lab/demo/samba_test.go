package demo

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/visitor"
)

// judge runs independent programs against a domain controller.
type judge struct {
	t                       *testing.T
	address, caFile, folder string
}

// newJudge finds the programs, or skips.
func newJudge(t *testing.T, w *World) *judge {
	t.Helper()
	u, err := url.Parse(w.directory.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{t: t, address: u.Host, caFile: w.directory.caFile, folder: t.TempDir()}
	realm := strings.ToUpper(evaluationDomain)
	conf := fmt.Sprintf("[libdefaults]\ndefault_realm = %s\ndns_lookup_kdc = false\nudp_preference_limit = 1\n[realms]\n%s = {\n kdc = %s\n}\n",
		realm, realm, u.Hostname())
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

// ldapwhoami binds with OpenLDAP's client and returns AD's sub-code: "" when the bind succeeded.
func (j *judge) ldapwhoami(name, password string) string {
	j.t.Helper()
	file := filepath.Join(j.folder, "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		j.t.Fatal(err)
	}
	cmd := exec.Command("ldapwhoami", "-x", "-H", "ldaps://"+j.address, "-D", name, "-y", file)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+j.caFile, "LDAPTLS_REQCERT=demand")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if !strings.Contains(text, "ldap_bind:") {
		// The bind went through. Samba 4.17 does not know the "who am I" operation that follows, and says so.
		if err != nil && !strings.Contains(text, "Protocol error") {
			j.t.Fatalf("ldapwhoami as %s: %v\n%s", name, err, text)
		}
		return ""
	}
	m := subCode.FindStringSubmatch(text)
	if m == nil {
		j.t.Fatalf("ldapwhoami as %s says nothing of a sub-code:\n%s", name, text)
	}
	return m[1]
}

// kinit asks the KDC with MIT's client and returns what it said, shortened to the telling words.
func (j *judge) kinit(name, password string) string {
	j.t.Helper()
	cmd := exec.Command("kinit", "-E", name)
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+filepath.Join(j.folder, "krb5.conf"), "KRB5CCNAME=FILE:"+filepath.Join(j.folder, "cc"), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(password + "\n")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	for _, words := range []string{"Password incorrect", "Preauthentication failed", "credentials have been revoked", "not found in Kerberos database", "Password expired"} {
		if strings.Contains(said.String(), words) {
			return words
		}
	}
	if err != nil {
		j.t.Fatalf("kinit %s: %v\n%s", name, err, said.String())
	}
	return "ticket"
}

// TestSambaAgrees signs in through the pages with every account of a real domain controller, and holds the page and the log
// against what ldapwhoami and kinit say of the same name and password.
func TestSambaAgrees(t *testing.T) {
	if err := samba.Available(); err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	need(t, "ldapwhoami", "kinit")
	w := startWorld(t, Options{Directory: "samba"})
	j := newJudge(t, w)
	transport, err := w.transport()
	if err != nil {
		t.Fatal(err)
	}
	const right, wrong = people.RightPassword, people.WrongPassword
	for _, c := range []struct {
		name, sam, password string
		data                string // AD's sub-code; "" is yes
		kerberos            string
		shown, logged       int
	}{
		{"right", "alice", right, "", "ticket", 0, 0},
		{"wrong", "bob", wrong, "52e", "Password incorrect", 50126, 50126},
		{"unknown", "nobody", wrong, "52e", "not found in Kerberos database", 50126, 50126},
		{"disabled", "disabled", right, "533", "credentials have been revoked", 50126, 50057},
		{"disabled, wrong", "disabled", wrong, "52e", "Password incorrect", 50126, 50126},
		{"locked", "locked", right, "775", "credentials have been revoked", 50126, 50053},
		{"locked, wrong", "locked", wrong, "775", "credentials have been revoked", 50126, 50053},
		{"expired", "expired", right, "532", "Password expired", 50144, 50144},
		{"expired, wrong", "expired", wrong, "52e", "Password incorrect", 50126, 50126},
		{"must change", "mustchange", right, "773", "Password expired", 50144, 50144},
		{"must change, wrong", "mustchange", wrong, "52e", "Password incorrect", 50126, 50126},
		{"account expired", "accountexpired", right, "701", "credentials have been revoked", 50126, 90051},
		{"logon hours", "logonhours", right, "530", "credentials have been revoked", 80012, 80012},
	} {
		t.Run(c.name, func(t *testing.T) {
			upn := c.sam + "@" + evaluationDomain
			if got := j.ldapwhoami(upn, c.password); got != c.data {
				t.Fatalf("ldapwhoami says %q; the table expects %q", got, c.data)
			}
			if got := j.kinit(upn, c.password); got != c.kerberos {
				t.Fatalf("kinit says %q; the table expects %q", got, c.kerberos)
			}
			saw, err := visitor.New(w.app(), transport).SignIn(t.Context(), upn, c.password)
			if err != nil {
				t.Fatal(err)
			}
			record, err := w.record(t.Context(), saw.Trace, upn)
			if err != nil {
				t.Fatal(err)
			}
			if saw.Code != c.shown || (saw.SignedIn != "") != (c.data == "") {
				t.Errorf("the page ends with %+v, not with %d", saw, c.shown)
			}
			if int(record.Code) != c.logged {
				t.Errorf("the log has %d, not %d", record.Code, c.logged)
			}
			if m := subCode.FindStringSubmatch(record.Diagnostic); c.data == "" && m != nil || c.data != "" && (m == nil || m[1] != c.data) {
				t.Errorf("the log has AD's words %q, not data %s", record.Diagnostic, c.data)
			}
			if record.DC == "" || record.Agent == "" {
				t.Errorf("the log names neither agent nor domain controller: %+v", record)
			}
		})
	}
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
