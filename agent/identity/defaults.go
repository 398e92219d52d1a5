package identity

import (
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
)

const (
	// formatVersion is the number in agent.json. It grows when a field changes its meaning or goes; a program refuses a
	// higher number than its own instead of guessing.
	formatVersion = 1

	// maxFile bounds every file that is read from the state folder and the CA file. A chain of three certificates is 3 KB
	// and a company's CA bundle rarely 50 KB; a megabyte is plenty, and stops a wrong path (a log, a device) from filling
	// memory.
	maxFile = 1 << 20

	// probeSize is what is written to prove that an identity will fit: its four files are 3 KB, with a CA bundle more.
	probeSize = 64 << 10

	// maxText bounds each name in agent.json and in the answer.
	maxText = 256

	// registerTimeout bounds the whole registration. An administrator waits before the terminal, and a proxy may be slow.
	registerTimeout = 30 * time.Second

	// maxCodeLife bounds how long a code is waited for, whatever the service says: an administrator who has not come by then does not.
	maxCodeLife = time.Hour

	// pollDefault is how often a decision is asked for unless the service says otherwise, slowDownBy the step of its slow_down (RFC 8628
	// §3.2, §3.5); pollMin and pollMax keep what it says within reason.
	pollDefault = 5 * time.Second
	slowDownBy  = 5 * time.Second
	pollMin     = time.Second
	pollMax     = time.Minute

	// connectTimeout bounds name resolution and TCP, and again the TLS handshake, so that a silent firewall is told apart
	// from a slow service.
	connectTimeout = 10 * time.Second

	// skewWorth is the difference of clocks from which on it is told. An envelope lives for some fifteen seconds, so a few
	// seconds begin to matter; the HTTP Date header itself counts whole seconds.
	skewWorth = 5 * time.Second

	// keysKept is how long replaced keys open envelopes: no envelope lives longer than envelope.MaxLife.
	keysKept = envelope.MaxLife

	// A certificate is renewed from two thirds of its life on, each at a moment of its own within the next sixth: a third is left
	// for a service that is down, and a fleet that was set up in one afternoon does not come in one.
	renewFrom   = 2.0 / 3
	renewWithin = 1.0 / 6
)
