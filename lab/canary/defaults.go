package canary

const (
	// pieceRunes is the length of a piece. Twelve characters do not come together by chance, in any of the encodings.
	pieceRunes = 12

	// maxSecret bounds a secret, in bytes: the product takes passwords of up to 1024.
	maxSecret = 1024

	// chunk is how much of a file is in memory at once; overlap is repeated from one chunk to the next, and is longer than any encoded
	// piece: twelve characters of four bytes at ten characters each, twice over.
	chunk   = 32 << 20
	overlap = 1 << 10

	// maxUnpacked bounds what one gzip stream is unpacked to.
	maxUnpacked = 64 << 20

	// maxFindings bounds a report. Whoever leaks a password writes it often.
	maxFindings = 50

	// maxBackslashes is how many backslashes may stand before an escaped character: JSON within a log line within JSON has eight.
	maxBackslashes = 8

	// maxAgain bounds "%252525…": an address within an address within an address.
	maxAgain = 8
)
