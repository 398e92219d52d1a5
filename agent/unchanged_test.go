package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	goldap "github.com/go-ldap/ldap/v3"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// Each property is tried on the first of these at least, and on more up to the second for as long as the time lasts.
const (
	leastTries = 12
	mostTries  = 120
	tryFor     = 5 * time.Second
)

// judges is a domain controller, and both ways to ask it.
type judges struct {
	dc    *samba.DC
	admin *samba.Session
	by    map[Kind]directory.Validator
	// finder looks names up that the directory itself does not know.
	finder directory.Finder
}

func newJudges(t *testing.T) *judges {
	t.Helper()
	j := &judges{dc: sambatest.Start(t, samba.Options{LockoutThreshold: -1})} // nothing locks: most passwords will be wrong
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	j.admin, err = j.dc.Administrator(t.Context())
	must(err)
	t.Cleanup(func() { _ = j.admin.Close() })
	lax := goldap.NewModifyRequest(j.dc.BaseDN, nil)
	lax.Replace("pwdProperties", []string{"0"})
	lax.Replace("minPwdLength", []string{"0"})
	must(j.admin.Modify(lax))
	file := filepath.Join(t.TempDir(), "keytab")
	_, err = j.dc.Keytab(t.Context(), "agent1", file)
	must(err)
	keytab, err := kerberos.ReadKeytab(file)
	must(err)
	l, err := ldap.New(ldap.Config{Servers: []string{j.dc.LDAPS()}, RootCAs: j.dc.CAPool})
	must(err)
	closed(t, l)
	k, err := kerberos.New(kerberos.Config{KDCs: []string{j.dc.Addr}, Keytab: keytab, Attributes: l})
	must(err)
	j.by = map[Kind]directory.Validator{LDAP: l, Kerberos: k}
	reader := people.Person{SAM: "reader", UPN: "reader@" + j.dc.UPNSuffix, Password: wire.NewSecret([]byte(people.RightPassword))}
	must(j.dc.CreateUser(t.Context(), reader))
	finder, err := ldap.New(ldap.Config{Servers: []string{j.dc.LDAPS()}, RootCAs: j.dc.CAPool, Guard: ldap.Guard{Reader: reader.UPN, Password: reader.Password.Clone()}})
	must(err)
	closed(t, finder)
	j.finder = finder
	return j
}

// closed closes a validator's idle connections when the test is over.
func closed(t *testing.T, v *ldap.Validator) {
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = v.Run(ctx)
	})
}

// ask returns a verdict, or the number of the trouble.
func (j *judges) ask(t *testing.T, kind Kind, name, password string) (wire.Verdict, wire.Code) {
	t.Helper()
	return j.askAbout(t, kind, name, nil, password)
}

// askAbout asks about whoever was found, if anybody was.
func (j *judges) askAbout(t *testing.T, kind Kind, name string, found *directory.Account, password string) (wire.Verdict, wire.Code) {
	t.Helper()
	secret := wire.NewSecret([]byte(password))
	r, err := j.by[kind].Validate(t.Context(), directory.Check{Name: name, Account: found, Password: secret, WantAttributes: true, Fence: func(context.Context) error { return nil }})
	var trouble *directory.Error
	if err != nil && !errors.As(err, &trouble) {
		t.Fatal(err)
	}
	if err != nil {
		return wire.Verdict{}, trouble.Code
	}
	if string(secret.Reveal()) != password {
		t.Fatal("the validator changed the password")
	}
	return r.Verdict, 0
}

// dice makes a generator whose seed is told, and can be given again in SALLYPORT_SEED.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv("SALLYPORT_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("again with SALLYPORT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// tries runs do often enough.
func tries(t *testing.T, do func(i int)) {
	t.Helper()
	began, i := time.Now(), 0
	for i < leastTries || i < mostTries && time.Since(began) < tryFor {
		if do(i); t.Failed() {
			break
		}
		i++
	}
	t.Logf("tried %d", i)
}

// TestPasswordsReachTheDirectoryUnchanged sets passwords of any characters at a real domain controller, and asks for them and for others that
// differ in one character.
func TestPasswordsReachTheDirectoryUnchanged(t *testing.T) {
	j, r := newJudges(t), dice(t)
	someone := people.Person{SAM: "someone", UPN: "someone@" + j.dc.UPNSuffix, Password: wire.NewSecret([]byte(people.RightPassword))}
	if err := j.dc.CreateUser(t.Context(), someone); err != nil {
		t.Fatal(err)
	}
	tries(t, func(int) {
		right := people.StrangePassword(r)
		set := goldap.NewModifyRequest(j.dc.DN(someone), nil)
		set.Replace("unicodePwd", []string{samba.Quoted([]byte(right))})
		if err := j.admin.Modify(set); err != nil {
			t.Fatalf("%+q cannot be set: %v", right, err)
		}
		for kind := range j.by {
			if v, code := j.ask(t, kind, someone.UPN, right); v.Reason != wire.Accepted {
				t.Errorf("%s: the right password %+q of %d units: %s %d %s", kind, right, people.Units(right), v.Reason, code, v.Diagnostic)
			}
			for _, wrong := range people.Near(r, right) {
				if v, code := j.ask(t, kind, someone.UPN, wrong); v.Reason != wire.BadPassword {
					t.Errorf("%s: the wrong password %+q for %+q: %s %d %s", kind, wrong, right, v.Reason, code, v.Diagnostic)
				}
			}
		}
	})
}

// spelling is what somebody might type for a name. Active Directory takes an equal one for the same.
type spelling struct {
	typed string
	equal bool
}

