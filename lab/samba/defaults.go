package samba

import "time"

const (
	// DefaultRealm is a name of RFC 2606, which cannot be anybody's.
	DefaultRealm = "CORP.EXAMPLE.COM"

	// DefaultLockoutThreshold is what Microsoft's security baseline recommends. With no threshold Samba keeps no count of wrong
	// passwords at all, and the count is what tests want to read.
	DefaultLockoutThreshold = 10

	// defaultWindow is Active Directory's own: wrong passwords further apart do not add up.
	defaultWindow = 30 * time.Minute

	// startTime bounds the wait for a started domain controller; the usual wait is below half a second, and a machine that runs
	// other tests may need many.
	startTime = time.Minute

	// startPoll is how often a starting domain controller is tried.
	startPoll = 20 * time.Millisecond

	// provisionTime bounds the making of a domain: four seconds on a quiet machine.
	provisionTime = 3 * time.Minute

	// operationTime bounds one administrative LDAP request.
	operationTime = 20 * time.Second

	// stopTime is what a domain controller of several processes gets to end by itself after SIGTERM before it is killed.
	stopTime = 10 * time.Second

	// replicationTime bounds the wait for a change to reach another domain controller: seconds by itself, and one when asked for.
	// Only after a new domain controller is known to the other one, which takes Samba's consistency checker up to a minute, it replicates back.
	replicationTime = 30 * time.Second

	// replicationPoll is how often that is looked at.
	replicationPoll = 100 * time.Millisecond

	// maxDir is the longest directory, in bytes: Samba's sockets lie in it and sun_path is 108 bytes. 75 worked and 80 did not.
	maxDir = 75

	// certificateLife is longer than any lab runs and short enough that a left-over file is worth nothing.
	certificateLife = 30 * 24 * time.Hour

	// backdate forgives clocks that are a little behind.
	backdate = 5 * time.Minute

	// logTail is how much of Samba's log goes into an error: enough for its last words.
	logTail = 4 << 10

	// maxSAM is the longest sAMAccountName of a user ([MS-ADTS] 3.1.1.8.1).
	maxSAM = 20
)
