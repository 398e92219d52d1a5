package password

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// spellings are wire/testdata/names.json, which the agent is held to as well.
type spellings struct {
	Folds []struct {
		Comment, Fold string
		Names         []string
	}
	Unfit []string
}

func readSpellings(t *testing.T) (s spellings) {
	t.Helper()
	text, err := os.ReadFile("../../wire/testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Folds) < 10 || len(s.Unfit) < 300 {
		t.Fatalf("%d groups, %d unfit names", len(s.Folds), len(s.Unfit))
	}
	return s
}

func TestSpellings(t *testing.T) {
	s := readSpellings(t)
	for _, g := range s.Folds {
		for _, n := range append(g.Names, g.Fold) {
			if got := fold(n); got != g.Fold {
				t.Errorf("%s: %q folds to %q, want %q", g.Comment, n, got, g.Fold)
			}
			if _, form, _ := nameOf(n); form != formUPN {
				t.Errorf("%s: %q is %s", g.Comment, n, form)
			}
		}
	}
	for _, n := range s.Unfit {
		if name, form, domain := nameOf(n); strings.TrimSpace(n) == n && (form != formUnusable || name != "" || domain != "") {
			t.Errorf("%q is %s: %q, %q", n, form, name, domain)
		}
	}
}

// The edges of the rule, beside what both programs hold to.
func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"Þórður":         "thordur",
		"Đuro":           "duro",
		"\u3041\u3096":   "\u30a1\u30f6", // the first and the last hiragana
		"a$+b~":          "a$+b~",
		"a\u20ac\u00a9b": "ab", // symbols beyond ASCII
		"a\tb\x7f":       "ab",
		"a\U00010400b":   "ab", // beyond the basic plane
		"a\xff\u00e9b":   "aeb",
		"\u02b0a":        "ha",
		"a\u02bbb":       "ab", // a letter that only modifies
	} {
		if got := fold(name); got != want {
			t.Errorf("%q folds to %q, want %q", name, got, want)
		}
	}
}

// What is sent is what was typed, but for the domain.
func TestNameOf(t *testing.T) {
	for _, c := range []struct{ typed, name, form, domain string }{
		{"ada@corp.example", "ada@corp.example", formUPN, "corp.example"},
		{" Ada@Corp.Example\t", "Ada@corp.example", formUPN, "corp.example"},
		{"Zoë.O'Neill-ß@corp.example", "Zoë.O'Neill-ß@corp.example", formUPN, "corp.example"},
		{"ada@\uff23orp\u3002example", "ada@corp.example", formUPN, "corp.example"},
		{"ada@bücher.example", "ada@xn--bcher-kva.example", formUPN, "xn--bcher-kva.example"},
		{"ada@corp.example.", "ada@corp.example.", formUPN, "corp.example."},
		{"ada@localhost", "ada@localhost", formUPN, "localhost"},
		{"ada@corp@corp.example", "", formUnusable, ""},
		{"ada\u00ad@corp.example", "", formUnusable, ""},
		{"ada lovelace", "", formUnusable, ""},
		{`CORP\ada`, `CORP\ada`, formDownLevel, ""},
		{"@corp.example", "@corp.example", formBare, ""},
		{"ada@", "ada@", formBare, ""},
	} {
		if name, form, domain := nameOf(c.typed); name != c.name || form != c.form || domain != c.domain {
			t.Errorf("%q: %q, %s, %q", c.typed, name, form, domain)
		}
	}
}

func FuzzNameOf(f *testing.F) {
	for _, s := range []string{"ada@corp.example", "ádá @corp.example", "ada@\uff23orp\u3002example", "\xff", "a@b@c", "が@ß.example", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		name, form, domain := nameOf(typed)
		if strings.ContainsFunc(name, unfit) {
			t.Fatalf("%q is let through as %q", typed, name)
		}
		if form == formUPN && !strings.HasSuffix(name, "@"+domain) {
			t.Fatalf("%q: %q, %q", typed, name, domain)
		}
		once := fold(name)
		if again := fold(once); again != once {
			t.Fatalf("%q folds to %q, and that to %q", name, once, again)
		}
		if name, form, _ := nameOf(once); form != formUnusable && fold(name) != once {
			t.Fatalf("%q", once)
		}
	})
}

// One account must not have as many lockout budgets as it has spellings.
func TestSpellingsShareOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var variants []string
		for _, c1 := range []string{"a", "á", "à", "â", "ä", "ã", "å", "ａ"} {
			for _, c2 := range []string{"a", "ã"} {
				for _, d := range []string{"corp.example", "ｃorp.example", "co\u00adrp.example", "corp。example"} {
					variants = append(variants, c1+"d"+c2+"@"+d)
				}
			}
		}
		for i, n := range readSpellings(t).Unfit {
			if i%8 == 0 { // each waits as long as a real answer takes
				variants = append(variants, n)
			}
		}
		for _, known := range []bool{false, true} {
			w := newWorld(t)
			w.agent(t, w.a, w.dirA, w.ad.Agent)
			if known {
				w.must(t, w.a, name, right)
			}
			before, locked := len(w.queue.Binds()), 0
			for _, v := range variants {
				a := w.must(t, w.a, v, wrong)
				if a.Shown != wire.InvalidPassword {
					t.Fatalf("%q is shown %v", v, a.Shown)
				}
				if a.Code == wire.AccountLockedOut {
					locked++
				}
			}
			threshold := w.guard.Policy().Threshold
			if n := len(w.queue.Binds()) - before; n > threshold || locked < 20 {
				t.Errorf("known %v: %d spellings, %d binds, %d held back; the threshold is %d", known, len(variants), n, locked, threshold)
			}
			for _, bound := range w.queue.Binds()[before:] {
				if strings.ContainsFunc(bound, unfit) || !strings.HasSuffix(bound, "@corp.example") {
					t.Errorf("%q was sent", bound)
				}
			}
		}
	})
}

// Nothing at all happens with an unfit name: no bind, no count.
func TestUnfitNamesReachNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.agent(t, w.a, w.dirA, w.ad.Agent)
		for i, n := range readSpellings(t).Unfit {
			if i%4 != 0 || strings.TrimSpace(n) != n {
				continue
			}
			a := w.must(t, w.a, n, right)
			wantShown(t, n, a, wire.DomainUnknown, wire.InvalidPassword)
			if a.NameForm != formUnusable || a.Diagnostic == "" {
				t.Errorf("%q: %+v", n, a)
			}
		}
		if n := len(w.queue.Asks()); n != 0 {
			t.Errorf("%d asks", n)
		}
		if s, err := w.guard.State(t.Context(), w.a, ""); err != nil || s != (lockout.State{}) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Accents are part of a name, and the directory is asked about the name.
func TestAccentedNamesSignIn(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	const zoe = "Zoë.O'Neill-ß@corp.example"
	told := ada()
	told.UPN = zoe
	w.ad.Passwords[zoe], w.ad.Attributes[zoe] = right, told
	for range 2 {
		a := w.must(t, w.a, zoe, right)
		if !a.Right || a.User.UPN != zoe || a.User.Source != user.Synced {
			t.Fatalf("%+v", a)
		}
	}
	if a := w.must(t, w.a, "Zoë.O'Neill-ß@CORP。example", right); !a.Right {
		t.Errorf("with the domain in another spelling: %+v", a)
	}
}
