package evaluation_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls until the condition holds; ten seconds are for a machine that does much else.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestEveryStateAnswersAsPeopleSay(t *testing.T) {
	data := map[wire.Reason]string{
		wire.BadPassword: "data 52e,", wire.AccountLocked: "data 775,", wire.AccountRestricted: "data 52f,", wire.AccountDisabled: "data 533,",
		wire.AccountExpired: "data 701,", wire.PasswordExpired: "data 532,", wire.MustChange: "data 773,", wire.LogonHours: "data 530,",
		wire.Workstation: "data 531,",
	}
	everybody := people.Everybody(suffix)
	_, p := startPlace(t, evaluation.Config{People: everybody})
	conn := connect(t, p)
	for _, person := range everybody {
		for _, right := range []bool{false, true} {
			password := people.WrongPassword
			if right {
				password = people.RightPassword
			}
			err := conn.Bind(person.UPN, password)
			switch want := person.Answer(right); {
			case want.Right() && err != nil:
				t.Errorf("%s: %v", person.SAM, err)
			case !want.Right() && (!ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) || !strings.Contains(err.Error(), data[want])):
				t.Errorf("%s, right=%v: %v; want %s", person.SAM, right, err, data[want])
			}
		}
	}
}

func TestSaysWhatItIs(t *testing.T) {
	server, p := startPlace(t, evaluation.Config{BaseDN: "dc=Try,dc=Example"})
	conn := connect(t, p)
	found, err := conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", nil, nil))
	if err != nil || len(found.Entries) != 1 {
		t.Fatal(found, err)
	}
	root := found.Entries[0]
	for name, want := range map[string]string{
		"vendorName": evaluation.VendorName, "defaultNamingContext": "DC=try,DC=example", "dnsHostName": "dc1.try.example",
		"ldapServiceName": "try.example:dc1$@TRY.EXAMPLE", "supportedExtension": startTLSOID, "domainControllerFunctionality": "4",
	} {
		if got := root.GetAttributeValue(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(strings.ToLower(root.GetAttributeValue("vendorName")), "evaluation") {
		t.Error("the vendor's name does not say evaluation")
	}
	if server.BaseDN() != "DC=try,DC=example" || server.UPNSuffix() != "try.example" || server.NetBIOS() != "TRY" {
		t.Error(server.BaseDN(), server.UPNSuffix(), server.NetBIOS())
	}
}

func TestLockoutPolicies(t *testing.T) {
	alice := people.Everybody(suffix)[0]
	for _, c := range []struct {
		name      string
		threshold int
		wrong     int
		count     int
		locked    bool
	}{
		{"below", 3, 2, 2, false}, {"at", 3, 3, 3, true}, {"beyond", 3, 9, 3, true}, {"default", 0, 9, 9, false},
		{"default reached", 0, 10, 10, true}, {"never", -1, 50, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}, LockoutThreshold: c.threshold})
			conn := connect(t, p)
			for range c.wrong {
				if err := conn.Bind(alice.UPN, people.WrongPassword); err == nil {
					t.Fatal("a wrong password was accepted")
				}
			}
			if got := server.BadPwdCount("alice"); got != c.count {
				t.Errorf("count %d, want %d", got, c.count)
			}
			if err := conn.Bind(alice.UPN, people.RightPassword); (err != nil) != c.locked {
				t.Errorf("afterwards, the right password: %v", err)
			}
			if got := server.Binds(alice.UPN); got != c.wrong+1 {
				t.Errorf("%d binds were counted, %d were made", got, c.wrong+1)
			}
			if !server.Unlock(strings.ToUpper(alice.UPN)) || conn.Bind(alice.UPN, people.RightPassword) != nil {
				t.Error("not unlocked")
			}
		})
	}
}

