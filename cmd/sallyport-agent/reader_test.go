package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

func TestGuardFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", "s3cret word\r\n", 0o600)
	for what, c := range map[string]struct {
		flags guardFlags
		words string
	}{
		"a file without a name":    {guardFlags{ReaderPasswordFile: good}, "without --reader-name"},
		"a name without a file":    {guardFlags{ReaderName: "reader@corp.example"}, "--reader-password-file"},
		"a name without domain":    {guardFlags{ReaderName: `CORP\reader`, ReaderPasswordFile: good}, "name@domain"},
		"an empty file":            {guardFlags{ReaderName: "reader@corp.example", ReaderPasswordFile: write("empty", "\n", 0o600)}, "no password"},
		"a file for everybody":     {guardFlags{ReaderName: "reader@corp.example", ReaderPasswordFile: write("open", "x", 0o644)}, "chmod 600"},
		"a file that is too long":  {guardFlags{ReaderName: "reader@corp.example", ReaderPasswordFile: write("long", strings.Repeat("x", 5000), 0o600)}, "at most"},
		"a file that is not there": {guardFlags{ReaderName: "reader@corp.example", ReaderPasswordFile: filepath.Join(dir, "none")}, "none"},
		"a group that is no DN":    {guardFlags{ProtectGroup: []string{"Domain Admins"}}, "distinguished name"},
	} {
		_, err := c.flags.guard("")
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if g, err := (guardFlags{}).guard(""); err != nil || g.Reader != "" {
		t.Errorf("nothing: %+v, %v", g, err)
	}
	g, err := guardFlags{ReaderName: "reader@corp.example", ReaderPasswordFile: good, LockoutReserve: 2, ProtectName: []string{"svc"}}.guard("")
	if err != nil || string(g.Password.Reveal()) != "s3cret word" || g.Reserve != 2 || len(g.Protection.Names) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	write(readerCredential, "from systemd", 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if g, err := (guardFlags{ReaderName: "reader@corp.example"}).guard(""); err != nil || string(g.Password.Reveal()) != "from systemd" {
		t.Errorf("what systemd hands over: %v", err)
	}
	write(readerCredential+"-corp", "of corp", 0o400)
	if g, err := (guardFlags{ReaderName: "reader@corp.example"}).guard("corp"); err != nil || string(g.Password.Reveal()) != "of corp" {
		t.Errorf("what systemd hands over for an instance: %v", err)
	}
	if g, err := (guardFlags{ReaderName: "reader@fabrikam.example"}).guard("fabrikam"); err == nil {
		t.Errorf("another directory's reader would get the password %q", g.Password.Reveal())
	}
}

// A distinguished name has commas, and is one value all the same: on the command line and in the settings file.
func TestProtectedGroupsInSettings(t *testing.T) {
	config := filepath.Join(t.TempDir(), "agent.yaml")
	text := "dc: [ldaps://127.0.0.1:1]\nprotect-name: [svc]\nprotect-group:\n  - CN=Tier 0,OU=Groups,DC=corp,DC=example\n  - Domain Admins\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := execute(t, nil, "doctor", "--state", t.TempDir(), "--config", config); r.code != exitUsage || !strings.Contains(r.errOut, "distinguished name") {
		t.Errorf("a group that is none: %+v", r)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(text, "  - Domain Admins\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := execute(t, nil, "doctor", "--state", t.TempDir(), "--config", config, "--protect-group", "CN=Domain Admins,CN=Users,DC=corp,DC=example")
	if r.code == exitUsage || strings.Contains(r.errOut, "distinguished name") {
		t.Errorf("%+v", r)
	}
}

func TestGuardWords(t *testing.T) {
	policy := &agent.LockoutPolicy{Source: "the domain", Threshold: 10}
	for words, g := range map[string]agent.Guard{
		"off: no reader account":                        {State: ldap.GuardOff},
		"does not accept reader@corp (90113)":           {State: ldap.GuardRefused, Reader: "reader@corp"},
		"has not read anything":                         {State: ldap.GuardUntried, Reader: "reader@corp"},
		"may not read a; b; the domain locks after 10":  {State: ldap.GuardPartial, Missing: []string{"a", "b"}, Strictest: policy, Reserve: 1},
		"reads all it needs; the directory never locks": {State: ldap.GuardReading, Strictest: &agent.LockoutPolicy{}},
		"locks after 10, 2 kept in reserve":             {State: ldap.GuardReading, Strictest: policy, Reserve: 2},
	} {
		if got := guardWords(g); !strings.Contains(got, words) {
			t.Errorf("%q, want %q", got, words)
		}
	}
}
