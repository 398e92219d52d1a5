package samba

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// The units that hold what a lab creates; the evaluation directory has the same.
const (
	peopleUnit = "OU=People"
	groupsUnit = "OU=Groups"
)

// createUnits makes the two units, unless a kept domain has them.
func (dc *DC) createUnits(ctx context.Context) error {
	return dc.as(ctx, func(s *Session) error {
		for _, unit := range []string{peopleUnit, groupsUnit} {
			add := ldap.NewAddRequest(unit+","+dc.BaseDN, nil)
			add.Attribute("objectClass", []string{"organizationalUnit"})
			if err := s.Add(add); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
				return fmt.Errorf("samba: creating %s: %w", unit, err)
			}
		}
		return nil
	})
}

// Fill creates everybody who is not there yet, each in their state and groups. Whoever is there, in a kept domain, stays as they
// are.
func (dc *DC) Fill(ctx context.Context, everybody []people.Person) error {
	return dc.as(ctx, func(s *Session) error {
		for _, p := range everybody {
			there, err := dc.has(s, p.SAM)
			if err != nil {
				return err
			}
			if there {
				continue
			}
			if err := dc.create(ctx, s, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// CreateUser creates one account in its state and puts it into its groups, which are made when absent. The password must
// satisfy the domain's rules: seven characters of three kinds.
func (dc *DC) CreateUser(ctx context.Context, p people.Person) error {
	return dc.as(ctx, func(s *Session) error { return dc.create(ctx, s, p) })
}

// has reports whether an account has this sAMAccountName.
func (dc *DC) has(s *Session, sam string) (bool, error) {
	found, err := dc.search(s, sam, "cn")
	return err == nil && len(found) > 0, err
}

// DN returns the distinguished name of a person's entry.
func (dc *DC) DN(p people.Person) string {
	return "CN=" + escaped(p.CN()) + "," + peopleUnit + "," + dc.BaseDN
}

// escaped writes a value as a component of a DN has it (RFC 4514 §2.4), with "=" escaped, which the library leaves and Samba wants.
func escaped(value string) string { return strings.ReplaceAll(ldap.EscapeDN(value), "=", `\=`) }

func (dc *DC) create(ctx context.Context, s *Session, p people.Person) error {
	if !p.Possible() || p.SAM == "" || len([]rune(p.SAM)) > maxSAM {
		return fmt.Errorf("samba: %q in states %q cannot be created", p.SAM, p.States())
	}
	dn := dc.DN(p)
	add := ldap.NewAddRequest(dn, nil)
	for _, a := range []struct{ name, value string }{
		{"objectClass", "user"}, {"sAMAccountName", p.SAM}, {"userPrincipalName", p.UPN}, {"userAccountControl", "512"},
		{"unicodePwd", Quoted(p.Password.Reveal())}, {"displayName", p.DisplayName}, {"givenName", p.GivenName}, {"sn", p.Surname},
		{"mail", p.Mail},
	} {
		if a.value != "" {
			add.Attribute(a.name, []string{a.value})
		}
	}
	if err := s.Add(add); err != nil {
		return fmt.Errorf("samba: creating %s: %w", p.SAM, err)
	}
	for _, group := range p.Groups {
		if err := dc.join(s, group, dn); err != nil {
			return err
		}
	}
	in := p.States()
	// Locked comes last, since a change of userAccountControl unlocks; but before restricted, when no wrong password counts any more.
	if i := slices.Index(in, people.Locked); i >= 0 && len(in) == 2 && (i == 0) != p.In(people.Restricted) {
		slices.Reverse(in)
	}
	for _, state := range in {
		if err := dc.enter(ctx, s, state, dn); err != nil {
			return fmt.Errorf("samba: bringing %s into state %s: %w", p.SAM, state, err)
		}
	}
	return nil
}

// enter brings an account into a state.
func (dc *DC) enter(ctx context.Context, s *Session, state people.State, dn string) error {
	replace := func(attribute, value string) error {
		change := ldap.NewModifyRequest(dn, nil)
		change.Replace(attribute, []string{value})
		return s.Modify(change)
	}
	switch state {
	case people.Disabled:
		return replace("userAccountControl", "514")
	case people.Locked:
		return dc.lock(ctx, dn)
	case people.PasswordExpired:
		return dc.age(ctx, dn)
	case people.MustChange:
		return replace("pwdLastSet", "0")
	case people.AccountExpired:
		return replace("accountExpires", filetime(time.Now().AddDate(0, 0, -2)))
	case people.LogonHours:
		return replace("logonHours", string(make([]byte, 21))) // one bit for each hour of the week
	case people.Workstation:
		return replace("userWorkstations", "NOSUCHHOST")
	case people.Restricted:
		change := ldap.NewModifyRequest("CN=Protected Users,CN=Users,"+dc.BaseDN, nil)
		change.Add("member", []string{dn})
		return s.Modify(change)
	}
	return nil
}

// lock locks an account the way it happens in life: with wrong passwords.
func (dc *DC) lock(ctx context.Context, dn string) error {
	s, err := dc.Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	const locked = "data 775"
	for range 1000 { // the highest threshold that Active Directory allows is 999
		err := s.Bind(dn, people.WrongPassword)
		if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			return fmt.Errorf("a wrong password was answered with: %w", err)
		}
		if strings.Contains(err.Error(), locked) {
			return nil
		}
	}
	return errors.New("the domain's lockout threshold is 0, so nothing locks an account")
}

// age makes the password older than the domain allows.
func (dc *DC) age(ctx context.Context, dn string) error {
	return dc.write(ctx, dn, "pwdLastSet", filetime(time.Now().AddDate(-1, 0, 0)))
}

// write sets an attribute that LDAP refuses to set, such as a pwdLastSet but now and never: the database file is edited past the module
// that refuses; the domain controller may run meanwhile.
func (dc *DC) write(ctx context.Context, dn, attribute, value string) error {
	return dc.edit(ctx, "sam.ldb", dn, "replace: "+attribute+"\n"+attribute+": "+value, "--controls=local_oid:1.3.6.1.4.1.7165.4.3.12:0")
}

// edit changes an entry in a database file below private.
func (dc *DC) edit(ctx context.Context, file, dn, change string, options ...string) error {
	ldif := "dn:: " + base64.StdEncoding.EncodeToString([]byte(dn)) + "\nchangetype: modify\n" + change + "\n"
	cmd := exec.CommandContext(ctx, program("ldb-tools"), append([]string{"-H", filepath.Join(dc.dir, "private", file)}, options...)...)
	cmd.Stdin = strings.NewReader(ldif)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ldbmodify: %w: %s", err, tail(out))
	}
	return nil
}

// AddToGroup makes a user a direct member of a group, which is made when absent.
func (dc *DC) AddToGroup(ctx context.Context, group, sam string) error {
	return dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, "cn")
		if err != nil {
			return err
		}
		return dc.join(s, group, entry.DN)
	})
}

func (dc *DC) join(s *Session, group, memberDN string) error {
	dn := "CN=" + escaped(group) + "," + groupsUnit + "," + dc.BaseDN
	add := ldap.NewAddRequest(dn, nil)
	add.Attribute("objectClass", []string{"group"})
	add.Attribute("sAMAccountName", []string{accountName(group)})
	if err := s.Add(add); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
		return fmt.Errorf("samba: creating group %s: %w", group, err)
	}
	change := ldap.NewModifyRequest(dn, nil)
	change.Add("member", []string{memberDN})
	if err := s.Modify(change); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
		return fmt.Errorf("samba: adding to group %s: %w", group, err)
	}
	return nil
}

// accountName makes a sAMAccountName of a group's name: some characters are not allowed there ([MS-SAMR] 3.1.1.6).
func accountName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune("\"/\\[]:;|=,+*?<>@", r) {
			return '-'
		}
		return r
	}, name)
}

// Quoted is a password as the attribute unicodePwd wants it: in quotes, UTF-16, little endian ([MS-ADTS] 3.1.1.3.1.5).
func Quoted(password []byte) string {
	var b bytes.Buffer
	for _, unit := range utf16.Encode([]rune(`"` + string(password) + `"`)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}
