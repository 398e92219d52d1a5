package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	agentdirectory "github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// statesPage is what [TestSambaAgrees] holds true.
const statesPage = "../../docs/account-states.md"

// mark is something about an account besides its state.
type mark struct {
	name string
	// control is userAccountControl ([MS-ADTS] 2.2.16); 0 leaves it.
	control int
	// renewed says that the right password was replaced a moment ago.
	renewed bool
	// means is what the right and a wrong password mean by LDAP and by Kerberos; "" is no verdict.
	means map[bool][2]wire.Reason
}

const normalAccount = 0x200

// wrongly is what a wrong password means with a mark that changes nothing about it.
var wrongly = [2]wire.Reason{wire.BadPassword, wire.BadPassword}

var marks = []mark{
	{name: "password not required", control: normalAccount | 0x20, means: map[bool][2]wire.Reason{true: {wire.Accepted, wire.Accepted}, false: wrongly}},
	{name: "smart card required", control: normalAccount | 0x40000, means: map[bool][2]wire.Reason{true: {wire.Accepted, ""}, false: {wire.BadPassword, ""}}},
	{name: "DES keys only", control: normalAccount | 0x200000, means: map[bool][2]wire.Reason{true: {wire.Accepted, ""}, false: {wire.BadPassword, ""}}},
	{name: "password replaced within the hour, the old one", renewed: true, means: map[bool][2]wire.Reason{true: {wire.Accepted, wire.BadPassword}, false: wrongly}},
}

