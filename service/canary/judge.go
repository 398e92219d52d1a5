package canary

import (
	"errors"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/wire"
)

// Result is how a probe ended.
type Result string

// The results.
const (
	Fine    Result = "fine"
	Lied    Result = "lied"    // yes to a password that nobody has
	Refused Result = "refused" // no to the right one
	Failed  Result = "failed"  // no verdict
	Skipped Result = "skipped" // the agent was not asked: it has gone, or has its hands full
)

// Judge is the rule of what a verdict, or the fault in place of one, says of an agent that was given the right password or a made-up
// one; and with which number.
func Judge(right bool, v wire.Verdict, err error) (Result, wire.Code) {
	switch code := fault.CodeOf(err); {
	case right && code == wire.LockoutSpared:
		return Failed, code // as if it were locked: nobody can tell whether the agent would have said yes
	case errors.Is(err, password.ErrNotAsked), code == wire.AgentsBusy:
		return Skipped, code
	case code != 0:
		return Failed, code
	case right && !v.Reason.Right():
		return Refused, wire.CanaryRefused
	case !right && v.Reason.Right():
		return Lied, wire.CanaryAccepted
	case !right && v.Reason.ProvesPassword():
		// A directory says so only to who knows the password. It lets nobody in, so it is no reason to shut the agent out.
		return Failed, wire.DirectoryUnusable
	}
	return Fine, 0
}
