package reglog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

// made is an export made without a database, with the keys to make others.
type made struct {
	origin, private, key string
	entries              [][]byte
}

func newMade(t testing.TB, tenantID string, n int) made {
	t.Helper()
	m := made{origin: OriginOf(trustDomain, tenantID)}
	var err error
	if m.private, m.key, err = newKey(m.origin); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m.entries = append(m.entries, newEntry(int64(i), tenant.Event{What: "agent.register", Agent: string(rune('a' + i))}, tenant.Actor{Kind: "service"}, now).Encode())
	}
	return m
}

// lines are a key, the entries with a chain that fits them, and no checkpoint.
func (m made) lines() []string {
	out, chain := []string{string(Record{Log: m.origin, Key: m.key}.Line())}, beginChain(m.origin)
	for _, e := range m.entries {
		chain = nextChain(chain, e)
		out = append(out, string(Record{Log: m.origin, Chain: hex.EncodeToString(chain), Entry: e}.Line()))
	}
	return out
}

// checkpoint signs the first n entries.
func (m made) checkpoint(t testing.TB, n int64) string {
	t.Helper()
	s := &state{}
	for i, e := range m.entries[:n] {
		hashes, err := tlog.StoredHashes(int64(i), e, s)
		if err != nil {
			t.Fatal(err)
		}
		s.hashes = append(s.hashes, hashes...)
	}
	root, err := tlog.TreeHash(n, s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sign(m.private, m.origin, n, root)
	if err != nil {
		t.Fatal(err)
	}
	return c.Note
}

func (m made) signed(t testing.TB, n int64) string {
	return string(Record{Log: m.origin, Checkpoint: m.checkpoint(t, n)}.Line())
}

func (m made) file(t testing.TB) []string {
	return append(m.lines(), m.signed(t, int64(len(m.entries))))
}

// TestTamperedFile alters a whole file in every way that matters, and wants the first entry that is broken to be named.
func TestTamperedFile(t *testing.T) {
	const n = 9
	m, other := newMade(t, "one", n), newMade(t, "two", n)
	impostor := newMade(t, "one", n) // the same log's name, another key
	altered := m
	altered.entries = slices.Clone(m.entries)
	altered.entries[5] = bytes.Replace(m.entries[5], []byte(`"f"`), []byte(`"F"`), 1)
	inserted := m
	inserted.entries = slices.Insert(slices.Clone(m.entries), 5, newEntry(5, tenant.Event{What: "x"}, tenant.Actor{Kind: "service"}, now).Encode())
	trusted := Trust{Keys: []string{m.key}}
	at := func(trust Trust, n int64) Trust {
		trust.Checkpoints = append(trust.Checkpoints, m.checkpoint(t, n))
		return trust
	}
	good := m.file(t)
	for _, c := range []struct {
		name  string
		lines []string
		trust Trust
		words string // "" for whole
		entry int64
	}{
		{"untouched", good, at(at(trusted, 4), n), "", -1},
		{"untouched, own key", good, Trust{}, "", -1},
		{"untouched, own key, and a checkpoint kept apart", good, at(Trust{}, 4), "", -1},
		{"no key but a checkpoint kept apart", good[1 : n+1], at(Trust{}, 4), "holds no key", -1},
		{"a fork below what agrees", append(slices.Clone(good), altered.signed(t, 7)), trusted, "the log forks: a checkpoint of 7 entries tells another history than one of 9", -1},
		{"a fork at what agrees", append(slices.Clone(good), altered.signed(t, n)), trusted, "the log forks: a checkpoint of 9 entries", -1},
		{"an entry repeated as it is", slices.Insert(slices.Clone(good), 6, good[3]), trusted, "", -1},
		{"entry altered", slices.Replace(slices.Clone(good), 6, 7, altered.lines()[6]), trusted, "breaks at entry 6: it was altered, or one of 0 to 5", 6},
		{"the same, with an older checkpoint", slices.Replace(slices.Clone(good), 6, 7, altered.lines()[6]), at(trusted, 5), "one of 5 to 5", 6},
		{"entry altered, its chain kept", slices.Replace(slices.Clone(good), 6, 7, strings.Replace(good[6], `"f"`, `"F"`, 1)), trusted, "breaks at entry 5", 5},
		{"the same, with a checkpoint up to it", slices.Replace(slices.Clone(good), 6, 7, strings.Replace(good[6], `"f"`, `"F"`, 1)), at(trusted, 5), "entry 5 was altered", 5},
		{"entry altered, chain made anew", append(altered.lines(), good[n+1]), trusted, "not those that were signed", 0},
		{"the same, an older checkpoint between", slices.Insert(append(altered.lines(), good[n+1]), 5, m.signed(t, 4)), trusted, "among 4 to 8", 4},
		{"the same, signed anew with another key", append(altered.lines(), impostor.signed(t, n)), trusted, "forged", -1},
		{"entry removed", slices.Delete(slices.Clone(good), 4, 5), trusted, "entry 3 is missing", 3},
		{"first entry removed", slices.Delete(slices.Clone(good), 1, 2), trusted, "begins with entry 1", 0},
		{"entries reordered", slices.Concat(good[:4], good[5:6], good[4:5], good[6:]), trusted, "entry 3 is missing", 3},
		{"entry inserted", slices.Insert(slices.Clone(good), 6, inserted.lines()[6]), trusted, "entry 5 comes again where entry 6", 6},
		{"entry of another log", slices.Insert(slices.Clone(good), 6, strings.Replace(other.lines()[6], other.origin, m.origin, 1)), trusted, "breaks at entry 5", 5},
		{"an index twice", slices.Insert(slices.Clone(good), 7, altered.lines()[6]), trusted, "entry 5 comes again", 6},
		{"tail cut, the old checkpoint kept", slices.Concat(good[:6], good[n+1:]), trusted, "entry 5 and those after it are missing", 5},
		{"tail cut with the checkpoint", append(slices.Clone(good[:6]), m.signed(t, 5)), at(trusted, 8), "entry 5 and those after it are missing", 5},
		{"no checkpoint", good[:n+1], trusted, "no signed checkpoint", -1},
		{"nothing but a torn line", slices.Insert(slices.Clone(good), 3, good[3][:40]), trusted, "line 4 cannot be read", 2},
		{"checkpoint altered", append(slices.Clone(good[:n+1]), strings.Replace(good[n+1], `\n9\n`, `\n8\n`, 1)), trusted, "forged", -1},
		{"checkpoint of another log", append(slices.Clone(good[:n+1]), string(Record{Log: m.origin, Checkpoint: other.checkpoint(t, 9)}.Line())), trusted, "forged", -1},
		{"another key in the file", impostor.file(t), trusted, "is not the one given", -1},
		{"a key that changes", slices.Insert(slices.Clone(good), 5, impostor.lines()[0]), Trust{}, "key changes", -1},
		{"the key of another log", slices.Replace(slices.Clone(good), 0, 1, string(Record{Log: m.origin, Key: other.key}.Line())), Trust{}, "not of this log", -1},
		{"no key at all", good[1:], Trust{}, "before the log's key", -1},
		{"an entry cannot be canonical in another way", slices.Replace(slices.Clone(good), 6, 7, strings.Replace(good[6], `"entry":{`, `"entry": {`, 1)), trusted, "line 7 cannot be read", 5},
	} {
		found, err := Verify(strings.NewReader(text(c.lines)), c.trust)
		if err != nil || len(found) != 1 || found[0].Whole() != (c.words == "") || !strings.Contains(found[0].Broken, c.words) || found[0].Entry != c.entry {
			t.Errorf("%s: %+v, %v; want %q and entry %d", c.name, found, err, c.words, c.entry)
		}
	}
}

// Findings count what fits, up to what is wrong and no further.
func TestFindings(t *testing.T) {
	const n = 9
	m := newMade(t, "one", n)
	good := m.file(t)
	forged := strings.Replace(m.signed(t, 4), `\n4\n`, `\n3\n`, 1)
	_, root, _ := strings.Cut(m.checkpoint(t, n), "\n9\n")
	_, part, _ := strings.Cut(m.checkpoint(t, 4), "\n4\n")
	root, _, _ = strings.Cut(root, "\n")
	part, _, _ = strings.Cut(part, "\n")
	for _, c := range []struct {
		name, file string
		want       Finding
	}{
		{"whole", text(good), Finding{Entries: n, Signed: n, Root: root, Held: 1, Entry: -1}},
		{"whole, without the last end of line", strings.TrimSuffix(text(good), "\n"), Finding{Entries: n, Signed: n, Root: root, Held: 1, Entry: -1}},
		{"a forged checkpoint in the middle", text(slices.Insert(slices.Clone(good), 5, forged)), Finding{Entries: 4, Root: part, Line: 6, Entry: -1}},
		{"a torn last line", text(good) + good[3][:40], Finding{Entries: n, Signed: n, Root: root, Held: 1, Line: n + 3, Entry: n}},
	} {
		found, err := Verify(strings.NewReader(c.file), Trust{Keys: []string{m.key}})
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %+v, %v", c.name, found, err)
			continue
		}
		if found[0].Whole() != (c.want.Line == 0) {
			t.Errorf("%s: %q", c.name, found[0].Broken)
		}
		c.want.Log, c.want.Key, c.want.Broken = m.origin, m.key, found[0].Broken
		if found[0] != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, found[0], c.want)
		}
	}
	if got, err := ReadCheckpoints(strings.NewReader(strings.TrimSuffix(text(good), "\n"))); err != nil || len(got) != 1 {
		t.Errorf("the last checkpoint, without an end of line: %d, %v", len(got), err)
	}
}

