package ldap_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// documented gives the reader the rights that the page for administrators gives it: the lines of dsacls there, and nothing else.
func (g guarded) documented(reader string) {
	g.t.Helper()
	page, err := os.ReadFile("../../../docs/operating/agent.md")
	must(g.t, err)
	property := regexp.MustCompile(`"CORP\\sallyport-reader:RP;([A-Za-z0-9-]+);([a-z]+)"`)
	line := regexp.MustCompile(`(?m)^dsacls "([^"]*)DC=corp,DC=example" (.*)$`)
	properties, settings := 0, 0
	for _, l := range line.FindAllStringSubmatch(string(page), -1) {
		switch {
		case l[1] == "CN=Password Settings Container,CN=System," && l[2] == `/I:T /G "CORP\sallyport-reader:GR"`:
			must(g.t, g.GrantReadOfPasswordSettings(g.t.Context(), reader))
			settings++
		case l[1] == "CN=AdminSDHolder,CN=System,": // Samba does not copy its rights to anybody
		case l[1] == "" && strings.HasPrefix(l[2], "/I:S /G "):
			for _, r := range property.FindAllStringSubmatch(l[2], -1) {
				must(g.t, g.GrantRead(g.t.Context(), reader, g.BaseDN, r[2], r[1]))
				properties++
			}
		default:
			g.t.Errorf("not tried: %s", l[0])
		}
	}
	if properties != 4 || settings != 1 {
		g.t.Fatalf("the page has %d rights for attributes and %d for password settings objects", properties, settings)
	}
}

// sees are the attributes of an account that the reader is shown.
func (g guarded) sees(sam string, attributes ...string) (shown []string) {
	g.t.Helper()
	s, err := g.Connect(g.t.Context())
	must(g.t, err)
	defer s.Close()
	must(g.t, s.Bind("reader@"+g.UPNSuffix, readerPassword))
	r, err := s.Search(goldap.NewSearchRequest(g.BaseDN, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, "(sAMAccountName="+sam+")", attributes, nil))
	must(g.t, err)
	for _, e := range r.Entries {
		for _, a := range e.Attributes {
			shown = append(shown, a.Name)
		}
	}
	return shown
}

// TestLeastPrivilege: in a domain that shows signed-in users as little as security baselines ask for, an ordinary account with the rights that the page for
// administrators names is all that the agent needs, and it gets no others. Without them, doctor says so.
func TestLeastPrivilege(t *testing.T) {
	g := newGuarded(t)
	s, err := g.Administrator(t.Context())
	must(t, err)
	defer s.Close()
	change := goldap.NewModifyRequest("CN=ann,OU=People,"+g.BaseDN, nil)
	change.Add("mail", []string{"ann@mail.example"})
	change.Add("proxyAddresses", []string{"SMTP:ann@mail.example", "smtp:anna@mail.example"})
	must(t, s.Modify(change))
	must(t, g.SetLockoutPolicy(t.Context(), 4, 30*time.Minute, 30*time.Minute))
	must(t, g.SetLockoutPolicyOf(t.Context(), "strict", "eve", 3, 30*time.Minute, 30*time.Minute))
	must(t, g.AddToGroup(t.Context(), "Inner", "max"))
	must(t, g.AddToGroup(t.Context(), "Tier Zero", "Inner"))
	must(t, g.Harden(t.Context()))

	reader := ldap.Guard{Reader: "reader@" + g.UPNSuffix, Password: wire.NewSecret([]byte(readerPassword)), Protection: guard.Protection{Groups: []string{"CN=Tier Zero,OU=Groups," + g.BaseDN}}}
	look := func() ldap.GuardStatus {
		t.Helper()
		st, err := ldap.ExamineGuard(t.Context(), g.LDAPS(), g.CAPool, nil, reader)
		must(t, err)
		return st
	}
	if st := look(); st.State != ldap.GuardPartial || !slices.Equal(st.Missing, []string{"badPwdCount and badPasswordTime of accounts", "password settings objects"}) {
		t.Errorf("without any rights: %+v", st)
	}
	// Members of protected groups are known all the same.
	protect := func(c *ldap.Guard) { c.Protection = reader.Protection }
	if _, code := g.try(g.validator(protect), "max", people.WrongPassword); code != wire.AccountProtected || g.count("max") != 0 {
		t.Errorf("a member of a protected group, without any rights: %d", code)
	}

	g.documented("reader")
	if st := look(); st.State != ldap.GuardReading || len(st.Missing) != 0 || st.Domain == nil || st.Domain.Threshold != 4 || st.Objects != 1 {
		t.Errorf("with the rights of the page: %+v", st)
	}
	v := g.validator(protect)
	for _, c := range []struct {
		sam   string
		spent int
	}{{"sue", 3}, {"eve", 2}} {
		for range 6 {
			g.try(v, c.sam, people.WrongPassword)
		}
		if n := g.count(c.sam); n != c.spent || g.locked(c.sam) {
			t.Errorf("%s: %d were spent, want %d", c.sam, n, c.spent)
		}
	}
	if _, code := g.try(v, "max", people.RightPassword); code != wire.AccountProtected {
		t.Errorf("a member of a protected group: %d", code)
	}
	for attribute, name := range map[string]string{"mail": "ann@mail.example", "proxyAddresses": "anna@mail.example"} {
		if account, r, code := g.found(v, attribute, name, people.RightPassword); code != 0 || account == nil || account.SAM != "ann" || account.Anchor == "" ||
			!r.Verdict.Reason.Right() || r.Verdict.Attributes == nil {
			t.Errorf("by %s: %+v %+v %d", attribute, account, r.Verdict, code)
		}
	}
	if st := v.GuardStatus(); st.State != ldap.GuardReading || st.LastError != "" {
		t.Errorf("after all that: %+v", st)
	}

	// It is nobody special, sees no more of others than that, and may change nothing.
	if groups, err := g.Attribute(t.Context(), "reader", "memberOf"); err != nil || groups != "" {
		t.Errorf("the reader is a member of %q, %v", groups, err)
	}
	if more := g.sees("ann", "memberOf", "lastLogon", "logonCount", "pwdLastSet", "userAccountControl", "accountExpires", "lockoutTime", "unicodePwd"); len(more) != 0 {
		t.Errorf("the reader sees %v", more)
	}
	own, err := g.Connect(t.Context())
	must(t, err)
	defer own.Close()
	must(t, own.Bind(reader.Reader, readerPassword))
	for _, dn := range []string{"CN=ann,OU=People," + g.BaseDN, "CN=strict,CN=Password Settings Container,CN=System," + g.BaseDN} {
		change := goldap.NewModifyRequest(dn, nil)
		change.Replace("description", []string{"changed"})
		if err := own.Modify(change); !goldap.IsErrorWithCode(err, goldap.LDAPResultInsufficientAccessRights) {
			t.Errorf("%s: %v", dn, err)
		}
	}
	if !strings.HasPrefix(g.BaseDN, "DC=corp,DC=example") {
		t.Errorf("the page speaks of another domain than %s", g.BaseDN)
	}
}
