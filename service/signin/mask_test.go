package signin

import (
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestLoggedName(t *testing.T) {
	for _, c := range []struct {
		typed string
		code  wire.Code
		want  string
	}{
		{"anna@corp.example", wire.InvalidPassword, "anna@corp.example"},
		{"anna@corp.example", 0, "anna@corp.example"},
		{"Correct-Horse-7", wire.DomainUnknown, "C…"},
		{"p@ss.word", wire.DomainUnknown, "p…"},
		{"éa", wire.DomainUnknown, "é…"},
		{"", wire.DomainUnknown, ""},
	} {
		if got := loggedName(c.typed, c.code); got != c.want {
			t.Errorf("%q with %d: %q, not %q", c.typed, c.code, got, c.want)
		}
	}
}