func TestSeveralLogsInAFile(t *testing.T) {
	a, b := newMade(t, "one", 3), newMade(t, "two", 4)
	mixed := slices.Concat(a.lines(), b.file(t), []string{a.signed(t, 3)})
	found, err := Verify(strings.NewReader(text(mixed)), Trust{Keys: []string{b.key, a.key}})
	if err != nil || len(found) != 2 || !found[0].Whole() || !found[1].Whole() || found[0].Log != a.origin || found[1].Entries != 4 {
		t.Errorf("%+v, %v", found, err)
	}
	broken := strings.Replace(text(mixed), `"agent":"b"`, `"agent":"B"`, 1) // of the first log alone
	found, err = Verify(strings.NewReader(broken), Trust{})
	if err != nil || found[0].Whole() || found[0].Entry != 1 || !found[1].Whole() {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	m, other := newMade(t, "one", 2), newMade(t, "two", 2)
	good := text(m.file(t))
	for _, c := range []struct {
		name, file string
		trust      Trust
		words      string
	}{
		{"an empty file", "", Trust{}, "holds no registration log"},
		{"something else", "Dear Sirs\n", Trust{}, "no export"},
		{"a line without end", strings.Repeat("x", 3*maxLine), Trust{}, "longer than"},
		{"the wrong tenant's key", good, Trust{Keys: []string{other.key}}, "of which the file holds nothing"},
		{"the wrong tenant's checkpoint", good, Trust{Checkpoints: []string{other.checkpoint(t, 2)}}, "of which the file holds nothing"},
		{"a key that is none", good, Trust{Keys: []string{"key"}}, "no verifier key"},
		{"a checkpoint that is none", good, Trust{Checkpoints: []string{"hello"}}, "three lines"},
	} {
		if _, err := Verify(strings.NewReader(c.file), c.trust); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", c.name, err, c.words)
		}
	}
}

