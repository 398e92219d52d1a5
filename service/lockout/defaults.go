package lockout

import "time"

const (
	// defaultThreshold is the wrong password that locks. It is sent, so it must stay below the directory's own threshold, or a
	// stranger's guesses lock the account there: many directories have five, Microsoft's security baseline has ten.
	defaultThreshold = 4

	// defaultDuration is the first lock; each further one, without a right password in between, is twice as long. One guess is
	// sent after each, so it is as long as the window: by then the directory has forgotten the guesses before.
	defaultDuration = defaultWindow

	// defaultMaxDuration is the longest lock. It lets 24 guesses a day through, and keeps a stranger who guesses on
	// purpose from keeping the owner out for longer than a long lunch after the guessing ends.
	defaultMaxDuration = time.Hour

	// defaultWindow is how long after the last wrong password the earlier ones still count: the longest "Reset account lockout counter
	// after" that is common in Active Directory (10, 15 or 30 minutes), so that our count is never below the directory's.
	defaultWindow = 30 * time.Minute

	// defaultForget is how long after the end of a lock the next wrong password locks at once. It must be longer than the longest
	// lock, or waiting one out would be enough to start anew.
	defaultForget = 24 * time.Hour

	// maxAccount bounds an account's name in the store, in bytes; longer ones are stored as a hash.
	maxAccount = 256

	// sweepEvery and sweepLimit: states that time has cleared are removed every minute, all of them, some in one transaction, so
	// that names made up by strangers do not fill the store and no sign-in waits for the removal.
	sweepEvery = time.Minute
	sweepLimit = 1000
)