// TestConcurrentBinds makes many clients guess at once: every guess is counted once, and not one is judged beyond the threshold.
func TestConcurrentBinds(t *testing.T) {
	const clients, guesses, limit = 16, 20, 100
	everybody := people.Everybody(suffix)
	server, p := startPlace(t, evaluation.Config{People: everybody, LockoutThreshold: limit})
	var judged, locked sync.Map
	var wait sync.WaitGroup
	for i := range clients {
		conn := connect(t, p)
		wait.Go(func() {
			for j := range guesses {
				err := conn.Bind("alice@"+suffix, people.WrongPassword)
				switch {
				case err != nil && strings.Contains(err.Error(), "data 52e,"):
					judged.Store([2]int{i, j}, true)
				case err != nil && strings.Contains(err.Error(), "data 775,"):
					locked.Store([2]int{i, j}, true)
				default:
					t.Errorf("a guess was answered with %v", err)
				}
				if err := conn.Bind("bob@"+suffix, people.RightPassword); err != nil {
					t.Errorf("bob: %v", err)
				}
				if _, err := conn.Search(ldap.NewSearchRequest(baseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(badPwdCount>=1)", []string{"cn"}, nil)); err != nil {
					t.Errorf("search: %v", err)
				}
			}
		})
	}
	wait.Go(func() {
		for i := range 50 {
			one := people.Person{SAM: fmt.Sprintf("new%d", i), UPN: fmt.Sprintf("new%d@%s", i, suffix), Password: wire.NewSecret([]byte("x")), Groups: []string{"Staff"}}
			if err := server.Add(one); err != nil {
				t.Error(err)
			}
		}
	})
	wait.Wait()
	count := func(m *sync.Map) (n int) {
		m.Range(func(any, any) bool { n++; return true })
		return n
	}
	if count(&judged) != limit || count(&locked) != clients*guesses-limit || server.BadPwdCount("alice") != limit {
		t.Errorf("%d guesses were judged, %d met a lock, the count is %d; the threshold is %d", count(&judged), count(&locked), server.BadPwdCount("alice"), limit)
	}
	if got := server.Binds("alice"); got != clients*guesses {
		t.Errorf("%d of %d guesses were counted", got, clients*guesses)
	}
}

func TestCloseWhileClientsAreConnected(t *testing.T) {
	alice := people.Everybody(suffix)[0]
	server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
	var conns []*ldap.Conn
	for range 5 {
		conns = append(conns, connect(t, p))
	}
	server.Hang(true)
	hung := make(chan error, 1)
	go func() { hung <- conns[0].Bind(alice.UPN, people.RightPassword) }()
	eventually(t, "connections are served", func() bool { return server.Connections() == 5 })
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-hung; err == nil {
		t.Error("a hung bind succeeded")
	}
	for _, c := range conns[1:] {
		if err := c.Bind(alice.UPN, people.RightPassword); err == nil {
			t.Error("a closed directory answered")
		}
	}
	if server.Connections() != 0 {
		t.Errorf("%d connections are open", server.Connections())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(t.Context(), l); !errors.Is(err, evaluation.ErrClosed) {
		t.Errorf("serving after Close: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is open")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	cert, _ := certificate(t)
	server, err := evaluation.New(evaluation.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.ServePlain(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the connection is served", func() bool { return server.Connections() == 1 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("reading: %v", err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

func TestMisbehaviour(t *testing.T) {
	alice := people.Everybody(suffix)[0]
	t.Run("hang", func(t *testing.T) {
		server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
		conn, other := connect(t, p), connect(t, p)
		server.Hang(true)
		server.Hang(true)
		done := make(chan error, 1)
		go func() { done <- conn.Bind(alice.UPN, people.RightPassword) }()
		if _, err := other.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", nil, nil)); err != nil {
			t.Errorf("a search while binds hang: %v", err)
		}
		if n := server.Binds("alice"); n != 0 {
			t.Errorf("%d hung binds were judged", n)
		}
		server.Hang(false)
		if err := <-done; err != nil {
			t.Errorf("after the hang: %v", err)
		}
		server.Hang(false)
	})
	t.Run("drop after bind", func(t *testing.T) {
		server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
		conn := connect(t, p)
		server.DropAfterBind(true)
		if err := conn.Bind(alice.UPN, people.WrongPassword); err == nil || ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("a dropped bind was answered: %v", err)
		}
		if n := server.BadPwdCount("alice"); n != 1 {
			t.Errorf("the dropped bind counted %d", n)
		}
		server.DropAfterBind(false)
		if err := connect(t, p).Bind(alice.UPN, people.RightPassword); err != nil {
			t.Error(err)
		}
	})
	t.Run("delay", func(t *testing.T) {
		const delay = 50 * time.Millisecond
		server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
		conn := connect(t, p)
		server.Delay(delay)
		begin := time.Now()
		if err := conn.Bind(alice.UPN, people.RightPassword); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < delay {
			t.Errorf("answered after %v", took)
		}
		server.Delay(time.Hour)
		go func() { _ = conn.Bind(alice.UPN, people.RightPassword) }()
		_ = server.Close() // must not wait an hour
	})
}

func TestLimits(t *testing.T) {
	alice := people.Everybody(suffix)[0]
	t.Run("connections", func(t *testing.T) {
		server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}, MaxConnections: 2})
		first, second := connect(t, p), connect(t, p)
		if _, err := tls.Dial("tcp", p.ldaps, p.tls()); err == nil {
			t.Error("a third connection was served")
		}
		_ = first.Close()
		eventually(t, "a place is free", func() bool { return server.Connections() == 1 })
		if err := connect(t, p).Bind(alice.UPN, people.RightPassword); err != nil {
			t.Error(err)
		}
		if err := second.Bind(alice.UPN, people.RightPassword); err != nil {
			t.Error(err)
		}
	})
	t.Run("idle time", func(t *testing.T) {
		server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}, IdleTime: 30 * time.Millisecond})
		conn := connect(t, p)
		eventually(t, "the idle connection is closed", func() bool { return server.Connections() == 0 })
		if err := conn.Bind(alice.UPN, people.RightPassword); err == nil {
			t.Error("an idle connection lives")
		}
	})
	t.Run("size", func(t *testing.T) {
		_, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
		if err := connect(t, p).Bind(alice.UPN, strings.Repeat("x", 200_000)); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("a long password: %v", err)
		}
		if err := connect(t, p).Bind(alice.UPN, strings.Repeat("x", 300_000)); err == nil || ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("a message above the limit: %v", err)
		}
	})
	t.Run("results", func(t *testing.T) {
		_, p := startPlace(t, evaluation.Config{People: people.Everybody(suffix)})
		conn := connect(t, p)
		if err := conn.Bind(alice.UPN, people.RightPassword); err != nil {
			t.Fatal(err)
		}
		found, err := conn.Search(ldap.NewSearchRequest(baseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false, "(objectClass=person)", []string{"cn"}, nil))
		if !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || len(found.Entries) != 2 {
			t.Errorf("a size limit of 2: %v", err)
		}
	})
}

