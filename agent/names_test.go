package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// spellings are wire/testdata/names.json, which the service is held to as well.
type spellings struct {
	Folds []struct {
		Comment, Fold string
		Names         []string
	}
	Unfit []string
}

func readSpellings(t *testing.T) (s spellings) {
	t.Helper()
	text, err := os.ReadFile("../wire/testdata/names.json")
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

// The one form that services send, and nothing that merely looks like it.
func TestAskable(t *testing.T) {
	for name, want := range map[string]bool{
		"anna@corp.example": true, "anna@az-AZ-09.example": true, "o'neill.x_1@c.d": true, "änna@corp.example": true,
		"": false, "anna": false, "@": false, "anna@": false, "@corp.example": false, "anna@corp@example.test": false, "anna@corp..example": false, "anna@.corp": false,
		"anna@corp": false, "anna@corp.": false, "anna@corp.x/": false, "anna@corp.x:": false, "anna@corp.x[": false, "anna@corp.x`": false, "anna@corp.x{": false,
		"anna@cörp.x": false, "anna@corp_1.x": false, "anna@corp.x\xff": false, "an\xffna@corp.x": false, "an na@corp.x": false, "anna@corp.x example": false,
		`CORP\anna@corp.x`: false, "CN=anna@corp.x": false,
	} {
		if askable(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestSpellings(t *testing.T) {
	s := readSpellings(t)
	for _, g := range s.Folds {
		for _, n := range append(g.Names, g.Fold) {
			if got := foldName(n); got != g.Fold {
				t.Errorf("%s: %q folds to %q, want %q", g.Comment, n, got, g.Fold)
			}
			local, domain, _ := strings.Cut(n, "@")
			plain := !strings.ContainsFunc(domain, func(r rune) bool { return r > 0x7f })
			if askable(n) != plain {
				t.Errorf("%s: %q is askable: %v", g.Comment, n, !plain)
			}
			if !askable(local + "@corp.example") {
				t.Errorf("%s: %q is not askable", g.Comment, local)
			}
		}
	}
	for _, n := range s.Unfit {
		if askable(n) {
			t.Errorf("%q is askable", n)
		}
	}
}

func FuzzFoldName(f *testing.F) {
	for _, s := range []string{"ada@corp.example", "ádá @corp.example", "ada@\uff23orp\u3002example", "\xff", "a@b@c", "が@ß.example", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once := foldName(name)
		if again := foldName(once); again != once {
			t.Fatalf("%q folds to %q, and that to %q", name, once, again)
		}
		if askable(name) && (strings.ContainsFunc(name, unfit) || strings.Count(name, "@") != 1) {
			t.Fatalf("%q", name)
		}
	})
}

// Whoever can seal to the agent – a gateway – must not get past the limit of a name by spelling it in other ways.
func TestSpellingsDoNotGetPastTheLimit(t *testing.T) {
	b := newBench(t, slog.LevelError, Limits{})
	names := readSpellings(t).Unfit
	names = append(names, "anna", `CORP\anna`, "CN=anna,OU=Staff,DC=corp,DC=example", "corp.example/Staff/anna", "anna@corp.example@corp.example",
		"anna@", "@corp.example", "", "anna@CORP", "anna@localhost", "anna@.corp.example", "anna@corp.example.", "anna@corp..example", "anna@corp_.example",
		"{6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e}", "S-1-5-21-1-2-3-1103", "anna\xff@corp.example")
	for i, n := range names {
		s := b.seal(b.binding(strings.Repeat("u", 1+i%100)+string(rune('a'+i/100))), n, "guess-canary", false)
		if r := b.answerer.Check(t.Context(), s.Check, b.noFence); r.Refused != wire.AgentRefused {
			t.Fatalf("%q: %v %q", n, r.Refused, r.Detail)
		}
	}
	first := []string{"a", "á", "à", "â", "ä", "ã", "å", "ａ", "A", "Á"}
	limited := 0
	for i, a := range first {
		for j, last := range first {
			s := b.seal(b.binding("spelling-"+string(rune('a'+i))+string(rune('a'+j))), a+"nn"+last+"@corp.example", "guess-canary", false)
			if r := b.answerer.Check(t.Context(), s.Check, s.goes); r.Refused == wire.AgentRateLimited {
				limited++
			}
		}
	}
	// A token comes back every five seconds, which a busy machine may take for the loop.
	if n := b.corp.bindsSoFar(); n > defaultNameBurst+5 || limited+n != 100 {
		t.Errorf("%d binds for 100 spellings of one name, %d refused", n, limited)
	}
}

// Whatever a real domain controller takes for an account's name counts as that account, or nobody is asked about it.
func TestSpellingsThatSambaTakes(t *testing.T) {
	ada := people.Person{SAM: "ada", UPN: "ada@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}
	dc := sambatest.Start(t, samba.Options{LockoutThreshold: -1}, ada)
	admin, err := dc.Administrator(t.Context())
	directorytest.Must(t, err)
	defer admin.Close()
	extended := goldap.NewControlString("1.2.840.113556.1.4.529", false, "\x30\x03\x02\x01\x01") // <GUID=…>;<SID=…>;DN
	found, err := admin.Search(&goldap.SearchRequest{BaseDN: dc.DN(ada), Filter: "(objectClass=*)", Attributes: []string{"1.1"}, Controls: []goldap.Control{extended}})
	directorytest.Must(t, err)
	ids := strings.Split(found.Entries[0].DN, ";")
	names := []string{`ada\0@corp.example.com`, `\a\d\a@corp.example.com`, ids[0] + ";cn=x@corp.example.com", ids[1] + ";cn=y,dc=z@corp.example.com"}
	taken := len(names)
	for c := '!'; c <= '~'; c++ {
		for at := range len("ada") + 1 {
			names = append(names, "ada"[:at]+string(c)+"ada"[at:]+"@corp.example.com")
		}
	}
	s, err := dc.Connect(t.Context())
	directorytest.Must(t, err)
	defer s.Close()
	for i, name := range names {
		if s.Bind(name, people.RightPassword) != nil {
			if i < taken {
				t.Errorf("%q is taken no more: what is this test for?", name)
			}
		} else if askable(name) && foldName(name) != foldName(ada.UPN) {
			t.Errorf("%q is ada, and counts as somebody else", name)
		}
	}
}
