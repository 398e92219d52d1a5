// Package people describes the people of the lab, neutrally: who they are, which state their account is in, and what a
// directory must therefore answer about them. The evaluation directory and the Samba domain controller are both filled from
// it, so that the demo and the tests meet the same people in either and can compare the answers with one table.
//
// It refuses to know any directory: it makes no entries and speaks no protocol. Its passwords are known to everybody who can
// read this file, which is their purpose; they must never protect anything.
//
// Packages evaluation and samba read it, and whoever composes a lab.
package people

import (
	"fmt"
	"slices"

	"github.com/sallyport-auth/sallyport/wire"
)

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
func (s State) Known() bool { return slices.Contains(States(), s) }

// Together reports whether one account can be in both states at once: in any two that differ, but that a password which must be
// changed has no age, and that normal is none of the others.
func Together(a, b State) bool {
	if !a.Known() || !b.Known() || a == b || a == Normal || b == Normal {
		return false
	}
	return !(a == PasswordExpired && b == MustChange || a == MustChange && b == PasswordExpired)
}

// answers are what a directory looks at, in its order, and what it says when it finds that. Before the password it looks at the first two
// alone, so that the others show only to somebody who knows the password.
var answers = []struct {
	state  State
	always bool
	reason wire.Reason
}{
	{Restricted, true, wire.AccountRestricted},
	{Locked, true, wire.AccountLocked},
	{Disabled, false, wire.AccountDisabled},
	{AccountExpired, false, wire.AccountExpired},
	{MustChange, false, wire.MustChange},
	{PasswordExpired, false, wire.PasswordExpired},
	{Workstation, false, wire.Workstation},
	{LogonHours, false, wire.LogonHours},
}

// Answer returns what a directory says to a bind as an account that is in these states at once, none meaning [Normal], when the typed
// password is right or wrong.
func Answer(right bool, in ...State) wire.Reason {
	for _, a := range answers {
		if (right || a.always) && slices.Contains(in, a.state) {
			return a.reason
		}
	}
	if !right {
		return wire.BadPassword
	}
	return wire.Accepted
}

// Answer is [Answer] for one state.
func (s State) Answer(right bool) wire.Reason { return Answer(right, s) }

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
	// Also is a second state that the account is in at the same time; empty means none.
	Also State
}

// States returns what the account is in: one state, or two.
func (p Person) States() []State {
	in := []State{p.State}
	if p.State == "" {
		in[0] = Normal
	}
	if p.Also != "" {
		in = append(in, p.Also)
	}
	return in
}

// In reports whether the account is in a state.
func (p Person) In(s State) bool { return slices.Contains(p.States(), s) }

// Possible reports whether an account can be in the person's states.
func (p Person) Possible() bool {
	in := p.States()
	return in[0].Known() && (len(in) == 1 || Together(in[0], in[1]))
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
	return Answer(right, p.States()...)
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

// Pairs returns one person for each two states that an account can be in at once, "pair01" and on, with [RightPassword].
func Pairs(suffix string) []Person {
	var pairs []Person
	all := States()
	for i, a := range all {
		for _, b := range all[i+1:] {
			if !Together(a, b) {
				continue
			}
			sam := fmt.Sprintf("pair%02d", len(pairs)+1)
			pairs = append(pairs, Person{SAM: sam, UPN: sam + "@" + suffix, Mail: sam + "@" + suffix, DisplayName: string(a) + " and " + string(b),
				Password: wire.NewSecret([]byte(RightPassword)), State: a, Also: b})
		}
	}
	return pairs
}
