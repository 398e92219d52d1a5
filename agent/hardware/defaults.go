package hardware

import "time"

const (
	// maxBlob bounds what is read as a key: a TPM's public and private part and two names have some 400 bytes.
	maxBlob = 8 << 10

	// maxLoaded is how many keys stay loaded. Linux' resource manager and small modules have room for three objects, of which one is the
	// storage key.
	maxLoaded = 2

	// socketTimeout bounds one use of a software TPM. It answers in milliseconds; a second user has to wait for the first.
	socketTimeout = 20 * time.Second
)
