package signin

import "testing"

func TestLoggedName(t *testing.T) {
	for _, c := range []struct {
		typed string
		known bool
		want  string
	}{
		{"anna@corp.example", true, "anna@corp.example"},
		{"Correct-Horse-7", false, "C…"},
		{"p@ss.word", false, "p…"},
		{"éa", false, "é…"},
		{"", false, ""},
	} {
		if got := loggedName(c.typed, c.known); got != c.want {
			t.Errorf("%q, known: %t: %q, not %q", c.typed, c.known, got, c.want)
		}
	}
}
