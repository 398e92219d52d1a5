// Package people describes the people of the lab, neutrally: who they are, which state their account is in, and what a
// directory must therefore answer about them. The evaluation directory and the Samba domain controller are both filled from
// it, so that the demo and the tests meet the same people in either and can compare the answers with one table.
//
// It refuses to know any directory: it makes no entries and speaks no protocol. Its passwords are known to everybody who can
// read this file, which is their purpose; they must never protect anything.
//
// Packages evaluation and samba read it, and whoever composes a lab.
package people

import "github.com/sallyport-auth/sallyport/wire"

// State is the condition that an account is in.
type State string

// The states. The zero value is not a state; use [Normal].
const (
	Normal          State = "normal"
	Disabled        State = "disabled"
	Locked          State = "locked"           // by too many wrong passwords
	PasswordExpired State = "password_expired" // older than the domain's maximum age
	MustChange      State = "must_change"      // at next logon
	AccountExpired  State = "account_expired"  // the account's end date has passed
	LogonHours      State = "logon_hours"      // no hour of the week is allowed
	Workstation     State = "workstation"      // may log on to one other computer only
	Restricted      State = "restricted"       // member of Protected Users, who may not use a simple bind
)

// States returns all states, in the order above. The slice is the caller's.
func States() []State {
	return []State{Normal, Disabled, Locked, PasswordExpired, MustChange, AccountExpired, LogonHours, Workstation, Restricted}
}

// Known reports whether s is one of the states.
func (s State) Known() bool {
	for _, k := range States() {
		if s == k {
			return true
		}
	}
	return false
}

// Answer returns what a directory says of an account in this state when the typed password is right or wrong. Most states show
// only to somebody who knows the password; a locked and a restricted account show always.
func (s State) Answer(right bool) wire.Reason {
	switch {
	case s == Locked:
		return wire.AccountLocked
	case s == Restricted:
		return wire.AccountRestricted
	case !right:
		return wire.BadPassword
	}
	switch s {
	case Disabled:
		return wire.AccountDisabled
	case PasswordExpired:
		return wire.PasswordExpired
	case MustChange:
		return wire.MustChange
	case AccountExpired:
		return wire.AccountExpired
	case LogonHours:
		return wire.LogonHours
	case Workstation:
		return wire.Workstation
	}
	return wire.Accepted
}

// Person is one account and the person behind it.
type Person struct {
	// SAM is the sAMAccountName: at most 20 characters, unique without regard to case.
	SAM string
	// UPN is the userPrincipalName, "alice@corp.example.com".
	UPN string
	// Password is the right one.
	Password wire.Secret
	// DisplayName is also the entry's CN; empty means SAM.
	DisplayName string
	GivenName   string
	Surname     string
	Mail        string
	// Groups are the CNs of the groups that list the person.
	Groups []string
	// State of the account; empty means [Normal].
	State State
}

// CN returns the name of the person's entry within its container.
func (p Person) CN() string {
	if p.DisplayName != "" {
		return p.DisplayName
	}
	return p.SAM
}

// Answer returns what a directory says when this person, or somebody in their name, types the right or a wrong password.
func (p Person) Answer(right bool) wire.Reason {
	if p.State == "" {
		return Normal.Answer(right)
	}
	return p.State.Answer(right)
}

// RightPassword is the password of everybody whom [Everybody] returns; WrongPassword is nobody's.
const (
	RightPassword = "Correct-Horse-7"
	WrongPassword = "Wrong-Horse-7"
)

// Everybody returns the people whom a lab needs to show all that a directory can say: each is named after what happens to
// them, except alice, who is simply fine, and bob, who is fine too and kept for mistyping. suffix is the part of the UPN
// after the @, "corp.example.com". The passwords are copies of their own.
func Everybody(suffix string) []Person {
	everybody := []Person{
		{SAM: "alice", GivenName: "Alice", Surname: "Archer", Groups: []string{"Staff", "Engineering"}},
		{SAM: "bob", GivenName: "Bob", Surname: "Baker", Groups: []string{"Staff"}},
		{SAM: "expired", GivenName: "Erin", Surname: "Eastwood", Groups: []string{"Staff"}, State: PasswordExpired},
		{SAM: "disabled", GivenName: "Dora", Surname: "Dale", Groups: []string{"Staff"}, State: Disabled},
		{SAM: "locked", GivenName: "Liam", Surname: "Locke", Groups: []string{"Staff"}, State: Locked},
		{SAM: "mustchange", GivenName: "Mona", Surname: "Müller", Groups: []string{"Staff"}, State: MustChange},
		{SAM: "accountexpired", GivenName: "Axel", Surname: "Ashe", State: AccountExpired},
		{SAM: "logonhours", GivenName: "Nora", Surname: "Night", State: LogonHours},
		{SAM: "workstation", GivenName: "Walt", Surname: "Webb", State: Workstation},
		{SAM: "restricted", GivenName: "Rita", Surname: "Rowe", State: Restricted},
	}
	for i := range everybody {
		p := &everybody[i]
		p.UPN = p.SAM + "@" + suffix
		p.Mail = p.SAM + "@" + suffix
		p.DisplayName = p.GivenName + " " + p.Surname
		p.Password = wire.NewSecret([]byte(RightPassword))
		if p.State == "" {
			p.State = Normal
		}
	}
	return everybody
}
