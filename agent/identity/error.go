package identity

import (
	"errors"

	"github.com/sallyport-auth/sallyport/wire"
)

// The kinds of failure that callers tell apart, with errors.Is.
var (
	// ErrNotRegistered: the state folder is absent or empty.
	ErrNotRegistered = errors.New("this agent is not registered")
	// ErrPermissions: others than the agent may read or change the state folder, or the agent may not.
	ErrPermissions = errors.New("the state folder is not protected")
	// ErrUnwritable: the state folder lies on a disk that is full or read-only.
	ErrUnwritable = errors.New("the state folder cannot be written")
	// ErrDamaged: the state folder is half-written, or its files do not belong together.
	ErrDamaged = errors.New("the state folder is damaged")
	// ErrKeyStore: the device that the private keys are in cannot be used, maybe for a moment.
	ErrKeyStore = errors.New("the agent's keys cannot be used")
	// ErrKeysLost: the private keys are of another host's device, or gone with what this one held.
	ErrKeysLost = errors.New("the agent's keys are not on this host")
	// ErrExists: a registration would overwrite an identity and was not told to.
	ErrExists = errors.New("an identity exists already")
	// ErrInUse: another agent runs with the state folder.
	ErrInUse = errors.New("the state folder is in use")
	// ErrExpired: the certificate's time has passed.
	ErrExpired = errors.New("the agent's certificate has expired")
	// ErrClock: the certificate's time has not begun, so this host's clock is wrong.
	ErrClock = errors.New("this host's clock is wrong")
	// ErrRefused: the service said no to the registration; the same token will not do better.
	ErrRefused = errors.New("the service refused the registration")
	// ErrUnreachable: no trustworthy connection to the service came about.
	ErrUnreachable = errors.New("the service cannot be reached")
	// ErrAnswer: the service answered with something that is no registration of this agent.
	ErrAnswer = errors.New("the service's answer cannot be used")
	// ErrOptions: the registration was asked for wrongly.
	ErrOptions = errors.New("the registration cannot be started")
)

// Error is what this package returns for everything an administrator can do something about.
type Error struct {
	// Kind is one of the package's Err… values.
	Kind error
	// Code is the service's number when it gave one (90045 …), else 0.
	Code wire.Code
	// What says what was met, in words, without secrets.
	What string
	// Remedy says what to do next; never empty.
	Remedy string
	// Trace is the service's trace id, when it gave one.
	Trace string
	// Cause is the error below; may be nil.
	Cause error
}

func inUse(dir string) error {
	return &Error{Kind: ErrInUse, What: "an agent runs with " + dir,
		Remedy: "stop it first (systemctl stop sallyport-agent); a second agent on this host needs a folder and a registration of its own"}
}

// Error returns kind and finding; the remedy is apart, because it is a sentence of its own.
func (e *Error) Error() string {
	s := e.Kind.Error()
	if e.What != "" {
		s += ": " + e.What
	}
	if e.Code != 0 {
		s += " (" + e.Code.String() + ")"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
