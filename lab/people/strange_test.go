package people

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStrange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	planes, longest, names := map[rune]bool{}, 0, map[string]bool{}
	for i := range 2000 {
		p := StrangePassword(r)
		if p == "" || Units(p) > 256 || !utf8.ValidString(p) || strings.ContainsRune(p, 0) {
			t.Fatalf("%+q", p)
		}
		longest = max(longest, Units(p))
		for _, c := range p {
			planes[c>>16] = true
		}
		near := Near(r, p)
		for _, n := range near {
			if n == p || n == "" || !utf8.ValidString(n) || strings.ContainsRune(n, 0) {
				t.Fatalf("%+q near %+q", n, p)
			}
		}
		if len(near) < 2 || len(near) > 4 {
			t.Fatalf("%d near %+q", len(near), p)
		}
		n := StrangeName(r, i)
		if names[n] || !utf8.ValidString(n) || strings.ContainsAny(n, "@\\= ") {
			t.Fatalf("%+q", n)
		}
		names[n] = true
	}
	if longest != 256 || len(planes) != 17 {
		t.Errorf("at most %d units, %d planes", longest, len(planes))
	}
}
