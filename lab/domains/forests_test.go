package domains

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// suffix is one for names of the forest PARTNER.TEST that is no name of a domain; lateSuffix is added when the trust is there.
const suffix, lateSuffix = "mail.test", "late.test"

// forests are two that trust each other. Cora is in corp, the others in partner: pat's name has the domain's suffix, the two others have theirs.
type forests struct {
	corp, partner         *samba.DC
	cora, pat, mary, lars people.Person
}

// TestForests shows what becomes of people of a trusted forest at the trusting one's domain controllers, with Samba (docs/divergences.md says
// what Windows does), and that a service with a directory for each forest never asks there.
func TestForests(t *testing.T) {
	var f forests
	f.corp, f.partner = sambatest.TwoForests(t)
	f.cora, f.pat, f.mary = crowd("cora", f.corp.UPNSuffix, 1)[0], crowd("pat", f.partner.UPNSuffix, 1)[0], crowd("mary", suffix, 1)[0]
	f.lars = crowd("lars", lateSuffix, 1)[0]
	noError(t, f.corp.Fill(t.Context(), []people.Person{f.cora}))
	noError(t, f.partner.AddNameSuffix(t.Context(), suffix))
	noError(t, f.partner.Fill(t.Context(), []people.Person{f.pat, f.mary}))
	noError(t, f.corp.Trust(t.Context(), f.partner))
	noError(t, f.partner.AddNameSuffix(t.Context(), lateSuffix))
	noError(t, f.partner.Fill(t.Context(), []people.Person{f.lars}))
	t.Run("simple bind", f.simpleBind)
	t.Run("Kerberos", f.kerberos)
	t.Run("validators", f.validators)
	t.Run("a directory for each", f.routing)
}

// simpleBind: the trusting forest's domain controller does not pass a bind on, in whatever form the name is.
func (f forests) simpleBind(t *testing.T) {
	for _, name := range []string{f.pat.UPN, `PARTNER\pat0`, "pat0@PARTNER", f.partner.DN(f.pat), f.mary.UPN, f.lars.UPN} {
		s, err := f.corp.Connect(t.Context())
		noError(t, err)
		err = s.Bind(name, people.RightPassword)
		_ = s.Close()
		if err == nil || !strings.Contains(err.Error(), "data 52e") {
			t.Errorf("%s at the trusting forest: %v; want 52e, although the password is right", name, err)
		}
		s, err = f.partner.Connect(t.Context())
		noError(t, err)
		if err := s.Bind(name, people.RightPassword); err != nil {
			t.Errorf("%s at home: %v", name, err)
		}
		_ = s.Close()
	}
}

// kerberos: the trust is alive, and a KDC sends people of the other forest there, by their suffix, also one that is no domain's.
func (f forests) kerberos(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "krb5.conf")
	noError(t, os.WriteFile(config, []byte("[libdefaults]\ndefault_realm = "+f.corp.Realm+"\ndns_lookup_kdc = false\ndns_lookup_realm = false\nudp_preference_limit = 1\n[realms]\n"+
		f.corp.Realm+" = {\nkdc = "+f.corp.Addr+"\n}\n"+f.partner.Realm+" = {\nkdc = "+f.partner.Addr+"\n}\n"), 0o600))
	run := func(program string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "KRB5_CONFIG="+config, "KRB5CCNAME=FILE:"+filepath.Join(dir, "cache"), "KRB5_TRACE=/dev/stdout")
		cmd.Stdin = strings.NewReader(people.RightPassword + "\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, p := range []people.Person{f.pat, f.mary} {
		out, err := run("kinit", "-E", p.UPN)
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("SALLYPORT_CI") != "1" {
			t.Skip("kinit is not here; install krb5-user")
		}
		if err != nil || !strings.Contains(out, "Realm not local to KDC") || !strings.Contains(out, "referral to realm "+f.partner.Realm) {
			t.Errorf("%s at the KDC of %s: %v\n%s", p.UPN, f.corp.Realm, err, out)
		}
		if out, err := run("kvno", "ldap/"+f.corp.Host+"@"+f.corp.Realm); err != nil {
			t.Errorf("a ticket of %s for a service of the trusting forest: %v\n%s", p.UPN, err, out)
		}
	}
	for _, name := range []string{"nobody@elsewhere.test", f.lars.UPN} {
		if out, err := run("kinit", "-E", name); err == nil || !strings.Contains(out, "not found in Kerberos database") || strings.Contains(out, "referral") {
			t.Errorf("%s, whose suffix the trust does not have: %v\n%s", name, err, out)
		}
	}
}