// spellingsOf returns the name, its implicit form, and some others of a userPrincipalName.
func spellingsOf(r *rand.Rand, sam, local, suffix string) []spelling {
	swapped := strings.Map(func(c rune) rune {
		if c < 0x80 && unicode.IsLetter(c) && r.IntN(2) == 0 {
			return c ^ 0x20
		}
		return c
	}, local)
	folded := strings.Map(unicode.SimpleFold, local)
	of := func(local string) string { return local + "@" + suffix }
	all := []spelling{
		{swapped + "@" + strings.ToUpper(suffix), true}, {" " + of(swapped), true}, {of(local) + " ", true}, {strings.ToUpper(sam) + "@" + strings.ToUpper(suffix), true},
		{of(strings.ToUpper(local)), false}, {of(strings.ToLower(local)), false}, {of(folded), false}, {of(strings.Map(unicode.SimpleFold, folded)), false},
		{of(norm.NFD.String(local)), false}, {of(norm.NFKC.String(local)), false},
		{of(local + "*"), false}, {of(local + `\2a`), false}, {of("*"), false}, {of(local) + ".", false},
		{of("\u00a0" + local), false}, {of("\u3000" + local), false}, {of("\t" + local), false}, {of(local) + "\n", false}, {of(local + " "), false}, {of(local + "\u00ad"), false},
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return append([]spelling{{of(local), true}, {of(sam), true}}, all[:7]...)
}

// TestNamesReachTheDirectoryUnchanged makes people with names of any characters at a real domain controller, and lets them in under their
// names and under other spellings of these. Whoever is let in is the person of that name, the two validators do not differ, and
// neither differs from a bare bind.
func TestNamesReachTheDirectoryUnchanged(t *testing.T) {
	j, r := newJudges(t), dice(t)
	tries(t, func(i int) {
		local := people.StrangeName(r, i)
		p := people.Person{SAM: fmt.Sprintf("sam%d", i), UPN: local + "@" + j.dc.UPNSuffix, DisplayName: `Name "` + local + `" \#1,+=`,
			Mail: local + "@mail.example", Password: wire.NewSecret([]byte(people.RightPassword))}
		anchor := j.make(t, p)
		for _, s := range spellingsOf(r, p.SAM, local, j.dc.UPNSuffix) {
			bare := j.bind(t, s.typed)
			if s.equal && !bare.Right() {
				t.Errorf("%+q for %+q: the domain controller says %s", s.typed, p.UPN, bare)
			}
			for kind := range j.by {
				v, code := j.ask(t, kind, s.typed, people.RightPassword)
				if v.Reason.Right() != bare.Right() {
					t.Errorf("%s: %+q: %s %d %s; the domain controller says %s", kind, s.typed, v.Reason, code, v.Diagnostic, bare)
				}
				if v.Reason.Right() && (v.Attributes == nil || v.Attributes.Anchor != anchor) {
					t.Errorf("%s: %+q signs in as %+v, not as %+q (%s)", kind, s.typed, v, p.UPN, anchor)
				}
			}
		}
		// By mail address, which the directory itself does not know.
		account, trouble := j.finder.Find(t.Context(), "mail", p.Mail)
		if trouble != nil || account == nil || account.SAM != p.SAM || account.SignInName != p.Mail {
			t.Fatalf("%+q is found to be %+v, %v", p.Mail, account, trouble)
		}
		for kind := range j.by {
			if v, code := j.askAbout(t, kind, p.Mail, account, people.RightPassword); !v.Reason.Right() || v.Attributes == nil || v.Attributes.Anchor != anchor {
				t.Errorf("%s: %+q, found as %+v, signs in as %+v, %d", kind, p.Mail, account, v, code)
			}
		}
	})
}

// TestNamesThatLookAlike: accounts whose names differ in what cannot be seen, or in the form of an accent, are different people.
func TestNamesThatLookAlike(t *testing.T) {
	j := newJudges(t)
	locals := []string{"rené", "rene\u0301", "rene", "\u00a0rene", "rene\u3000", "rene\u00ad", "re\u200bne", "re.ne", "rené😀", "rené😁"}
	for i, local := range locals {
		name := local + "@" + j.dc.UPNSuffix
		password := fmt.Sprintf("Twin-Horse-%d", i)
		anchor := j.make(t, people.Person{SAM: fmt.Sprintf("twin%d", i), UPN: name, Password: wire.NewSecret([]byte(password))})
		for kind := range j.by {
			if v, code := j.ask(t, kind, name, password); !v.Reason.Right() || v.Attributes == nil || v.Attributes.Anchor != anchor {
				t.Errorf("%s: %+q signs in as %+v, %d; not as %s", kind, name, v, code, anchor)
			}
			for _, other := range locals[:i] {
				if v, code := j.ask(t, kind, other+"@"+j.dc.UPNSuffix, password); v.Reason != wire.BadPassword {
					t.Errorf("%s: %+q with the password of %+q: %+v, %d", kind, other, name, v, code)
				}
			}
		}
	}
}

// make makes a person and returns their objectGUID.
func (j *judges) make(t *testing.T, p people.Person) (anchor string) {
	t.Helper()
	if err := j.dc.CreateUser(t.Context(), p); err != nil {
		t.Fatalf("%+q cannot be made: %v", p.UPN, err)
	}
	b, err := j.dc.Attribute(t.Context(), p.SAM, "objectGUID")
	if err != nil || len(b) != 16 {
		t.Fatalf("%q, %v", b, err)
	}
	return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%x-%x", b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8:10], b[10:])
}

// bind is what the domain controller says without a validator between.
func (j *judges) bind(t *testing.T, name string) wire.Reason {
	t.Helper()
	s, err := j.dc.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	switch err := s.Bind(name, people.RightPassword); {
	case err == nil:
		return wire.Accepted
	case goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials):
		return wire.BadPassword
	default:
		t.Fatalf("%+q: %v", name, err)
		return ""
	}
}
