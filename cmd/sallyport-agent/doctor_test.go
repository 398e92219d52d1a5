package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/doctor"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
)

// newDirectory serves the evaluation directory and returns the flags that lead to it.
func newDirectory(t *testing.T) (s *evaluation.Server, flags []string) {
	t.Helper()
	certificate, caFile, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s, err = evaluation.New(evaluation.Config{People: people.Everybody("corp.example.com"), TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), listener) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s, []string{"--dc", "ldaps://" + listener.Addr().String(), "--dc-ca-file", caFile}
}

// findings runs doctor and reads what it found.
func findings(t *testing.T, code int, args ...string) []doctor.Finding {
	t.Helper()
	r := execute(t, nil, append([]string{"doctor", "--output", "json"}, args...)...)
	var out struct {
		Worst    doctor.Severity
		Findings []doctor.Finding
	}
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if r.code != code || (out.Worst == doctor.Error) != (code == 1) {
		t.Errorf("code %d, worst %s: %s", r.code, out.Worst, r.out)
	}
	return out.Findings
}

func has(all []doctor.Finding, severity doctor.Severity, check, words string) bool {
	for _, f := range all {
		if f.Severity == severity && f.Check == check && strings.Contains(f.Says, words) {
			return true
		}
	}
	return false
}

// TestDoctor examines an agent whose gateway is down, whose service lives, and whose directory is well; then one that is not registered.
func TestDoctor(t *testing.T) {
	_, flags := newDirectory(t)
	state := register(t, time.Hour)
	all := findings(t, 1, append(flags, "--state", state)...)
	for _, want := range []struct {
		severity     doctor.Severity
		check, words string
	}{
		{doctor.OK, "state folder", "agent dc-agent-1"},
		{doctor.OK, "agent certificate", "valid until"},
		{doctor.OK, "proxy", "straight"},
		{doctor.OK, "service", "answers"},
		{doctor.OK, "clock", "the service's clock"},
		{doctor.Error, "gateway", "connection refused"},
		{doctor.OK, "domain controller", "DC=corp,DC=example,DC=com answers"},
		{doctor.Note, "lockout policy", "not told"},
		{doctor.Note, "DNS", "_ldap._tcp.dc._msdcs.corp.example.com"},
	} {
		if !has(all, want.severity, want.check, want.words) {
			t.Errorf("no finding %+v in %+v", want, all)
		}
	}
	none := findings(t, 1, append(flags, "--state", t.TempDir()+"/none")...)
	if !has(none, doctor.Error, "state folder", "not registered") || !has(none, doctor.OK, "domain controller", "answers") {
		t.Errorf("%+v", none)
	}
	// Before the registration, with a service to look at, nothing is wrong.
	address, caFile := newService(t, time.Hour)
	before := findings(t, 0, append(flags, "--state", t.TempDir()+"/none", "--service", address, "--ca-file", caFile)...)
	if !has(before, doctor.Note, "state folder", "not registered yet") || !has(before, doctor.OK, "service", "answers") || !has(before, doctor.OK, "clock", "the service's clock") {
		t.Errorf("%+v", before)
	}
	if strange := findings(t, 1, append(flags, "--state", t.TempDir()+"/none", "--service", address)...); !has(strange, doctor.Error, "service", "not trusted") {
		t.Errorf("without its authority: %+v", strange)
	}
	if r := execute(t, nil, "doctor", "--service", "http://x"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	text := execute(t, nil, append([]string{"doctor", "--state", state}, flags...)...)
	if text.code != 1 || !strings.Contains(text.out, " ERROR   gateway 127.0.0.1:1") || !strings.Contains(text.out, "what to do: ") || !strings.Contains(text.out, "errors: 1") {
		t.Errorf("%+v", text)
	}
}

// signIn runs test-signin with a password on standard input.
func signIn(t *testing.T, password string, args ...string) result {
	t.Helper()
	var out, errOut strings.Builder
	c := exec.CommandContext(t.Context(), binary, append([]string{"test-signin", "--password-file", "-"}, args...)...)
	c.Env = []string{"HOME=" + t.TempDir()}
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(password+"\n"), &out, &errOut
	_ = c.Run() // the code tells
	r := result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
	if strings.Contains(r.out+r.errOut, password) && password != "" {
		t.Errorf("the password is shown: %+v", r)
	}
	return r
}

// TestSignIn plays every account at a real domain controller, and what is wrong with the command.
func TestSignIn(t *testing.T) {
	everybody := people.Everybody("corp.example.com")
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	flags := []string{"--dc", dc.LDAPS(), "--dc-ca-file", dc.CAFile}
	for _, c := range []struct {
		state people.State
		wrong bool
		code  int
		words []string
	}{
		{people.Normal, false, 0, []string{"right: ", "objectGUID"}},
		{people.Normal, true, exitNotRight, []string{"not right", "1326", "counts as one wrong password"}},
		{people.Disabled, false, exitNotRight, []string{"1331", "not counted", "what to do"}},
		{people.MustChange, false, exitNotRight, []string{"1907"}},
	} {
		var who people.Person
		for _, p := range everybody {
			if p.State == c.state {
				who = p
			}
		}
		password := string(who.Password.Reveal())
		if c.wrong {
			password = people.WrongPassword
		}
		before, err := dc.BadPwdCount(t.Context(), who.SAM)
		if err != nil {
			t.Fatal(err)
		}
		r := signIn(t, password, append(flags, who.UPN)...)
		if r.code != c.code {
			t.Errorf("%s: %+v", c.state, r)
		}
		for _, w := range c.words {
			if !strings.Contains(r.out, w) {
				t.Errorf("%s: no %q in %s", c.state, w, r.out)
			}
		}
		want := before
		if c.wrong {
			want++
		}
		if !c.wrong && c.code == 0 {
			want = 0 // a right password clears the count
		}
		if n, err := dc.BadPwdCount(t.Context(), who.SAM); err != nil || n != want {
			t.Errorf("%s: the directory counts %d wrong passwords, want %d (%v)", c.state, n, want, err)
		}
	}
	// What an ordinary account may read, and the policy that strangers are not told.
	if err := dc.SetLockoutPolicy(t.Context(), 3, 10*time.Minute, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	who := everybody[0]
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, append(bytes.Clone(who.Password.Reveal()), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	all := findings(t, 1, append(flags, "--state", t.TempDir()+"/none", "--as", who.UPN, "--password-file", file)...)
	if !has(all, doctor.OK, "directory rights", "ordinary account") || !has(all, doctor.Warning, "lockout policy", "after 3 wrong passwords within 5m0s, for 10m0s") ||
		!has(all, doctor.OK, "directory rights", "only the root entry") || !has(all, doctor.OK, "clock", "clock and this host's agree") {
		t.Errorf("%+v", all)
	}
	if r := execute(t, nil, append([]string{"test-signin", "a@corp.example.com", "a-canary-Passw0rd"}, flags...)...); r.code != exitUsage ||
		!strings.Contains(r.errOut, "on the command line") || strings.Contains(r.errOut+r.out, "canary") {
		t.Errorf("a password on the command line: %+v", r)
	}
	if r := signIn(t, "", append(flags, "a@corp.example.com")...); r.code != exitFailure || !strings.Contains(r.errOut, "90034") {
		t.Errorf("an empty password: %+v", r)
	}
	if r := signIn(t, "a-canary-Passw0rd", "--dc", "ldaps://127.0.0.1:1", "a@corp.example.com"); r.code != exitFailure || !strings.Contains(r.errOut, "80007") {
		t.Errorf("no directory: %+v", r)
	}
	if r := signIn(t, "a-canary-Passw0rd", "a@corp.example.com"); r.code != exitUsage || !strings.Contains(r.errOut, "--dc") {
		t.Errorf("without --dc: %+v", r)
	}
	if r := execute(t, nil, append([]string{"test-signin", "a@corp.example.com"}, flags...)...); r.code != exitUsage || !strings.Contains(r.errOut, "--password-file") {
		t.Errorf("no terminal: %+v", r)
	}
}

// TestByKerberos checks passwords with a keytab, and settings that cannot be.
func TestByKerberos(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{}, people.Everybody("corp.example.com")...)
	keytab := filepath.Join(t.TempDir(), "agent.keytab")
	principal, err := dc.Keytab(t.Context(), "agent1", keytab)
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"--dc", dc.LDAPS(), "--dc-ca-file", dc.CAFile}
	proven := append(slices.Clone(flags), "--keytab", keytab)
	if r := signIn(t, people.RightPassword, append(proven, "alice@corp.example.com")...); r.code != 0 || !strings.Contains(r.out, dc.Addr+":88 accepts") ||
		!strings.Contains(r.out, "objectGUID") || !strings.Contains(r.errOut, "kerberos: chosen because there is a keytab") {
		t.Errorf("%+v", r)
	}
	if r := signIn(t, people.WrongPassword, append(proven, "bob@corp.example.com")...); r.code != exitNotRight || !strings.Contains(r.out, "KDC_ERR_PREAUTH_FAILED (24)") {
		t.Errorf("%+v", r)
	}
	if n, err := dc.BadPwdCount(t.Context(), "bob"); err != nil || n != 1 {
		t.Errorf("counted %d, %v", n, err)
	}
	if r := signIn(t, people.RightPassword, append(proven, "--validator", "ldap", "alice@corp.example.com")...); r.code != exitUsage || !strings.Contains(r.errOut, "ldap was asked for") {
		t.Errorf("%+v", r)
	}
	if r := signIn(t, people.RightPassword, append(flags, "--validator", "kerberos", "--realm", dc.Realm, "alice@corp.example.com")...); r.code != exitUsage || !strings.Contains(r.errOut, "without a keytab") {
		t.Errorf("%+v", r)
	}
	if r := signIn(t, people.RightPassword, append(flags, "alice@corp.example.com")...); r.code != 0 || !strings.Contains(r.errOut, "ldap: chosen because there is no keytab") {
		t.Errorf("%+v", r)
	}
	all := findings(t, 1, append(proven, "--state", t.TempDir()+"/none")...)
	if !has(all, doctor.OK, "validator", "KDCs are proven by "+principal) || !has(all, doctor.OK, "kdc", "answers in") || !has(all, doctor.OK, "clock", "KDC's") {
		t.Errorf("%+v", all)
	}
	careless := findings(t, 1, append(flags, "--state", t.TempDir()+"/none", "--validator", "kerberos", "--kerberos-unproven", "--realm", dc.Realm)...)
	if !has(careless, doctor.Warning, "validator", "WITHOUT PROOF") {
		t.Errorf("%+v", careless)
	}
	if err := os.Chmod(keytab, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := signIn(t, people.RightPassword, append(proven, "alice@corp.example.com")...); r.code != exitUsage || !strings.Contains(r.errOut, "chmod 600 it") {
		t.Errorf("a keytab for everybody: %+v", r)
	}
}

// TestWindowsElsewhere asks for the validator windows on a host that has none.
func TestWindowsElsewhere(t *testing.T) {
	for _, command := range []string{"run", "doctor", "test-signin"} {
		if r := execute(t, nil, command, "--validator", "windows"); r.code != exitUsage || !strings.Contains(r.errOut, "works on Windows only") {
			t.Errorf("%s: %+v", command, r)
		}
	}
}