// validators: what the agent's validators make of that when they are asked about people of the other forest.
func (f forests) validators(t *testing.T) {
	before, err := f.partner.Attempts()
	noError(t, err)
	file := filepath.Join(t.TempDir(), "keytab")
	_, err = f.corp.Keytab(t.Context(), "agent1", file)
	noError(t, err)
	keytab, err := kerberos.ReadKeytab(file)
	noError(t, err)
	byKDC, err := kerberos.New(kerberos.Config{KDCs: []string{f.corp.Addr}, Keytab: keytab})
	noError(t, err)
	byBind, err := ldap.New(ldap.Config{Servers: []string{f.corp.LDAPS()}, RootCAs: f.corp.CAPool})
	noError(t, err)
	for _, p := range []people.Person{f.pat, f.mary} {
		fences := 0
		check := directory.Check{Name: p.UPN, Password: wire.NewSecret([]byte(people.RightPassword)), Fence: func(context.Context) error { fences++; return nil }}
		_, err := byKDC.Validate(t.Context(), check)
		var trouble *directory.Error
		if !errors.As(err, &trouble) || trouble.Code != wire.DirectoryUnreachable || trouble.Fenced || fences != 0 {
			t.Errorf("%s, asked by Kerberos: %v after %d fences; want %d before any", p.UPN, err, fences, wire.DirectoryUnreachable)
		}
		result, err := byBind.Validate(t.Context(), check)
		if err != nil || result.Verdict.Reason != wire.BadPassword {
			t.Errorf("%s, asked by LDAP: %+v, %v; want a wrong password, which it is not", p.UPN, result.Verdict, err)
		}
	}
	after, err := f.partner.Attempts()
	noError(t, err)
	for _, p := range []people.Person{f.pat, f.mary} {
		if before[p.UPN] != after[p.UPN] {
			t.Errorf("%s's own domain controller was asked %d times meanwhile", p.UPN, after[p.UPN]-before[p.UPN])
		}
	}
}

// routing: one service, a directory with one agent for each forest. A name's suffix decides which is asked, and no other hears of it.
func (f forests) routing(t *testing.T) {
	w := start(t, 1, of(t, f.corp))
	partner := of(t, f.partner)
	partner.Suffixes = []string{suffix}
	noError(t, w.Connect(t.Context(), "partner", partner))
	for _, c := range []struct {
		person       people.Person
		agent        string
		home, abroad *samba.DC
	}{
		{f.cora, "agent-1", f.corp, f.partner}, {f.pat, "agent-2", f.partner, f.corp}, {f.mary, "agent-2", f.partner, f.corp},
	} {
		home, abroad := countsOf(t, c.home), countsOf(t, c.abroad)
		saw, err := w.SignIn(t.Context(), c.person.UPN, people.RightPassword)
		if err != nil || saw.SignedIn != c.person.UPN {
			t.Errorf("%s, right password: %+v, %v", c.person.UPN, saw, err)
		}
		saw, err = w.SignIn(t.Context(), c.person.UPN, people.WrongPassword)
		if err != nil || saw.Code != int(wire.InvalidPassword) {
			t.Errorf("%s, wrong password: %+v, %v", c.person.UPN, saw, err)
		}
		records, err := w.Records(t.Context(), c.person.UPN)
		noError(t, err)
		for _, r := range records {
			if r.AgentName != c.agent || r.DC != at(c.home) {
				t.Errorf("%s was checked by %s at %s, want %s at %s", c.person.UPN, r.AgentName, r.DC, c.agent, at(c.home))
			}
		}
		if now := countsOf(t, c.home); len(records) != 2 || now.asked[c.person.UPN] != home.asked[c.person.UPN]+2 || now.wrong[c.person.SAM] != 1 {
			t.Errorf("%s: %d records; the home was asked %d times more, a badPwdCount of %d; want 2, 2, 1", c.person.UPN, len(records), now.asked[c.person.UPN]-home.asked[c.person.UPN],
				now.wrong[c.person.SAM])
		}
		if now := countsOf(t, c.abroad); now.asked[c.person.UPN] != abroad.asked[c.person.UPN] {
			t.Errorf("%s: the other forest was asked %d times", c.person.UPN, now.asked[c.person.UPN]-abroad.asked[c.person.UPN])
		}
	}
}