// TestStartTLSDropsEarlyBytes sends a bind in the clear together with the StartTLS request: it must not be answered inside TLS.
func TestStartTLSDropsEarlyBytes(t *testing.T) {
	alice := people.Everybody(suffix)[0]
	server, p := startPlace(t, evaluation.Config{People: []people.Person{alice}})
	c := dial(t, p, "plain")
	start, _ := c.encode(ask{Extended: startTLSOID})
	injected, _ := c.encode(bind(alice.UPN, people.RightPassword))
	if _, err := c.conn.Write(append(packet(1, start), packet(2, injected)...)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2) // tag and length of a short answer
	if _, err := io.ReadFull(c.conn, head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c.conn, make([]byte, head[1])); err != nil {
		t.Fatal(err)
	}
	c.secure()
	c.in.Reset(c.conn)
	c.message = 2
	if got := c.ask(search("", base, "(objectClass=*)", "dnsHostName")); got.Code != 0 || len(got.Entries) != 1 {
		t.Errorf("the first answer inside TLS: %+v", got)
	}
	if n := server.Binds("alice"); n != 0 {
		t.Errorf("%d injected binds were judged", n)
	}
}

func TestMalformedMessagesEndTheConnection(t *testing.T) {
	_, p := startPlace(t, evaluation.Config{})
	for name, raw := range map[string]string{
		"another protocol":   "GET / HTTP/1.1\r\n\r\n",
		"indefinite length":  "\x30\x80\x02\x01\x01\x42\x00\x00\x00",
		"too long":           "\x30\x84\x7f\xff\xff\xff",
		"length of length 5": "\x30\x85\x00\x00\x00\x00\x05",
		"id zero":            "\x30\x05\x02\x01\x00\x42\x00",
		"no operation":       "\x30\x03\x02\x01\x01",
		"unknown operation":  "\x30\x05\x02\x01\x01\x5e\x00",
		"bind without parts": "\x30\x05\x02\x01\x01\x60\x00",
		"deep":               deep(100),
		"filter too large":   "(|" + strings.Repeat("(cn=x)", 400) + ")",
		"filter too deep":    strings.Repeat("(!", 100) + "(cn=x)" + strings.Repeat(")", 100),
		"too many pieces":    "(cn=" + strings.Repeat("*x", 400) + ")",
	} {
		c := dial(t, p, "plain")
		if strings.HasPrefix(raw, "(") {
			op, _ := c.encode(search("", base, raw))
			raw = string(packet(1, op))
		}
		if _, err := io.WriteString(c.conn, raw); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(c.conn)
		if err != nil && !isReset(err) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(string(rest), "1.3.6.1.4.1.1466.20036") && err == nil {
			t.Errorf("%s: no notice of disconnection: %q", name, rest)
		}
	}
}

// deep nests sequences n deep in what would be the controls.
func deep(n int) string {
	inner := ""
	for range n {
		switch {
		case len(inner) < 0x80:
			inner = "\x30" + string([]byte{byte(len(inner))}) + inner
		default:
			inner = "\x30\x82" + string([]byte{byte(len(inner) >> 8), byte(len(inner))}) + inner
		}
	}
	return inner
}