func TestReadCheckpoints(t *testing.T) {
	m := newMade(t, "one", 3)
	for name, c := range map[string]struct {
		file string
		n    int // -1: refused
	}{
		"a checkpoint": {m.checkpoint(t, 2), 1}, "an export": {text(append(m.file(t), m.signed(t, 1))), 2}, "an export without": {text(m.lines()), -1},
		"as long as may be": {strings.Repeat("x", maxCheckpoint), 1},
		"no end":            {strings.Repeat("x", maxCheckpoint+1), -1}, "broken": {"{\n", -1},
	} {
		got, err := ReadCheckpoints(strings.NewReader(c.file))
		if (err != nil) != (c.n < 0) || err == nil && len(got) != c.n {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
	}
}

// A file that cannot be read to its end is no whole file, wherever the reading stops.
func TestReadingFails(t *testing.T) {
	m := newMade(t, "one", 3)
	good, disk := text(m.file(t)), errors.New("the disk has gone")
	for what, n := range map[string]int{"after the last line": len(good), "within it": len(good) - 5, "at the beginning": 0} {
		reader := func() io.Reader { return io.MultiReader(strings.NewReader(good[:n]), iotest.ErrReader(disk)) }
		if found, err := Verify(reader(), Trust{}); !errors.Is(err, disk) {
			t.Errorf("%s: %+v, %v", what, found, err)
		}
		if got, err := ReadCheckpoints(reader()); !errors.Is(err, disk) {
			t.Errorf("%s: %d checkpoints, %v", what, len(got), err)
		}
	}
}

// TestCheckpointForm holds the form to what C2SP says of it, by hand.
func TestCheckpointForm(t *testing.T) {
	m := newMade(t, "one", 2)
	lines := strings.Split(m.checkpoint(t, 2), "\n")
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if len(lines) != 6 || lines[0] != m.origin || lines[1] != "2" || err != nil || len(root) != 32 || lines[3] != "" ||
		!strings.HasPrefix(lines[4], "— "+m.origin+" ") || lines[5] != "" {
		t.Errorf("%q", lines)
	}
	// RFC 6962 §2.1: MTH({d0, d1}) = SHA-256(0x01 || SHA-256(0x00 || d0) || SHA-256(0x00 || d1)).
	want := tlog.NodeHash(tlog.RecordHash(m.entries[0]), tlog.RecordHash(m.entries[1]))
	if !bytes.Equal(root, want[:]) {
		t.Errorf("root %x, want %x", root, want)
	}
}

// A signature alone makes no checkpoint: the text must be one, of the log that the key is of.
func TestOpenCheckpoint(t *testing.T) {
	const origin = "sallyport.example/tenant/one"
	private, key, err := newKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(lines ...string) string {
		text, err := note.Sign(&note.Note{Text: strings.Join(lines, "\n") + "\n"}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	hash := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	good := signed(origin, "5", hash(32))
	if c, err := OpenCheckpoint(good, key); err != nil || c.Origin != origin || c.Size != 5 || c.Note != good {
		t.Errorf("%+v, %v", c, err)
	}
	extended := func(length int) string {
		empty := signed(origin, "5", hash(32), "")
		return signed(origin, "5", hash(32), strings.Repeat("x", length-len(empty)))
	}
	if _, err := OpenCheckpoint(extended(maxCheckpoint), key); err != nil {
		t.Errorf("with extensions: %v", err)
	}
	_, other, err := newKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, key, words string }{
		{"too long", extended(maxCheckpoint + 1), key, "too long"},
		{"another key of the log", good, other, "not signed by"},
		{"no key", good, "key", "cannot be read"},
		{"of another log", signed(origin+"2", "5", hash(32)), key, "it is of the log " + origin + "2"},
		{"two lines", signed(origin, "5"), key, "three lines"},
		{"a size below zero", signed(origin, "-5", hash(32)), key, "no number"},
		{"a size with a sign", signed(origin, "+5", hash(32)), key, "no number"},
		{"a size with a zero before it", signed(origin, "05", hash(32)), key, "no number"},
		{"no size", signed(origin, "", hash(32)), key, "no number"},
		{"a short root", signed(origin, "5", hash(31)), key, "no hash"},
		{"a long root", signed(origin, "5", hash(33)), key, "no hash"},
		{"a root that is none", signed(origin, "5", "="), key, "no hash"},
		{"a root written otherwise", signed(origin, "5", strings.TrimSuffix(hash(32), "A=")+"B="), key, "no hash"},
		{"no origin", signed("", "5", hash(32)), key, "no hash"},
	} {
		if got, err := OpenCheckpoint(c.text, c.key); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// fuzzKey is a key of no log but the fuzz target's, the same in each of its processes so that kept inputs stay signed.
const (
	fuzzPrivate = "PRIVATE+KEY+login.example.com/tenant/one+ef3ba8d3+AUX8a3Bxf4kUv+jywoHLa5o4jVWeHMaDaVxul2fcn9cW"
	fuzzKey     = "login.example.com/tenant/one+ef3ba8d3+Aa9Lmnehz70V16y9ashUhAuNT8AbnEOs5aIiq4mIddyj"
)

func FuzzVerify(f *testing.F) {
	m := newMade(f, "one", 3)
	m.private, m.key = fuzzPrivate, fuzzKey
	good := text(m.file(f))
	f.Add(good)
	f.Add(strings.Replace(good, `"agent":"b"`, `"agent":"B"`, 1))
	f.Fuzz(func(t *testing.T, file string) {
		found, err := Verify(strings.NewReader(file), Trust{})
		again, errAgain := Verify(strings.NewReader(file), Trust{})
		if (err == nil) != (errAgain == nil) || !slices.Equal(found, again) {
			t.Fatal("two readings differ")
		}
		for _, x := range found {
			if x.Whole() && (x.Key == "" || x.Held == 0 || x.Signed > x.Entries) {
				t.Errorf("whole without a signature: %+v", x)
			}
			// What is whole by our key is what we made.
			if trusted, err := Verify(strings.NewReader(file), Trust{Keys: []string{m.key}}); err == nil {
				for _, x := range trusted {
					if x.Log == m.origin && x.Whole() && x.Signed > int64(len(m.entries)) {
						t.Errorf("signed what was never signed: %+v", x)
					}
				}
			}
		}
		for line := range strings.Lines(file) {
			line = strings.TrimSuffix(line, "\n")
			if r, _, err := DecodeRecord([]byte(line)); err == nil && string(r.Line()) != line {
				t.Errorf("%q is written in two ways", line)
			}
		}
	})
}
