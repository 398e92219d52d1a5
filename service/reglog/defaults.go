package reglog

import "time"

const (
	// checkpointEvery bounds how long an entry waits for its signature, and with it how long somebody who writes the database could
	// alter it unnoticed. A look costs one query when nothing has grown.
	checkpointEvery = 5 * time.Second
	// exportEvery is how often a receiver's loop looks for more.
	exportEvery = 2 * time.Second
	// firstPause and lastPause bound the pause after a receiver failed, which doubles.
	firstPause = time.Second
	lastPause  = time.Minute
	// batch bounds the entries that are sent at once: below half a megabyte at their largest.
	batch = 100
	// sendTimeout bounds one delivery, and heldFor, well above it, for how long a process has a receiver for itself.
	sendTimeout = 15 * time.Second
	heldFor     = time.Minute

	// maxText bounds each text of an entry, in bytes. So an entry stays below maxLine whatever its texts need as escapes.
	maxText = 512
	// maxLine bounds one line of an export file, and maxReply what is read of a webhook's answer.
	maxLine  = 64 << 10
	maxReply = 64 << 10
	// maxCheckpoint bounds a checkpoint: an origin, two numbers and a signature have a few hundred bytes.
	maxCheckpoint = 4 << 10
)
