// Package guard decides which attempts an agent does not spend at a directory: the wrong password that would lock somebody's account there,
// and any password of an account that is protected.
//
//	policy, badPwdCount, badPasswordTime ──▶ Decide ──▶ spend, or spare and until when
//	name, sAMAccountName, objectSid      ──▶ Protection.Names, Protects ──▶ ask, or never
//
// It holds rules and the reading of values, and refuses to ask a directory anything: package ldap does that, with a reader account. The service has
// a budget of its own for every account (service/lockout); this one holds when the service counts wrong, was taken over, or is not the only
// place where somebody types passwords.
//
// Packages agent and agent/directory/ldap call it.
package guard

import (
	"math"
	"strconv"
	"time"
)

// DefaultReserve is how many attempts are left unspent where nobody says otherwise: the one that would lock the account.
const DefaultReserve = 1

// clockSlack is how much longer than the directory's window a guard waits, since two clocks that were compared by the second differ by less.
const clockSlack = 3 * time.Second

// Policy is what a directory does about wrong passwords of an account (MS-SAMR 3.1.1.5, lockoutThreshold and its companions, or those of a
// password settings object).
type Policy struct {
	// Threshold is the wrong password that locks; 0 means that none does.
	Threshold int
	// Duration is how long a lock lasts; 0 means until an administrator unlocks.
	Duration time.Duration
	// Window is how long after the last wrong password the earlier ones count; [Forever] means always.
	Window time.Duration
	// Source is where it was read: "the domain", or the name of a password settings object.
	Source string
}

// Forever is the window of a policy that never forgets a wrong password.
const Forever = time.Duration(math.MaxInt64)

// Decision is what [Decide] says.
type Decision struct {
	// Spend says that one more wrong password does not lock the account, and leaves the reserve.
	Spend bool
	// Left is how many more wrong passwords lock the account, the last one included; 0 where none ever does.
	Left int
	// Until is when the directory forgets the wrong passwords, if nobody types another; zero where Spend is true or that is never.
	Until time.Time
}

// Decide is the budget rule: count and last are the account's badPwdCount and badPasswordTime, to which the caller has added the attempts that
// are under way; now is the directory's time. A
// reserve below 1 is taken for 1, and one that would never leave an attempt for as many as leave one – but the attempt that locks is
// never spent, so with a threshold of 1 none is.
func Decide(p Policy, count int, last, now time.Time, reserve int) Decision {
	if p.Threshold <= 0 {
		return Decision{Spend: true}
	}
	count = Standing(p, count, last, now)
	d := Decision{Left: max(p.Threshold-count, 0)}
	d.Spend = d.Left > max(min(reserve, p.Threshold-1), 1)
	if !d.Spend && count > 0 && p.Window != Forever {
		d.Until = last.Add(p.Window + clockSlack)
	}
	return d
}

// Standing is how many wrong passwords the directory still counts of an account: none when the last one lies further back than the window, which
// the directory itself notices only with the next.
func Standing(p Policy, count int, last, now time.Time) int {
	if last.IsZero() || p.Window != Forever && now.After(last.Add(p.Window+clockSlack)) {
		return 0
	}
	return max(count, 0)
}

// Stricter reports whether p locks an account after fewer wrong passwords than q.
func (p Policy) Stricter(q Policy) bool {
	return p.Threshold > 0 && (q.Threshold <= 0 || p.Threshold < q.Threshold)
}

// NewPolicy reads the three values as the directory gives them; ok is false when one is missing or is none, as for a reader without the right
// to see it.
func NewPolicy(threshold, duration, window, source string) (p Policy, ok bool) {
	n, err := strconv.Atoi(threshold)
	lasts, okLasts := interval(duration)
	spans, okSpans := interval(window)
	if err != nil || n < 0 || n > math.MaxUint16 || !okLasts || !okSpans {
		return Policy{}, false
	}
	if lasts == Forever {
		lasts = 0
	}
	return Policy{Threshold: n, Duration: lasts, Window: spans, Source: source}, true
}

// interval reads a duration as Active Directory keeps it: a negative count of 100 ns, the least number standing for ever (MS-ADTS
// 3.1.1.1.3, MS-SAMR 2.2.3.4).
func interval(text string) (time.Duration, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n > 0:
		return 0, false
	case n < math.MinInt64/100:
		return Forever, true
	}
	return time.Duration(-n * 100), true
}

// epoch is how many seconds lie between 1601, from which Windows counts, and 1970.
const epoch = 11644473600

// Filetime reads a time as Active Directory keeps it: the 100 ns since 1601 (MS-DTYP 2.3.3). Zero is never, the zero time; ok is false for what
// is no such number.
func Filetime(text string) (t time.Time, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, false
	}
	if n == 0 {
		return time.Time{}, true
	}
	return time.Unix(n/1e7-epoch, n%1e7*100), true
}

// Count reads a badPwdCount.
func Count(text string) (n int, ok bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= math.MaxInt32
}
