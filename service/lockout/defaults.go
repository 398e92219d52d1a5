package lockout

import "time"

const (
	// defaultThreshold is the wrong password that locks: Entra's smart lockout locks after ten. The directory's own
	// threshold should be higher, so that a stranger's guesses here lock the account here and not there.
	defaultThreshold = 10

	// defaultDuration is the first lock (Entra: one minute); each further one, without a right password in between, is
	// twice as long.
	defaultDuration = time.Minute

	// defaultMaxDuration is the longest lock. It lets 24 guesses a day through, and keeps a stranger who guesses on
	// purpose from keeping the owner out for longer than a long lunch after the guessing ends.
	defaultMaxDuration = time.Hour

	// defaultWindow is how long after the last wrong password the earlier ones still count: Active Directory's own default
	// for "Reset account lockout counter after", so that our count is never below the directory's.
	defaultWindow = 10 * time.Minute

	// defaultForget is how long after the end of a lock the next wrong password locks at once. It must be longer than the longest
	// lock, or waiting one out would be enough to start anew with ten guesses.
	defaultForget = 24 * time.Hour

	// maxAccount bounds an account's name in the store, in bytes; longer ones are stored as a hash.
	maxAccount = 256

	// sweepEvery and sweepLimit: states that time has cleared are removed now and then, some at a time, so that names
	// made up by strangers do not fill the store and no sign-in waits for the removal.
	sweepEvery = 10 * time.Minute
	sweepLimit = 1000
)
