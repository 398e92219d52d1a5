// Package directorytest is what the tests of all validators say to them and hear from them: a check that counts its fences, the
// trouble it ended in, and the words of Active Directory. Only tests import it. It stands in for no directory: those are real, or
// beside the test that needs one to misbehave.
package directorytest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// Asked is a check that counts its fences and grants each. A test that sets another Fence counts for itself.
type Asked struct {
	directory.Check
	Fences atomic.Int32
}

// Ask makes the check of a password.
func Ask(name, password string) *Asked {
	a := &Asked{Check: directory.Check{Name: name, Password: wire.NewSecret([]byte(password))}}
	a.Fence = func(context.Context) error { a.Fences.Add(1); return nil }
	return a
}

// Trouble is the error of a check that nobody judged. Any other error, and none, ends the test.
func Trouble(t testing.TB, err error) *directory.Error {
	t.Helper()
	var e *directory.Error
	if !errors.As(err, &e) {
		t.Fatalf("not a *directory.Error: %v", err)
	}
	return e
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Diagnostic is the text with which Active Directory refuses a bind; sub is the number in it, in hexadecimal.
func Diagnostic(sub string) string {
	return "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data " + sub + ", v1db1"
}

// CloseIdle has a validator whose Run the test does not start close its idle connections when the test is over.
func CloseIdle(t testing.TB, v interface{ Run(context.Context) error }) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := v.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}
