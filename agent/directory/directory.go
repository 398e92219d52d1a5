// Package directory says how an agent asks a directory about a password, and understands what directories answer.
//
// A [Validator] asks: it takes one [Check], calls its fence when a live connection is in hand, spends exactly one attempt, and
// returns a verdict or an [Error]. A verdict is an answer and never an error; whatever else happens is an error that says
// whether the attempt may have counted.
//
//	            live connection            Fence returned nil           bind written
//	Validate ──────────────────▶ Fence ───────────────────────▶ bind ─────────────────▶ verdict
//	   │ Error{Fenced: false}      │ Error{Fenced: false}         │ Error{Fenced: true}
//	   ▼                           ▼                              ▼
//	 nothing was sent            nothing was sent               it may have counted
//
// [FromDiagnostic] turns the text of an Active Directory bind into a verdict, and [Explain] translates the numbers that
// Windows, LDAP, Kerberos and this product give the same situation.
//
// The package refuses to speak a protocol (package ldap below it does) and to guess: an answer that is not in its table is
// trouble, so that it can never count towards anybody's lockout.
//
// Package agent calls it, and the command line for explanations.
package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Check is one question: is this the password of this name?
type Check struct {
	// Name as the person typed it. It goes to the directory unchanged.
	Name string
	// Password as the person typed it. Validators read it and leave the wiping to the caller.
	Password wire.Secret
	// Account is whose password it is, if the name had to be looked up; nil means that the directory is asked about Name.
	Account *Account
	// WantAttributes asks for the user's attributes if the directory accepts.
	WantAttributes bool
	// Fence is called exactly once, with a live connection in hand, right before the password is sent. It returns nil when the
	// service has written the fence down; an error stops the check with nothing sent. It must not be nil.
	Fence func(ctx context.Context) error
	// FenceBy is when whoever waits for the fence gives up; zero leaves the time to the validator, which allows four seconds.
	FenceBy time.Time
}

// Account is an entry of the directory that a typed name was found to belong to.
type Account struct {
	// DN is its distinguished name. SAM and Domain, the DNS name of its domain, make up another name that is its alone.
	DN, SAM, Domain string
	// Anchor is its objectGUID as a lower-case UUID; empty if that cannot be read.
	Anchor string
	// SignInName is the value of the attribute by which it was looked up; empty if it has none.
	SignInName string
}

// Name is the account's implicit user principal name ([MS-ADTS] 5.1.1.1.1).
func (a Account) Name() string { return a.SAM + "@" + a.Domain }

// Finder looks up names that the directory itself does not know.
type Finder interface {
	// Find returns the one account of which the attribute has this value, or which has this user principal name; nil if there is none. It is an error
	// of its own if there are several. Nothing was sent about anybody's password, so no error is Fenced.
	Find(ctx context.Context, attribute, name string) (*Account, *Error)
}

// ErrUnusable is the cause of a check refused before anything was contacted.
var ErrUnusable = errors.New("not a usable name and password")

// Refuse returns an error for what no validator may send to a directory, and nil for everything else. An empty password is an
// unauthenticated bind, which succeeds for any name (RFC 4513 §5.1.2). A NUL ends the text in some directories, so that
// "secret\x00anything" would be accepted as "secret".
func (c Check) Refuse() *Error {
	reason := ""
	switch password := c.Password.Reveal(); {
	case len(password) == 0:
		reason = "the password is empty"
	case len(password) > MaxPassword:
		reason = "the password is too long"
	case bytes.IndexByte(password, 0) >= 0:
		reason = "the password holds NUL"
	case c.Name == "":
		reason = "the name is empty"
	case len(c.Name) > MaxName:
		reason = "the name is too long"
	case bytes.IndexByte([]byte(c.Name), 0) >= 0:
		reason = "the name holds NUL"
	case c.Fence == nil:
		return &Error{Code: wire.Internal, Cause: errors.New("a check without a fence")}
	default:
		return nil
	}
	return &Error{Code: wire.PasswordUnusable, Cause: fmt.Errorf("%w: %s", ErrUnusable, reason)}
}

// Result is what a directory answered.
type Result struct {
	Verdict wire.Verdict
	// DC is the server that answered, as host and port.
	DC string
	// Fenced is when the fence had been granted, right before the password was sent. Judged is when the answer had come; the
	// attributes are read after it.
	Fenced, Judged time.Time
}

// Validator asks a directory about one password. Implementations are safe for concurrent use, send a password at most once
// for each call, and return an [*Error] whenever there is no verdict.
type Validator interface {
	Validate(ctx context.Context, c Check) (Result, error)
}

// Error says that nobody judged the password.
type Error struct {
	Code wire.Code
	// Fenced is true when the password had been sent, so that the directory may have counted the attempt.
	Fenced bool
	// DC is the server concerned, as host and port; empty if none was reached.
	DC string
	// Cause says what happened, without secrets.
	Cause error
}

// Error returns number, server and cause.
func (e *Error) Error() string {
	sent := "the password was not sent"
	if e.Fenced {
		sent = "the password had been sent"
	}
	if e.DC == "" {
		return fmt.Sprintf("%d: %s: %v", e.Code, sent, e.Cause)
	}
	return fmt.Sprintf("%d: %s: %s: %v", e.Code, e.DC, sent, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Refused says that a directory, asked a second time in another way about a password that was right, does not let the person in.
type Refused struct{ Verdict wire.Verdict }

// Error returns reason and words.
func (e *Refused) Error() string {
	return fmt.Sprintf("LDAP says %s (%s)", e.Verdict.Reason, e.Verdict.Diagnostic)
}