func TestRefusedPeopleAndSettings(t *testing.T) {
	cert, _ := certificate(t)
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	password := wire.NewSecret([]byte("x"))
	alice := people.Person{SAM: "alice", UPN: "alice@" + suffix, Password: password}
	for name, c := range map[string]evaluation.Config{
		"no TLS":            {},
		"no password":       {TLS: secure, People: []people.Person{{SAM: "a", UPN: "a@x"}}},
		"no name":           {TLS: secure, People: []people.Person{{UPN: "a@x", Password: password}}},
		"unknown state":     {TLS: secure, People: []people.Person{{SAM: "a", Password: password, State: "odd"}}},
		"long name":         {TLS: secure, People: []people.Person{{SAM: strings.Repeat("a", 21), Password: password}}},
		"same name twice":   {TLS: secure, People: []people.Person{alice, {SAM: "ALICE", UPN: "b@x", Password: password}}},
		"same UPN twice":    {TLS: secure, People: []people.Person{alice, {SAM: "b", UPN: "Alice@corp.example.com", Password: password}}},
		"implicit UPN":      {TLS: secure, People: []people.Person{alice, {SAM: "b", UPN: "alice@corp", Password: password}}},
		"locked for nobody": {TLS: secure, LockoutThreshold: -1, People: []people.Person{{SAM: "a", Password: password, State: people.Locked}}},
		"base of one":       {TLS: secure, BaseDN: "DC=corp"},
		"base of an o":      {TLS: secure, BaseDN: "O=corp,DC=example"},
		"broken base":       {TLS: secure, BaseDN: "corp.example.com"},
		"negative":          {TLS: secure, LockoutDuration: -1},
	} {
		if _, err := evaluation.New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, _, err := evaluation.SelfSigned(t.TempDir()); err == nil {
		t.Error("a certificate for nobody")
	}
	if _, _, err := evaluation.SelfSigned("/nonexistent", "localhost"); err == nil {
		t.Error("a certificate in no directory")
	}
}

func TestIdentifiersAreTheSameAtEveryStart(t *testing.T) {
	everybody := people.Everybody(suffix)
	_, one := startPlace(t, evaluation.Config{People: everybody})
	renamed := people.Everybody(suffix)
	renamed[1].DisplayName = "Robert Baker"
	_, two := startPlace(t, evaluation.Config{People: append([]people.Person{renamed[0], renamed[9], renamed[1]}, renamed[2:9]...)})
	for _, sam := range []string{"alice", "bob"} {
		a, b := read(t, one, everybody[0], sam, "objectGUID"), read(t, two, everybody[0], sam, "objectGUID")
		if len(a) != 16 || string(a) != string(b) {
			t.Errorf("%s: %x and %x", sam, a, b)
		}
	}
	if string(read(t, one, everybody[0], "alice", "objectGUID")) == string(read(t, one, everybody[0], "bob", "objectGUID")) {
		t.Error("two people share an objectGUID")
	}
}

// TestOtherPrograms lets OpenLDAP's tools judge the protocol: no code is shared with them.
func TestOtherPrograms(t *testing.T) {
	ldapsearch, err := exec.LookPath("ldapsearch")
	if err != nil {
		skipOrFail(t, "ldapsearch not found; install with: apt-get install ldap-utils")
	}
	everybody := people.Everybody(suffix)
	cert, file, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server, err := evaluation.New(evaluation.Config{People: everybody, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServePlain(t.Context(), l) }()
	run := func(password string) (string, error) {
		cmd := exec.CommandContext(t.Context(), ldapsearch, "-LLL", "-x", "-ZZ", "-H", "ldap://"+l.Addr().String(), "-D", "alice@"+suffix, "-w", password,
			"-b", baseDN, "(&(objectClass=user)(sAMAccountName=alice))", "displayName", "objectGUID")
		cmd.Env = []string{"LDAPTLS_CACERT=" + file, "LDAPTLS_REQCERT=demand", "PATH=/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run(people.RightPassword)
	if err != nil || !strings.Contains(out, "displayName: Alice Archer") || !strings.Contains(out, "objectGUID:: ") || !strings.Contains(out, "# refldap://") {
		t.Errorf("ldapsearch: %v\n%s", err, out)
	}
	if out, err := run(people.WrongPassword); err == nil || !strings.Contains(out, "data 52e, v1db1") {
		t.Errorf("ldapsearch with a wrong password: %v\n%s", err, out)
	}
	_ = server.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
