package approve

import "time"

const (
	// signedIn is how long ago the password may have been typed: whoever finds a browser unattended after lunch lets nobody in.
	signedIn = 15 * time.Minute
	// decideIn is what a person may take for reading the page beyond that.
	decideIn = 10 * time.Minute
	// An administrator may try guessBurst codes that do not exist and one more every guessEvery: some mistyped ones, and no search of
	// 25 thousand million.
	guessBurst = 10
	guessEvery = 30 * time.Second
	// maxGuessers bounds the memory of the limit.
	maxGuessers = 10_000
	// maxPending bounds the list of agents that wait.
	maxPending = 50
)
