package windows

import "time"

// Numbers that a Config may leave zero.
const (
	// defaultConcurrency is how many calls run at once. Netlogon lines up ten on its channel to the domain (MaxConcurrentApi), and each blocks a thread.
	defaultConcurrency = 10
	// defaultAnswerTimeout from the call to its answer: the service waits 8 seconds after the fence.
	defaultAnswerTimeout = 6 * time.Second
)

// Numbers that nobody has to set.
const (
	// beforeFence bounds everything before the fence where the caller sets no time: the service waits 4.5 seconds for it.
	beforeFence = 4 * time.Second
	// proveFor and selfCheckFor bound what nobody waits for: Windows may look for a domain controller for half a minute.
	proveFor, selfCheckFor = 30 * time.Second, 30 * time.Second
	// identifyFor bounds asking whose token it was, after the verdict.
	identifyFor = 2 * time.Second
	// forceEvery is how often Windows is made to look for another domain controller than the one that it remembers.
	forceEvery = 15 * time.Second
	// lookEvery is how often the domain controller is asked for while nobody signs in, and how soon a self-check is tried again that nobody answered.
	lookEvery = 30 * time.Second

	// maxText is the longest name accepted from Windows, in bytes.
	maxText = 1024
	// guest is the relative identifier of the account to which Windows falls back for names that it does not know (MS-DTYP 2.4.2.4).
	guest = "501"
)
