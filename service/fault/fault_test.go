package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestCodes(t *testing.T) {
	plain := errors.New("disk on fire")
	notFound := fault.New(wire.NotFound, "no user x")
	for _, c := range []struct {
		name string
		err  error
		want wire.Code
	}{
		{"nothing", nil, 0},
		{"no fault", plain, wire.Internal},
		{"a fault", notFound, wire.NotFound},
		{"a wrapped fault", fmt.Errorf("user: %w", notFound), wire.NotFound},
		{"a joined fault", errors.Join(plain, notFound), wire.NotFound},
		{"the outer of two", fault.Wrap(wire.Conflict, "", notFound), wire.Conflict},
		{"a nil cause", fault.Wrap(wire.Conflict, "", nil), wire.Conflict},
	} {
		if got := fault.CodeOf(c.err); got != c.want {
			t.Errorf("%s: code %v, want %v", c.name, got, c.want)
		}
		// Has looks for the first fault too, and an error without a number has none, not even Internal.
		_, isFault := errors.AsType[*fault.Error](c.err)
		for _, code := range []wire.Code{0, wire.Internal, wire.NotFound, wire.Conflict} {
			if got := fault.Has(c.err, code); got != (isFault && code == c.want) {
				t.Errorf("%s: Has(%v) is %v", c.name, code, got)
			}
		}
		if got := errors.Is(c.err, fault.New(wire.NotFound, "")); c.err != nil && got != (c.want == wire.NotFound || c.name == "the outer of two") {
			t.Errorf("%s: errors.Is by number is %v", c.name, got)
		}
	}
}

func TestCauseStaysReachable(t *testing.T) {
	err := fmt.Errorf("deliver: %w", fault.Wrap(wire.TransientNetwork, "the gateway hung up", io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if errors.Unwrap(fault.New(wire.Internal, "")) != nil {
		t.Error("a fault without a cause unwraps to something")
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fault.New(wire.NotFound, ""), "90009 not-found"},
		{fault.Newf(wire.NotFound, "no user %q", "x"), `90009 not-found: no user "x"`},
		{fault.Wrap(wire.NotFound, "", io.EOF), "90009 not-found: EOF"},
		{fault.Wrap(wire.NotFound, "no user", io.EOF), "90009 not-found: no user: EOF"},
		{fault.New(12345, "from the future"), "12345: from the future"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestEntry: whatever goes wrong, there is a public sentence, and it is never the private detail.
func TestEntry(t *testing.T) {
	for _, c := range []struct {
		err  error
		want wire.Code
	}{
		{fault.New(wire.NoAgent, "secret detail"), wire.NoAgent},
		{errors.New("secret detail"), wire.Internal},
		{fault.New(12345, "secret detail"), wire.Internal},
		{nil, wire.Internal},
	} {
		entry := fault.Entry(c.err)
		if entry.Code != c.want || entry.Public == "" || entry.Remedy == "" {
			t.Errorf("%v: %+v", c.err, entry)
		}
	}
}
