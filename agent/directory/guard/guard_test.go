package guard

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	five := Policy{Threshold: 5, Duration: 30 * time.Minute, Window: 10 * time.Minute}
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	for _, test := range []struct {
		name    string
		policy  Policy
		count   int
		last    time.Time
		reserve int
		spend   bool
		left    int
	}{
		{"nothing ever locks", Policy{}, 4711, ago(time.Second), 1, true, 0},
		{"nobody mistyped", five, 0, time.Time{}, 1, true, 5},
		{"three wrong", five, 3, ago(time.Minute), 1, true, 2},
		{"the next one locks", five, 4, ago(time.Minute), 1, false, 1},
		{"it is locked, or about to be", five, 5, ago(time.Minute), 1, false, 0},
		{"more than the threshold, as after it was lowered", five, 9, ago(time.Minute), 1, false, 0},
		{"the next one locks, at the end of the window", five, 4, ago(10 * time.Minute), 1, false, 1},
		{"just over, by less than clocks differ", five, 4, ago(10*time.Minute + time.Second), 1, false, 1},
		{"the window is over", five, 4, ago(11 * time.Minute), 1, true, 5},
		{"the last wrong one lies ahead, by the clocks", five, 4, ago(-time.Minute), 1, false, 1},
		{"a window without end", Policy{Threshold: 5, Window: Forever}, 4, ago(10000 * time.Hour), 1, false, 1},
		{"a count without a time", five, 4, time.Time{}, 1, true, 5},
		{"a count without a time, where nothing is forgotten", Policy{Threshold: 5, Window: Forever}, 4, time.Time{}, 1, true, 5},
		{"a reserve of three", five, 2, ago(time.Minute), 3, false, 3},
		{"a reserve of three, one wrong", five, 1, ago(time.Minute), 3, true, 4},
		{"a reserve as large as the threshold leaves the first attempt", five, 0, time.Time{}, 9, true, 5},
		{"and no second", five, 1, ago(time.Minute), 9, false, 4},
		{"a reserve of none is one", five, 4, ago(time.Minute), 0, false, 1},
		{"every wrong password locks", Policy{Threshold: 1, Window: time.Minute}, 0, time.Time{}, 1, false, 1},
		{"two lock", Policy{Threshold: 2, Window: time.Minute}, 0, time.Time{}, 1, true, 2},
		{"a count that is none", five, -3, ago(time.Minute), 1, true, 5},
	} {
		d := Decide(test.policy, test.count, test.last, noon, test.reserve)
		if d.Spend != test.spend || d.Left != test.left {
			t.Errorf("%s: %+v", test.name, d)
		}
		var until time.Time
		if !test.spend && test.policy.Window != Forever && !test.last.IsZero() {
			until = test.last.Add(test.policy.Window + clockSlack)
		}
		if !d.Until.Equal(until) {
			t.Errorf("%s: until %s, want %s", test.name, d.Until, until)
		}
	}
}

// Whoever spends an attempt only when Decide says so never locks an account that counts as Active Directory does, whatever is typed and
// however slowly.
func TestDecideNeverLocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Threshold: rapid.IntRange(1, 12).Draw(t, "threshold"), Window: time.Duration(rapid.IntRange(1, 30).Draw(t, "window")) * time.Minute}
		reserve := rapid.IntRange(-1, 14).Draw(t, "reserve")
		count, last, now := 0, time.Time{}, noon
		for range rapid.IntRange(1, 60).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Second)
			if !Decide(p, count, last, now, reserve).Spend {
				continue
			}
			if now.Sub(last) > p.Window {
				count = 0
			}
			count, last = count+1, now
			if count >= p.Threshold {
				t.Fatalf("locked: %+v, reserve %d", p, reserve)
			}
		}
	})
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		threshold, duration, window string
		want                        Policy
		ok                          bool
	}{
		{"10", "-18000000000", "-6000000000", Policy{Threshold: 10, Duration: 30 * time.Minute, Window: 10 * time.Minute}, true},
		{"0", "0", "-18000000000", Policy{Window: 30 * time.Minute}, true},
		{"3", "-9223372036854775808", "-9223372036854775808", Policy{Threshold: 3, Window: Forever}, true},
		{"65535", "-1", "-1", Policy{Threshold: 65535, Duration: 100, Window: 100}, true},
		{"5", "0", "-92233720368547758", Policy{Threshold: 5, Window: 9223372036854775800}, true}, // the longest that a Duration holds
		{"5", "0", "-92233720368547759", Policy{Threshold: 5, Window: Forever}, true},
		{"", "", "", Policy{}, false},
		{"10", "", "-1", Policy{}, false},
		{"10", "-1", "", Policy{}, false},
		{"-1", "-1", "-1", Policy{}, false},
		{"70000", "-1", "-1", Policy{}, false},
		{"5", "18000000000", "-1", Policy{}, false},
		{"many", "-1", "-1", Policy{}, false},
	} {
		if test.ok {
			test.want.Source = "the domain"
		}
		if got, ok := NewPolicy(test.threshold, test.duration, test.window, "the domain"); got != test.want || ok != test.ok {
			t.Errorf("%+v: %+v, %v", test, got, ok)
		}
	}
	never, two, five := Policy{}, Policy{Threshold: 2}, Policy{Threshold: 5}
	if !two.Stricter(five) || five.Stricter(two) || never.Stricter(five) || !five.Stricter(never) || never.Stricter(never) || two.Stricter(two) {
		t.Error("which policy is the stricter one")
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]struct {
		at time.Time
		ok bool
	}{
		"116444736000000010": {time.Unix(0, 1000), true},
		"1":                  {time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC), true},
		"0":                  {time.Time{}, true},
		"-1":                 {},
		"":                   {},
		"yesterday":          {},
	} {
		if at, ok := Filetime(text); ok != want.ok || !at.Equal(want.at) {
			t.Errorf("Filetime(%q) = %v, %v", text, at, ok)
		}
	}
	for text, want := range map[string]int{"0": 0, "4": 4, "2147483647": 2147483647, "-1": -1, "2147483648": -1, "": -1, "four": -1} {
		if n, ok := Count(text); ok != (want >= 0) || ok && n != want {
			t.Errorf("Count(%q) = %d, %v", text, n, ok)
		}
	}
}

