package ldap

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// wiretap keeps what was written, and the very slices.
type wiretap struct {
	net.Conn
	wrote  bytes.Buffer
	slices [][]byte
}

func (w *wiretap) Write(b []byte) (int, error) {
	w.slices = append(w.slices, b)
	return w.wrote.Write(b)
}

func TestSpenderPutsThePasswordInAndWipesIt(t *testing.T) {
	for _, password := range []string{"x", "Correct-Horse-7", "xxxx", "pässword☃"} {
		tap := &wiretap{}
		s := &spender{Conn: tap}
		held := []byte(password)
		s.hold(held)
		message := []byte("bind xxx as max" + string(bytes.Repeat([]byte(standIn), len(password))))
		if n, err := s.Write(message); err != nil || n != len(message) {
			t.Fatalf("%d, %v", n, err)
		}
		if got := tap.wrote.String(); got != "bind xxx as max"+password {
			t.Errorf("%q was written", got)
		}
		if !bytes.Equal(tap.slices[0], make([]byte, len(message))) {
			t.Errorf("what was written is not wiped: %q", tap.slices[0])
		}
		if string(held) != password {
			t.Error("the caller's password was changed")
		}
		// One hold is one write: the next message passes as it is.
		if _, err := s.Write(message); err != nil || !bytes.HasSuffix(tap.wrote.Bytes(), message) {
			t.Errorf("the message after the bind was changed: %q, %v", tap.wrote.Bytes(), err)
		}
	}
}

func TestSpenderRefusesWhatIsNoBind(t *testing.T) {
	for _, message := range []string{"", "xxx", "search for somebody", "bind xxxx and a control"} {
		tap := &wiretap{}
		s := &spender{Conn: tap}
		s.hold([]byte("Correct"))
		if _, err := s.Write([]byte(message)); !errors.Is(err, errNotABind) || tap.wrote.Len() > 0 {
			t.Errorf("%q: %v, and %q was sent", message, err, tap.wrote.Bytes())
		}
	}
	tap := &wiretap{}
	s := &spender{Conn: tap}
	s.hold([]byte("Correct"))
	s.hold(nil)
	if _, err := s.Write([]byte("xxxxxxx")); err != nil || tap.wrote.String() != "xxxxxxx" {
		t.Errorf("after the bind: %q, %v", tap.wrote.String(), err)
	}
}

func TestRepeats(t *testing.T) {
	for _, c := range []struct {
		words, password string
		want            bool
	}{
		{"bind as x with Correct-Horse-7 failed", "Correct-Horse-7", true}, {"Correct-Horse-", "Correct-Horse-7", false},
		{"data 52e", "52e", false}, {"data 52e", "data", true}, {"", "Correct", false},
	} {
		if got := repeats(errors.New(c.words), wire.NewSecret([]byte(c.password))); got != c.want {
			t.Errorf("%q repeats %q: %v", c.words, c.password, got)
		}
	}
	if repeats(nil, wire.NewSecret([]byte("Correct"))) {
		t.Error("no error repeats nothing")
	}
}
