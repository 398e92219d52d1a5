package samba_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// diagnostics are what Active Directory says for each reason.
var diagnostics = map[wire.Reason]string{
	wire.BadPassword: "data 52e", wire.AccountLocked: "data 775", wire.AccountRestricted: "data 52f",
	wire.AccountDisabled: "data 533", wire.AccountExpired: "data 701", wire.PasswordExpired: "data 532",
	wire.MustChange: "data 773", wire.LogonHours: "data 530", wire.Workstation: "data 531",
}

// bind tries a name and a password on a connection of its own.
func bind(t *testing.T, dc *samba.DC, name, password string) error {
	t.Helper()
	s, err := dc.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Bind(name, password)
}

func TestEveryStateAnswersAsPeopleSay(t *testing.T) {
	everybody := people.Everybody("corp.example.com")
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	for _, p := range everybody {
		for _, right := range []bool{false, true} {
			password := people.WrongPassword
			if right {
				password = string(p.Password.Reveal())
			}
			err := bind(t, dc, p.UPN, password)
			want := p.Answer(right)
			if want.Right() {
				if err != nil {
					t.Errorf("%s, right password: %v", p.SAM, err)
				}
				continue
			}
			if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) || !strings.Contains(err.Error(), diagnostics[want]) {
				t.Errorf("%s, right=%v: %v, want %s", p.SAM, right, err, diagnostics[want])
			}
		}
	}
}

func TestCountsLocksAndUnlocks(t *testing.T) {
	alice := people.Everybody("corp.example.com")[0]
	dc := sambatest.Start(t, samba.Options{LockoutThreshold: 3}, alice)
	for i := range 3 {
		if n, err := dc.BadPwdCount(t.Context(), "alice"); err != nil || n != i {
			t.Fatalf("after %d wrong passwords: count %d, %v", i, n, err)
		}
		if err := bind(t, dc, alice.UPN, people.WrongPassword); err == nil {
			t.Fatal("a wrong password was accepted")
		}
	}
	if err := bind(t, dc, alice.UPN, people.RightPassword); err == nil || !strings.Contains(err.Error(), "data 775") {
		t.Fatalf("after the threshold: %v", err)
	}
	if err := dc.Unlock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if n, err := dc.BadPwdCount(t.Context(), "alice"); err != nil || n != 0 {
		t.Fatalf("after unlocking: count %d, %v", n, err)
	}
	if err := bind(t, dc, alice.UPN, people.RightPassword); err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	if err := dc.SetLockoutPolicy(t.Context(), 0, 0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := dc.CreateUser(t.Context(), people.Person{SAM: "late", UPN: "late@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Locked}); err == nil {
		t.Error("an account was locked without a threshold")
	}
	if err := dc.SetPassword(t.Context(), "alice", []byte("Another-Horse-8")); err != nil {
		t.Fatal(err)
	}
	if err := bind(t, dc, alice.UPN, "Another-Horse-8"); err != nil {
		t.Errorf("new password: %v", err)
	}
}

func TestAttributesAndGroups(t *testing.T) {
	alice := people.Everybody("corp.example.com")[0]
	dc := sambatest.Start(t, samba.Options{}, alice)
	if err := dc.AddToGroup(t.Context(), "Night, Shift", "alice"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"displayName": "Alice Archer", "mail": alice.Mail, "givenName": "Alice", "sn": "Archer", "userPrincipalName": alice.UPN,
		"distinguishedName": dc.DN(alice), "telephoneNumber": "",
	} {
		if got, err := dc.Attribute(t.Context(), "alice", name); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if guid, err := dc.Attribute(t.Context(), "alice", "objectGUID"); err != nil || len(guid) != 16 {
		t.Errorf("objectGUID = %x, %v", guid, err)
	}
	if _, err := dc.Attribute(t.Context(), "nobody", "cn"); err == nil {
		t.Error("an attribute of nobody")
	}
	s, err := dc.Administrator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := s.Search(ldap.NewSearchRequest(dc.DN(alice), ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"memberOf"}, nil))
	if err != nil || len(found.Entries) != 1 || len(found.Entries[0].GetAttributeValues("memberOf")) != 3 {
		t.Fatalf("memberOf: %v, %v", found, err)
	}
}

func TestCertificateVerifies(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{})
	pem, err := os.ReadFile(dc.CAFile)
	if err != nil || !strings.Contains(string(pem), "CERTIFICATE") || strings.Contains(string(pem), "KEY") {
		t.Fatalf("the CA's file: %v", err)
	}
	for _, name := range []string{dc.Addr, dc.Host} {
		conn, err := tls.Dial("tcp", net.JoinHostPort(dc.Addr, "636"), &tls.Config{RootCAs: dc.CAPool, ServerName: name})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}
	other := sambatest.Start(t, samba.Options{Realm: "other.test"})
	if other.Addr == dc.Addr || other.BaseDN != "DC=other,DC=test" || other.NetBIOS != "OTHER" {
		t.Errorf("the second domain controller: %s %s %s", other.Addr, other.BaseDN, other.NetBIOS)
	}
	if conn, err := tls.Dial("tcp", net.JoinHostPort(other.Addr, "636"), &tls.Config{RootCAs: dc.CAPool, ServerName: other.Addr}); err == nil {
		_ = conn.Close()
		t.Error("one domain controller's CA vouches for another")
	}
	if _, err := samba.Start(t.Context(), samba.Options{Address: dc.Addr}); err == nil {
		t.Error("two domain controllers share one address")
	}
}

func TestPauseResumeKillRestart(t *testing.T) {
	alice := people.Everybody("corp.example.com")[0]
	dc := sambatest.Start(t, samba.Options{}, alice)
	s, err := dc.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := dc.Pause(); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() { answer <- s.Bind(alice.UPN, people.RightPassword) }()
	select {
	case err := <-answer:
		t.Fatalf("a paused domain controller answered: %v", err)
	case <-time.After(200 * time.Millisecond): // nothing can show that no answer will come; this shows that none came at once
	}
	if err := dc.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Fatalf("after resuming: %v", err)
	}
	dc.Kill()
	if err := s.Bind(alice.UPN, people.RightPassword); err == nil {
		t.Error("a killed domain controller answered")
	}
	if err := dc.Pause(); err == nil {
		t.Error("a killed domain controller was paused")
	}
	if err := dc.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bind(t, dc, alice.UPN, people.RightPassword); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if err := dc.Restart(t.Context()); err == nil {
		t.Error("a running domain controller was restarted")
	}
	dc.Stop()
	dc.Stop()
	if err := dc.Restart(t.Context()); err == nil {
		t.Error("a stopped domain controller was restarted")
	}
}