// Only S-1-5-21-a-b-c-RID is an account of a domain: with any other byte changed before the domain's own three numbers it is none.
func TestRID(t *testing.T) {
	if rid, ok := RID(sidOf(1500)); !ok || rid != 1500 {
		t.Errorf("%d, %v", rid, ok)
	}
	for i := range 12 {
		sid := sidOf(1500)
		sid[i]++
		if rid, ok := RID(sid); ok {
			t.Errorf("%x has the RID %d", sid, rid)
		}
	}
	for _, sid := range [][]byte{nil, sidOf(1500)[:24], append(sidOf(1500), 0)} {
		if _, ok := RID(sid); ok {
			t.Errorf("%x has a RID", sid)
		}
	}
}

func sidOf(rid uint32) []byte {
	sid := []byte{1, 5, 0, 0, 0, 0, 0, 5}
	for _, part := range []uint32{21, 1004336348, 1177238915, 682003330, rid} {
		sid = binary.LittleEndian.AppendUint32(sid, part)
	}
	return sid
}

func TestProtection(t *testing.T) {
	p := Protection{Names: []string{"svc-backup"}}
	for typed, want := range map[string]bool{"Administrator@corp.example": true, "KRBTGT@corp.example": true, "SVC-Backup@corp": true, `CORP\krbtgt@corp.example`: true, `CORP\krbtgt`: true,
		"administrators@corp.example": false, "anna@corp.example": false, "@corp": false} {
		if p.Named(typed, strings.ToLower) != want {
			t.Errorf("%s: protected %v", typed, !want)
		}
	}
	for _, test := range []struct {
		account string
		sid     []byte
		want    bool
	}{
		{"root", sidOf(500), true}, // renamed
		{"k", sidOf(502), true},
		{"guest", sidOf(501), false},
		{"anna", sidOf(1500), false},
		{"SVC-BACKUP", sidOf(1600), true},
		{"administrator", nil, true},
		{"anna", append(sidOf(1500), 0xf4, 1, 0, 0), false}, // no SID of a domain
		{"anna", nil, false},
	} {
		if p.Protects(test.account, test.sid) != test.want {
			t.Errorf("%s: protected %v", test.account, !test.want)
		}
	}
}

func TestProtectionCheck(t *testing.T) {
	for _, p := range []Protection{{Names: []string{""}}, {Names: []string{"a@corp"}}, {Names: []string{`CORP\a`}}, {Groups: []string{"Domain Admins"}},
		{Groups: []string{""}}, {Names: slices.Repeat([]string{"a"}, maxNames+1)}, {Groups: slices.Repeat([]string{"CN=a"}, maxGroups+1)},
		{Names: []string{strings.Repeat("a", maxText+1)}}, {Groups: []string{"CN=" + strings.Repeat("a", maxText-2)}}} {
		if p.Check() == nil {
			t.Errorf("accepted: %.80v", p)
		}
	}
	for _, p := range []Protection{
		{Names: []string{"svc"}, Groups: []string{"CN=Domain Admins,CN=Users,DC=corp,DC=example"}},
		{Names: slices.Repeat([]string{strings.Repeat("a", maxText)}, maxNames), Groups: slices.Repeat([]string{"CN=" + strings.Repeat("a", maxText-3)}, maxGroups)},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("refused: %.80v: %v", p, err)
		}
	}
}

// FuzzValues feeds what a directory says of an account and of its policy.
func FuzzValues(f *testing.F) {
	f.Add("5", "-18000000000", "-18000000000", "4", "134169264000000000", sidOf(500))
	f.Add("", "", "-9223372036854775808", "-1", "9223372036854775807", []byte{1, 5})
	f.Fuzz(func(t *testing.T, threshold, duration, window, count, last string, sid []byte) {
		if rid, ok := RID(sid); ok && !bytes.HasSuffix(sid, binary.LittleEndian.AppendUint32(nil, rid)) {
			t.Errorf("%x has the RID %d", sid, rid)
		}
		p, ok := NewPolicy(threshold, duration, window, "")
		if !ok {
			return
		}
		if p.Threshold < 0 || p.Duration < 0 || p.Window < 0 {
			t.Errorf("%+v", p)
		}
		n, okCount := Count(count)
		at, okLast := Filetime(last)
		if !okCount || !okLast {
			return
		}
		if d := Decide(p, n, at, at, 1); p.Threshold > 0 && !at.IsZero() && d.Spend == (n >= p.Threshold-1) {
			t.Errorf("%+v, %d wrong passwords, the last just now: %+v", p, n, d)
		}
	})
}