// marked makes a person with each mark.
func marked(t *testing.T, dc *samba.DC) (all []*attempt) {
	t.Helper()
	s, err := dc.Administrator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, m := range marks {
		sam := fmt.Sprintf("mark%d", i+1)
		p := people.Person{SAM: sam, UPN: sam + "@" + dc.UPNSuffix, DisplayName: m.name, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal}
		if err := dc.CreateUser(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if m.control != 0 {
			change := ldap.NewModifyRequest(dc.DN(p), nil)
			change.Replace("userAccountControl", []string{strconv.Itoa(m.control)})
			if err := s.Modify(change); err != nil {
				t.Fatal(err)
			}
			// The mark for smart cards sets a password that nobody knows.
			if err := dc.SetPassword(t.Context(), sam, []byte(people.RightPassword)); err != nil {
				t.Fatal(err)
			}
		}
		if m.renewed {
			if err := dc.SetPassword(t.Context(), sam, []byte("Newer-Horse-8")); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, &attempt{person: p, right: true, exists: true, mark: &marks[i]}, &attempt{person: p, exists: true, mark: &marks[i]})
	}
	return all
}

// attempt is one name with one password, and what became of it everywhere.
type attempt struct {
	person people.Person
	right  bool
	exists bool
	mark   *mark // nil for most
	// by is what agents made of it that ask by LDAP and by Kerberos.
	by [2]seen
	// data is AD's sub-code of a bind, kdc the KDC's number, ntlm the NTSTATUS of an NTLM logon; empty or 0 is yes.
	data string
	kdc  int
	ntlm uint32
}

const (
	byLDAP = iota
	byKerberos
)

// seen is a sign-in through the pages, and its record.
type seen struct {
	saw    visitor.Outcome
	record admin.SignIn
}

func (a *attempt) password() string {
	if a.right {
		return people.RightPassword
	}
	return people.WrongPassword
}

// expected is what the directory must say to a validator. Samba's KDC knows no workstations, and Protected Users may use it.
func (a *attempt) expected(validator int) wire.Reason {
	switch {
	case a.mark != nil:
		return a.mark.means[a.right][validator]
	case validator == byKerberos && !a.exists:
		return wire.NoSuchUser
	case !a.exists:
		return wire.BadPassword
	case validator == byLDAP:
		return a.person.Answer(a.right)
	}
	var in []people.State
	for _, s := range a.person.States() {
		if s != people.Workstation && s != people.Restricted {
			in = append(in, s)
		}
	}
	answer := people.Answer(a.right, in...)
	if byBind := a.person.Answer(a.right); answer.Right() && byBind.ProvesPassword() {
		return byBind // the person's attributes are read by a bind
	}
	return answer
}

// kdcSaid reads the words of a refusal by a KDC in the log.
var kdcSaid = regexp.MustCompile(`\((\d+)\)(?:, NTSTATUS 0x([0-9A-F]{8}))?`)

// TestSambaAgrees signs in through the pages with every state of an account of a real domain controller, alone and in pairs, with the right and a
// wrong password, with agents that ask by LDAP and then by Kerberos. It holds page, log and explanations against each other and against what
// ldapwhoami, ldapsearch, kinit and ntlm_auth say of the same name and password, counts what each attempt counts, and holds docs/account-states.md to
// be what was seen.
func TestSambaAgrees(t *testing.T) {
	sambatest.Require(t)
	everybody := append(people.Everybody(evaluationDomain), people.Pairs(evaluationDomain)...)
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	j := newJudge(t, dc)
	keytab := filepath.Join(t.TempDir(), "keytab")
	if _, err := dc.Keytab(t.Context(), "agents", keytab); err != nil {
		t.Fatal(err)
	}
	w := startWorld(t, Options{Directory: dc.LDAPS(), CAFile: dc.CAFile})
	var all []*attempt
	for _, p := range append(everybody, people.Person{SAM: "nobody", UPN: "nobody@" + evaluationDomain}) {
		if p.SAM != "bob" { // he is as alice
			all = append(all, &attempt{person: p, right: true, exists: p.State != ""}, &attempt{person: p, exists: p.State != ""})
		}
	}
	all = append(all, marked(t, dc)...)
	// Right and wrong of one person follow each other; wrong answers are held back, so several persons are served at once.
	concurrently(t, len(all)/2, func(i int) error {
		return errors.Join(byOthers(t.Context(), dc, j, all[2*i]), byOthers(t.Context(), dc, j, all[2*i+1]))
	})
	for validator, flags := range [][]string{byLDAP: nil, byKerberos: {"--keytab", keytab}} {
		if flags != nil {
			w.StopAgents()
			w.directory.flags = flags
			for i := range agentCount {
				if err := w.StartAgent(i); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.AwaitAgents(t.Context(), agentCount); err != nil {
				t.Fatal(err)
			}
		}
		concurrently(t, len(all)/2, func(i int) error {
			return errors.Join(byPage(t.Context(), w, dc, all[2*i], validator), byPage(t.Context(), w, dc, all[2*i+1], validator))
		})
	}
	if t.Failed() {
		return
	}
	for _, a := range all {
		a.hold(t)
	}
	page := describe(all)
	if *update {
		if err := os.WriteFile(statesPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(statesPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(kept), page); diff != "" {
		t.Errorf("docs/account-states.md (-) is not what was seen (+); if that is right: go test ./lab/demo -run TestSambaAgrees -update\n%s", diff)
	}
}

// concurrently does n things, some at a time.
func concurrently(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	turn := make(chan struct{}, 6)
	for i := range n {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// settle demands how often a wrong password was counted since the last time, and begins anew.
func settle(ctx context.Context, dc *samba.DC, a *attempt, want int, after string) error {
	if !a.exists || a.person.In(people.Locked) {
		return nil
	}
	got, err := dc.BadPwdCount(ctx, a.person.SAM)
	if err == nil && got != want {
		err = fmt.Errorf("%s, right %v: %s counted %d, not %d", a.person.SAM, a.right, after, got, want)
	}
	return errors.Join(err, dc.Unlock(ctx, a.person.SAM))
}

// byOthers asks the independent programs.
func byOthers(ctx context.Context, dc *samba.DC, j *judge, a *attempt) (err error) {
	name, password := a.person.UPN, a.password()
	if a.data, err = j.ldapwhoami(name, password); err != nil {
		return err
	}
	again, err := j.ldapsearch(name, password)
	if err != nil || again != a.data {
		return errors.Join(err, fmt.Errorf("%s: ldapwhoami says %q, ldapsearch %q", name, a.data, again))
	}
	if a.ntlm, err = j.winbind.Authenticate(ctx, a.person.SAM, password); err != nil {
		return err
	}
	if a.kdc, err = j.kinit(name, password); err != nil {
		return err
	}
	counted := 0
	before := a.mark != nil && a.mark.renewed && a.right // which NTLM refuses and does not count
	for _, wrong := range []bool{a.data == "52e", a.data == "52e", a.ntlm == 0xC000006A && !before, a.kdc == 24} {
		if wrong {
			counted++
		}
	}
	return settle(ctx, dc, a, counted, "programs")
}

// byPage signs in.
func byPage(ctx context.Context, w *World, dc *samba.DC, a *attempt, validator int) error {
	transport, err := w.transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	s := &a.by[validator]
	if s.saw, err = visitor.New(w.app(), transport).SignIn(ctx, a.person.UPN, a.password()); err != nil {
		return err
	}
	if s.record, err = w.record(ctx, s.saw.Trace, a.person.UPN); err != nil {
		return err
	}
	counted := 0
	if a.expected(validator) == wire.BadPassword {
		counted = 1
	}
	return settle(ctx, dc, a, counted, "the sign-in")
}

// hold demands that everything fits together.
func (a *attempt) hold(t *testing.T) {
	t.Helper()
	who := fmt.Sprintf("%s (%s), right %v", a.person.SAM, a.person.DisplayName, a.right)
	for validator, s := range a.by {
		want := a.expected(validator)
		d, judged := demands[want]
		if !judged {
			d = demand{wire.DirectoryUnusable, wire.DirectoryUnusable}
		}
		if validator == byKerberos && want.Right() && a.data != "" {
			// The KDC's yes is nobody's as long as LDAP refuses to say whose it is.
			d = demand{wire.IdentityUnproven, wire.IdentityUnproven}
		}
		if s.record.Reason != string(want) || s.record.Code != d.logged {
			t.Errorf("%s, validator %d: the log has %s %d, not %s %d", who, validator, s.record.Reason, s.record.Code, want, d.logged)
		}
		if wire.Code(s.saw.Code) != d.shown || (s.saw.SignedIn == a.person.UPN) != (d.shown == 0) {
			t.Errorf("%s, validator %d: the page ends with %+v, not with %d", who, validator, s.saw, d.shown)
		}
		if entry, _ := wire.Lookup(d.shown); s.saw.Sentence != entry.Public {
			t.Errorf("%s, validator %d: the page says %q", who, validator, s.saw.Sentence)
		}
		if s.record.DC == "" || s.record.Agent == "" {
			t.Errorf("%s: the log names neither agent nor domain controller: %+v", who, s.record)
		}
	}
	// The numbers of the programs are those in the log.
	if m := subCode.FindStringSubmatch(a.by[byLDAP].record.Diagnostic); (m == nil) != (a.data == "") || m != nil && m[1] != a.data {
		t.Errorf("%s: the log has AD's words %q, not data %s", who, a.by[byLDAP].record.Diagnostic, a.data)
	}
	number, status := a.kdcWords()
	judged := a.expected(byKerberos) != ""
	if judged && number != a.kdc {
		t.Errorf("%s: kinit has %d of the KDC, the log %d", who, a.kdc, number)
	}
	// And explained they lead to what the log has.
	code := a.by[byLDAP].record.Code
	if a.data != "" {
		explained(t, who, "data "+a.data, code)
		if a.mark == nil {
			explained(t, who, fmt.Sprintf("0x%08X", a.ntlm), code)
		}
	} else if a.mark == nil && a.ntlm != 0 {
		t.Errorf("%s: LDAP says yes, NTLM 0x%08X", who, a.ntlm)
	}
	if judged && number != 0 {
		explained(t, who, "Kerberos "+strconv.Itoa(number), a.by[byKerberos].record.Code)
	}
	if status != "" {
		explained(t, who, "0x"+status, a.by[byKerberos].record.Code)
	}
}

// explained demands that one meaning of a number, the only one where it has but one, has the code.
func explained(t *testing.T, who, question string, want wire.Code) {
	t.Helper()
	for _, e := range agentdirectory.Explain(question) {
		if e.Code == want {
			return
		}
	}
	t.Errorf("%s: %q is not explained with %d: %v", who, question, want, agentdirectory.Explain(question))
}

// kdcWords are the KDC's number and NTSTATUS in the log.
func (a *attempt) kdcWords() (number int, status string) {
	if r := wire.Reason(a.by[byKerberos].record.Reason); r.Right() || subCode.MatchString(a.by[byKerberos].record.Diagnostic) {
		return 0, "" // what came after the KDC's yes
	}
	m := kdcSaid.FindStringSubmatch(a.by[byKerberos].record.Diagnostic)
	if m == nil {
		return -1, ""
	}
	number, _ = strconv.Atoi(m[1])
	return number, m[2]
}

// describe writes the page.
func describe(all []*attempt) string {
	var b strings.Builder
	b.WriteString(statesHead)
	shown := map[wire.Code]bool{}
	for i, a := range all {
		switch {
		case i == 0:
			b.WriteString("## Each state alone\n\n" + statesColumns)
		case a.person.Also != "" && all[i-1].person.Also == "":
			b.WriteString("\n## Two states at once\n\nA password cannot be expired and to be changed at once: both are in one attribute, and the second has no date.\n\n" + statesColumns)
		case a.mark != nil && all[i-1].mark == nil:
			b.WriteString("\n## Other marks of an account\n\n" + statesColumns)
		case !a.exists && a.right:
			continue // nobody has a right password
		case !a.exists:
			b.WriteString("\n## No such account\n\n" + statesColumns)
		}
		var in []string
		for _, s := range a.person.States() {
			in = append(in, strings.ReplaceAll(string(s), "_", " "))
		}
		switch {
		case !a.exists:
			in = []string{"unknown"}
		case a.mark != nil:
			in = []string{a.mark.name}
		}
		password := map[bool]string{true: "right", false: "wrong"}[a.right]
		number, status := a.kdcWords()
		kdc := "yes"
		if a.expected(byKerberos) == "" {
			number, status = a.kdc, "" // the log has the agent's reason
		}
		if number != 0 {
			kdc = strings.TrimSpace(fmt.Sprintf("%d %s", number, status))
		}
		ntlm := "yes"
		if a.ntlm != 0 {
			ntlm = fmt.Sprintf("%08X", a.ntlm)
		}
		data := a.data
		if data == "" {
			data = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", strings.Join(in, " + "), password, data, becomes(a.by[byLDAP]), kdc, becomes(a.by[byKerberos]), ntlm)
		for _, s := range a.by {
			shown[wire.Code(s.saw.Code)] = true
		}
	}
	b.WriteString("\n## The words on the page\n\n| Page | What the person reads |\n|---|---|\n")
	for _, e := range wire.Catalogue() {
		if shown[e.Code] {
			fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Public)
		}
	}
	return b.String()
}

// becomes is what the log and the page made of it.
func becomes(s seen) string {
	if s.saw.SignedIn != "" {
		return s.record.Reason + ": signed in"
	}
	reason := s.record.Reason
	if reason == "" {
		reason = "not judged"
	}
	return fmt.Sprintf("%s %d → %d", reason, s.record.Code, s.saw.Code)
}

const statesColumns = "| Account | Password | Bind | by LDAP: log → page | KDC | by Kerberos: log → page | NTLM |\n|---|---|---|---|---|---|---|\n"

const statesHead = `# Account states

What becomes of a sign-in, for each state of an account in Active Directory and for each two at once. Written by a test
(` + "`lab/demo.TestSambaAgrees`" + `) from what it saw: it signs in through the pages, with agents that ask by LDAP and then by Kerberos, a Samba AD 4.17
domain controller; ldapwhoami, ldapsearch, kinit and ntlm_auth are asked about the same names and passwords and agree. Where Windows differs, or may,
is in [divergences.md](divergences.md#between-samba-and-windows).

- **Bind** is the hexadecimal number after ` + "`data`" + ` in the directory's words, **KDC** the number of its error and the NTSTATUS with it, **NTLM** the NTSTATUS
  of a network logon, as LogonUser on Windows makes it. ` + "`sallyport-agent explain NUMBER`" + ` leads from any of them to the number in the log.
- **log → page**: the verdict and the number in the sign-in log, then the number that the person sees. What would tell a stranger something about the account looks
  like a wrong password (50126). What only somebody with the right password can learn is told. An expired password, and one that must be changed, is a
  verdict of its own: the page says that it is right and what to do.
- A wrong password adds one to badPwdCount exactly where this table has bad_password; the directory's own order of looking decides which of two states is told.

`
