package password

import (
	"time"

	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// Meaning is what a verdict of a directory means here.
type Meaning struct {
	// Code is for the log; 0 for [wire.Accepted].
	Code wire.Code
	// Shown is what the person may see. It differs from [wire.InvalidPassword] only where the directory gives the reason to
	// nobody who does not know the password.
	Shown wire.Code
}

// Means maps a reason to its numbers; ok is false for a reason that is not known, which is trouble and never a verdict.
func Means(r wire.Reason) (m Meaning, ok bool) {
	switch r {
	case wire.Accepted:
		return Meaning{}, true
	case wire.BadPassword, wire.NoSuchUser:
		return Meaning{wire.InvalidPassword, wire.InvalidPassword}, true
	case wire.AccountLocked:
		return Meaning{wire.AccountLockedOut, wire.InvalidPassword}, true
	case wire.AccountDisabled:
		return Meaning{wire.AccountIsDisabled, wire.InvalidPassword}, true
	case wire.AccountExpired:
		return Meaning{wire.AccountExpiredCode, wire.InvalidPassword}, true
	case wire.AccountRestricted:
		return Meaning{wire.AccountRestrictedCode, wire.InvalidPassword}, true
	case wire.PasswordExpired, wire.MustChange:
		return Meaning{wire.DirectoryPassword, wire.DirectoryPassword}, true
	case wire.LogonHours:
		return Meaning{wire.OutsideLogonHours, wire.OutsideLogonHours}, true
	case wire.Workstation:
		return Meaning{wire.WorkstationRefused, wire.WorkstationRefused}, true
	case wire.TooManyGroups:
		return Meaning{wire.DirectoryUnusable, wire.InvalidPassword}, true
	}
	return Meaning{}, false
}

// Event is how one try with one agent ended.
type Event uint8

// The events. Those before the fence are certain knowledge that nothing was bound.
const (
	Refused         Event = iota + 1 // agent or gateway turned it down before the fence
	LostBeforeFence                  // no word, and no fence was granted
	LostAfterFence                   // no word after a granted fence: the attempt may have counted
	TroubleUnfenced                  // the agent says why nobody judged, and that nothing was sent
	TroubleFenced                    // the agent says why nobody judged; the attempt may have counted
	Forged                           // an answer without proof, or one that breaks the protocol
	Answered                         // a verdict
	Held                             // the agent found whose name it is, and smart lockout holds guesses at that account back
)

// String returns the event's word for logs.
func (e Event) String() string {
	switch e {
	case Refused:
		return "refused"
	case LostBeforeFence:
		return "lost before the fence"
	case LostAfterFence:
		return "lost after the fence"
	case TroubleUnfenced:
		return "trouble before the fence"
	case TroubleFenced:
		return "trouble after the fence"
	case Forged:
		return "forged"
	case Answered:
		return "answered"
	case Held:
		return "held back"
	}
	return "unknown"
}

// Known is all that [Next] decides from.
type Known struct {
	Event Event
	// Code is the number of a refusal or trouble.
	Code wire.Code
	// Tries is how many agents were tried, this one included.
	Tries int
	// Binds is how many attempts may have counted at the directory, this one included.
	Binds int
	// Left is what is left of the overall time.
	Left time.Duration
	// Spare says that the account's lockout budget bears another attempt that may count.
	Spare bool
}

// Action is what to do after a try.
type Action uint8

// The actions.
const (
	Judge    Action = iota + 1 // take the verdict
	Again                      // ask for another agent
	GiveUp                     // end with a fault
	Withhold                   // end as with any wrong password: the agent's guard or smart lockout spends no attempt
)

// Step is [Next]'s decision. Code is the number of what went wrong: the fault's with GiveUp, and with Again the one to end
// with if no other agent is found. It is 0 with Judge.
type Step struct {
	Do   Action
	Code wire.Code
}

// Next is the rule of handing over: what to do after one try. It never leads to a second attempt that may count unless Spare
// allowed it, and never to a third.
func Next(k Known) Step {
	switch k.Event {
	case Answered:
		return Step{Do: Judge}
	case Forged:
		return Step{GiveUp, wire.AnswerForged}
	case Held:
		return Step{Withhold, wire.AccountLockedOut}
	case TroubleUnfenced:
		// Another agent has the same directory and, we hope, the same guard; to ask it would be to look for one without.
		if guarded(k.Code) {
			return Step{Withhold, k.Code}
		}
	case TroubleFenced:
		return Step{GiveUp, troubleCode(k.Code, wire.DirectoryTimeout)}
	}
	step := Step{GiveUp, wire.TransientNetwork}
	switch {
	case k.Binds > 0:
		// This attempt or an earlier one may have counted: that is what the log has to say.
		step.Code = wire.LostAfterFence
	case k.Event == Refused:
		step.Code = troubleCode(k.Code, wire.AgentRefused)
	case k.Event == TroubleUnfenced:
		step.Code = troubleCode(k.Code, wire.DirectoryUnreachable)
	}
	if k.Tries < maxTries && k.Left >= leastTry && (k.Binds == 0 || k.Binds < maxBinds && k.Spare) {
		step.Do = Again
	}
	return step
}

// guarded reports whether a number says that an agent did not spend the attempt, for a reason that lies with the account: another agent would say the same.
func guarded(c wire.Code) bool {
	return c == wire.LockoutSpared || c == wire.AccountProtected || c == wire.NameAmbiguous
}

// troubleCode keeps numbers that speak of trouble between here and the directory. Any other (one that would speak of the
// password, that is ours alone to give, or that nobody knows) becomes instead: trouble must never look like a verdict.
func troubleCode(c, instead wire.Code) wire.Code {
	switch {
	case c == wire.OutsideLogonHours, c == wire.VerdictsDisagree:
		return instead
	case c >= wire.NoAgent && c <= wire.AgentTooSlow, c >= wire.LostAfterFence && c <= wire.AgentRateLimited, c == wire.GatewayDraining, c == wire.NameNotLookedUp:
		if _, known := wire.Lookup(c); known {
			return c
		}
	}
	return instead
}

// spare is the budget rule for a second attempt that may count: the failures that are known and the attempts that may have
// counted stay below half of the threshold, so that what is lost on our side never locks an account.
func spare(failures, binds, threshold int) bool { return failures+binds < threshold/2 }

// wantAttributes says whether the directory is to be asked who this is, when the password is right: always, but for an ordinary user of
// this directory whose objectGUID was confirmed a moment ago. A name alone proves nothing, since it may have been handed on.
func wantAttributes(known user.User, directory string, now time.Time) bool {
	age := now.Sub(known.AttributesAt)
	return known.Anchor == "" || known.DirectoryID != directory || known.Role != "" || age < 0 || age >= confirmedFor
}
