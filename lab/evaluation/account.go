package evaluation

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// policy is the domain's lockout policy. A threshold of 0 means that nothing locks and nothing is counted; a duration of 0
// that only an administrator unlocks.
type policy struct {
	threshold        int
	duration, window time.Duration
}

// tally is what a directory remembers of wrong and right passwords. Times are zero when the thing has not happened.
type tally struct {
	wrong     int       // badPwdCount
	lastWrong time.Time // badPasswordTime
	locked    time.Time // lockoutTime
	lastRight time.Time // lastLogon
	logons    int       // logonCount
}

// judge decides about one password: the answer, and what is remembered afterwards. It is the rule as a Samba domain controller
// follows it:
//
//	restricted                       → 52f, whatever the password, nothing counted
//	locked                           → 775, whatever the password, nothing counted
//	wrong                            → 52e, counted; at the threshold the account is locked from the next attempt on
//	right, but a state forbids       → that state's own answer, in the order of [people.Answer]; the count stays
//	right                            → accepted, the count begins again
func judge(t tally, in []people.State, p policy, right bool, now time.Time) (wire.Reason, tally) {
	if slices.Contains(in, people.Restricted) {
		return people.Restricted.Answer(right), t
	}
	if t.isLocked(p, now) {
		return wire.AccountLocked, t
	}
	// Whoever was locked at the beginning was unlocked in the meantime.
	in = slices.DeleteFunc(slices.Clone(in), func(s people.State) bool { return s == people.Locked })
	if !right {
		if p.threshold > 0 {
			if now.Sub(t.lastWrong) > p.window {
				t.wrong = 0
			}
			t.wrong++
			t.lastWrong = now
			if t.wrong >= p.threshold {
				t.locked = now
			}
		}
		return people.Answer(false, in...), t
	}
	if answer := people.Answer(true, in...); !answer.Right() {
		return answer, t
	}
	t.wrong, t.locked, t.lastRight = 0, time.Time{}, now
	t.logons++
	return wire.Accepted, t
}

func (t tally) isLocked(p policy, now time.Time) bool {
	return !t.locked.IsZero() && (p.duration == 0 || now.Sub(t.locked) < p.duration)
}

// diagnostics are the texts of a domain controller. Windows has other numbers after DSID and v; who reads such texts must look
// at "data XXX" alone.
func diagnostic(data string) string {
	return "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data " + data + ", v1db1"
}

// refusal returns the answer to a bind that was not accepted.
func refusal(r wire.Reason) result {
	data := "1f" // a general failure
	switch r {
	case wire.BadPassword:
		data = "52e"
	case wire.AccountLocked:
		data = "775"
	case wire.AccountRestricted:
		data = "52f"
	case wire.AccountDisabled:
		data = "533"
	case wire.AccountExpired:
		data = "701"
	case wire.PasswordExpired:
		data = "532"
	case wire.MustChange:
		data = "773"
	case wire.LogonHours:
		data = "530"
	case wire.Workstation:
		data = "531"
	}
	return result{code: codeInvalidCredentials, text: diagnostic(data)}
}

// account is what can be bound as.
type account struct {
	person  people.Person
	created time.Time
	binds   atomic.Int64 // judged binds

	mu    sync.Mutex // guards tally alone; a bind holds it for a few comparisons
	tally tally
}

// try judges one password, given whether it was right.
func (a *account) try(p policy, right bool, now time.Time) wire.Reason {
	a.binds.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	var reason wire.Reason
	reason, a.tally = judge(a.tally, a.person.States(), p, right, now)
	return reason
}

func (a *account) unlock() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally.wrong, a.tally.locked = 0, time.Time{}
}

func (a *account) read() tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tally
}

// control is userAccountControl ([MS-ADTS] 2.2.16).
func (a *account) control() string {
	const normalAccount, accountDisabled = 0x200, 0x2
	if a.person.In(people.Disabled) {
		return strconv.Itoa(normalAccount | accountDisabled)
	}
	return strconv.Itoa(normalAccount)
}

// computed is msDS-User-Account-Control-Computed.
func (a *account) computed(p policy, now time.Time) string {
	const lockedOut, passwordExpired = 0x10, 0x800000
	flags := 0
	if a.read().isLocked(p, now) {
		flags |= lockedOut
	}
	if a.person.In(people.PasswordExpired) || a.person.In(people.MustChange) {
		flags |= passwordExpired
	}
	return strconv.Itoa(flags)
}

// passwordSet is pwdLastSet.
func (a *account) passwordSet() string {
	switch {
	case a.person.In(people.MustChange):
		return "0"
	case a.person.In(people.PasswordExpired):
		return filetime(a.created.AddDate(-1, 0, 0))
	}
	return filetime(a.created)
}

// expires is accountExpires.
func (a *account) expires() string {
	if a.person.In(people.AccountExpired) {
		return filetime(a.created.AddDate(0, 0, -2))
	}
	return "9223372036854775807" // never
}

// filetime is a time as Active Directory keeps it: units of 100 ns since 1601; the zero time is 0.
func filetime(t time.Time) string {
	const epoch = 116444736000000000 // 1970 in that unit
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixNano()/100+epoch, 10)
}