func TestKeptDirectory(t *testing.T) {
	alice := people.Everybody("corp.example.com")[0]
	dir, err := os.MkdirTemp("", "kept")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var progress []string
	o := samba.Options{Dir: dir, Model: samba.Prefork, Progress: func(s string) { progress = append(progress, s) }}
	dc := sambatest.Start(t, o, alice)
	if _, err := samba.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a directory was used twice: %v", err)
	}
	dc.Stop()
	dc = sambatest.Start(t, o, alice) // who is there stays
	if err := bind(t, dc, alice.UPN, people.RightPassword); err != nil {
		t.Errorf("a kept account: %v", err)
	}
	if err := dc.CreateUser(t.Context(), alice); err == nil {
		t.Error("an account was created twice")
	}
	if len(progress) == 0 {
		t.Error("no progress was told")
	}
}

func TestRefusals(t *testing.T) {
	sambatest.Require(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := samba.Start(ended, samba.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	for name, o := range map[string]samba.Options{
		"foreign address":    {Address: "192.0.2.1"},
		"no address":         {Address: "localhost"},
		"unknown model":      {Model: "threads"},
		"one label":          {Realm: "CORP"},
		"odd label":          {Realm: "CO RP.EXAMPLE"},
		"settings inside":    {Realm: "A.B\n[global]"},
		"host's own name":    {Realm: "DC1.EXAMPLE.COM"},
		"directory too long": {Dir: "/tmp/" + strings.Repeat("x", 80)},
		"percent":            {Dir: "/tmp/a%m"},
	} {
		if dc, err := samba.Start(t.Context(), o); err == nil {
			dc.Stop()
			t.Errorf("%s was accepted", name)
		}
	}
	_ = os.RemoveAll("/tmp/" + strings.Repeat("x", 80))
}
