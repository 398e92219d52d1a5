package windows

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// ntlm is a host whose passwords are judged by a real domain controller: an NTLM logon stands for LogonUserW, which makes one too where it
// does without Kerberos. Numbers, security identifiers and names are the domain controller's.
type ntlm struct {
	t  *testing.T
	dc *samba.DC
	m  Member
}

func (h ntlm) member() (Member, error) { return h.m, nil }

func (h ntlm) locate(string, bool) (string, string, error) { return h.dc.Host, h.m.GUID, nil }

var (
	subCode   = regexp.MustCompile(`AcceptSecurityContext error, data ([0-9a-f]+),`)
	firstSID  = regexp.MustCompile(`(?m)^tokenGroups: (S-[0-9-]+)$`)
	errUnread = errors.New("ldbsearch said nothing that can be read")
)

func (h ntlm) logon(who account, password []uint16) (string, error) {
	// A Windows domain controller takes a userPrincipalName for NTLM; Samba does not judge the password then (data 490).
	name := who.user
	if user, ok := strings.CutSuffix(who.user, "@"+h.m.DNS); ok {
		name = h.m.NetBIOS + `\` + user
	}
	if who.domain != "" {
		name = who.domain + `\` + who.user
	}
	c := exec.Command("ldbsearch", "-H", "ldap://"+h.dc.Addr, "--use-kerberos=off", "-U", name+"%"+strings.TrimSuffix(string16(password), "\x00"),
		"-s", "base", "-b", "", "tokenGroups")
	out, err := c.CombinedOutput()
	if m := firstSID.FindSubmatch(out); err == nil && m != nil {
		return string(m[1]), nil // the user's own comes first (MS-ADTS 3.1.1.3.2, tokenGroups of the root)
	}
	m := subCode.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%w: %v: %.200s", errUnread, err, out)
	}
	number, err := strconv.ParseUint(string(m[1]), 16, 32)
	return "", errors.Join(refusal(number), err)
}

func (h ntlm) names(_, sid string) (n names, err error) {
	s, err := h.dc.Administrator(h.t.Context())
	if err != nil {
		return n, err
	}
	defer s.Close()
	r, err := s.Search(&goldap.SearchRequest{BaseDN: "<SID=" + sid + ">", Filter: "(objectClass=user)",
		Attributes: []string{"objectGUID", "userPrincipalName", "sAMAccountName", "displayName"}})
	if err != nil || len(r.Entries) != 1 {
		return n, fmt.Errorf("%s: %d entries, %w", sid, len(r.Entries), err)
	}
	e, g := r.Entries[0], r.Entries[0].GetRawAttributeValue("objectGUID")
	return names{fmt.Sprintf("{%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X-%02X}", g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8:10], g[10:]),
		e.GetAttributeValue("userPrincipalName"), h.m.NetBIOS + `\` + e.GetAttributeValue("sAMAccountName"), e.GetAttributeValue("displayName")}, nil
}

// differs are the states in which LDAP says more to a right password: Windows may say it to a wrong one too. docs/divergences.md has the same table.
var differs = map[people.State]wire.Reason{
	people.Disabled:       wire.AccountRestricted,
	people.AccountExpired: wire.AccountRestricted,
	people.LogonHours:     wire.AccountRestricted,
	people.Workstation:    wire.AccountRestricted,
}

// Every state of an account, with right and wrong passwords: number, verdict and objectGUID are those of an LDAP bind, but for what is masked, and one
// check is one attempt.
func TestAgreesWithLDAP(t *testing.T) {
	everybody := people.Everybody("corp.example.com")
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	l, err := ldap.New(ldap.Config{Servers: []string{dc.LDAPS()}, RootCAs: dc.CAPool})
	must(t, err)
	directorytest.CloseIdle(t, l)
	domain, err := l.Prove(t.Context())
	must(t, err)
	h := ntlm{t, dc, Member{Domain: domain, DNS: dc.UPNSuffix, NetBIOS: dc.NetBIOS, Computer: []string{"AGENT1"}}}
	v, err := newOn(h, Config{})
	must(t, err)
	if err := v.SelfCheck(t.Context()); err != nil {
		t.Fatalf("a made-up name: %v", err)
	}
	if d, err := v.Prove(t.Context()); err != nil || !d.Is(domain) {
		t.Errorf("%+v, %v", d, err)
	}
	v.Expect(domain)
	for _, p := range everybody {
		for _, password := range []string{people.RightPassword, people.WrongPassword} {
			check := ask(p.UPN, password)
			check.WantAttributes = true
			want, err := l.Validate(t.Context(), check.Check)
			if err != nil {
				t.Fatal(err)
			}
			if masked, ok := differs[p.State]; ok && password == people.RightPassword {
				if want.Verdict.Reason == masked {
					t.Errorf("%s no longer differs", p.State)
				}
				want.Verdict.Reason = masked
			}
			for _, name := range []string{p.UPN, dc.NetBIOS + `\` + p.SAM} {
				if p.State != people.Locked {
					if err := dc.Unlock(t.Context(), p.SAM); err != nil {
						t.Fatal(err)
					}
				}
				check := ask(name, password)
				check.WantAttributes = true
				r, err := v.Validate(t.Context(), check.Check)
				if err != nil || r.Verdict.Reason != want.Verdict.Reason || r.Verdict.Win32 != want.Verdict.Win32 || check.Fences.Load() != 1 {
					t.Errorf("%q, %s: %+v, %v; want %+v", name, password, r.Verdict, err, want.Verdict)
				}
				if got, a := r.Verdict.Attributes, want.Verdict.Attributes; a != nil && (got == nil || got.Anchor != a.Anchor || got.UPN != a.UPN || got.DisplayName != a.DisplayName) ||
					a == nil && got != nil {
					t.Errorf("%q: %+v, want %+v", name, got, a)
				}
				count, err := dc.BadPwdCount(t.Context(), p.SAM)
				if wrong := map[bool]int{true: 1}[want.Verdict.Reason == wire.BadPassword]; err != nil || p.State != people.Locked && count != wrong {
					t.Errorf("%q, %s: counted %d, want %d, %v", name, password, count, wrong, err)
				}
			}
		}
	}
	for _, name := range []string{"nobody@" + dc.UPNSuffix, dc.NetBIOS + `\nobody`} {
		if r, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || r.Verdict.Reason != wire.BadPassword {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	var e *directory.Error
	if _, err := v.Validate(t.Context(), ask("alice@elsewhere.example", people.RightPassword).Check); !errors.As(err, &e) || e.Code != wire.DirectoryUnreachable || !e.Fenced {
		t.Errorf("another domain: %v", err)
	}
	// An account of another domain, as this one's SID shows when the host belongs to another.
	h.m.SID = domain.SID + "0"
	other, err := newOn(h, Config{})
	must(t, err)
	_, err = other.Validate(t.Context(), ask("alice@"+dc.UPNSuffix, people.RightPassword).Check)
	if !errors.As(err, &e) || e.Code != wire.DirectoryUnusable || !e.Fenced {
		t.Errorf("%v", err)
	}
}

// Wrong passwords by way of Windows lock nobody at a domain controller that a reader looks at.
func TestGuard(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{}, append(people.Everybody("corp.example.com"),
		people.Person{SAM: "reader", UPN: "reader@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))})...)
	if err := dc.SetLockoutPolicy(t.Context(), 3, 30*time.Minute, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	l, err := ldap.New(ldap.Config{Servers: []string{dc.LDAPS()}, RootCAs: dc.CAPool,
		Guard: ldap.Guard{Reader: "reader@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}})
	must(t, err)
	directorytest.CloseIdle(t, l)
	domain, err := l.Prove(t.Context())
	must(t, err)
	v, err := newOn(ntlm{t, dc, Member{Domain: domain, DNS: dc.UPNSuffix, NetBIOS: dc.NetBIOS, Computer: []string{"AGENT1"}}}, Config{Guard: l})
	must(t, err)
	for i, want := range []wire.Code{0, 0, wire.LockoutSpared, wire.LockoutSpared} {
		check := ask("alice@corp.example.com", people.WrongPassword)
		r, err := v.Validate(t.Context(), check.Check)
		if want == 0 && (err != nil || r.Verdict.Reason != wire.BadPassword) || want != 0 && (unjudged(t, err).Code != want || check.Fences.Load() != 0) {
			t.Errorf("attempt %d: %+v, %v, %d fences", i+1, r, err, check.Fences.Load())
		}
	}
	if n, err := dc.BadPwdCount(t.Context(), "alice"); err != nil || n != 2 {
		t.Errorf("the directory counts %d, %v", n, err)
	}
	check := ask("Administrator@corp.example.com", people.WrongPassword)
	if _, err := v.Validate(t.Context(), check.Check); unjudged(t, err).Code != wire.AccountProtected || check.Fences.Load() != 0 {
		t.Errorf("%v, %d fences", err, check.Fences.Load())
	}
}
