package audit

import "time"

const (
	// maxBatch is how many records one transaction writes: at 256, the fsync is less than a tenth of its cost, and a
	// transaction still takes only milliseconds.
	maxBatch = 256

	// maxLine bounds the records that wait to be written, about 16 MB of them. Beyond it, Record waits for room.
	maxLine = 8192

	// rowsPerStatement is how many rows one INSERT holds: one round trip to PostgreSQL for each statement, and few enough that
	// SQLite, which looks numbered parameters up in a list, is not slower than with single rows.
	rowsPerStatement = 8

	// writeTimeout bounds one transaction, so that a store that hangs fails its records instead of collecting them.
	writeTimeout = 10 * time.Second

	// maxText bounds every text of a record in characters; user names and diagnostics are shorter.
	maxText = 256

	// maxStops bounds the stops of a record: an ordinary way has seven, and three more for each agent that was tried.
	maxStops = 64

	// DefaultKeep is how long records are kept: a quarter, in which most incidents are found. Entra keeps sign-ins for 30 days.
	DefaultKeep = 90 * 24 * time.Hour

	// sweepEvery and sweepLimit: old records are removed some at a time, so that no sign-in waits for the removal.
	sweepEvery = time.Hour
	sweepLimit = 1000
)
