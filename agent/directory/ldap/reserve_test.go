package ldap

import (
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/wire"
)

// What one attempt may build on: what was counted before it looked, what is under way, and never what ended in between.
func TestReserve(t *testing.T) {
	began := time.Now()
	policy := guard.Policy{Threshold: 4, Window: 30 * time.Minute, Source: "the domain"}
	seen := func(count int) account {
		return account{key: "sue", counted: true, policy: policy, count: count, last: began.Add(-time.Minute)}
	}
	for _, test := range []struct {
		name    string
		found   []account
		running int
		ended   time.Time
		want    string
	}{
		{"nobody else", []account{seen(2)}, 0, time.Time{}, "go"},
		{"one ended before", []account{seen(2)}, 0, began.Add(-time.Second), "go"},
		{"one ended while we looked", []account{seen(0)}, 0, began.Add(time.Millisecond), "look again"},
		{"one is under way", []account{seen(1)}, 1, time.Time{}, "go"},
		{"one is under way, with which it is too many", []account{seen(2)}, 1, time.Time{}, "wait"},
		{"too many without it", []account{seen(3)}, 1, time.Time{}, "spared"},
		{"old ones are forgotten, those under way are not", []account{{key: "sue", counted: true, policy: policy, count: 3, last: began.Add(-time.Hour)}}, 3, time.Time{}, "wait"},
		{"two accounts of the name, one of which is at its end", []account{seen(0), {key: "other", counted: true, policy: policy, count: 3, last: began}}, 0, time.Time{}, "spared"},
		{"one ended while we looked at an account that is locked or unknown", []account{{key: "sue"}}, 0, began.Add(time.Millisecond), "go"},
		{"one ended while we looked at an account that nothing locks", []account{{key: "sue", counted: true, last: began}}, 0, began.Add(time.Millisecond), "go"},
		{"locked, or unknown: nothing is counted", []account{{key: "sue", policy: policy, count: 9, last: began}}, 9, time.Time{}, "go"},
		{"nobody of the name", nil, 0, time.Time{}, "go"},
	} {
		g, err := newGuardian(Guard{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		g.busy["sue"] = &attempts{running: test.running, ended: test.ended, changed: make(chan struct{})}
		done, again, e := g.reserve(test.found, began, began.Add(2*time.Millisecond))
		got := "go"
		switch {
		case e != nil && e.Code == wire.LockoutSpared:
			got = "spared"
		case again == (<-chan struct{})(atOnce):
			got = "look again"
		case again == (<-chan struct{})(g.busy["sue"].changed):
			got = "wait"
		}
		if got != test.want || (got == "spared") != (g.spared == 1) {
			t.Errorf("%s: %s, %d spared, want %s", test.name, got, g.spared, test.want)
		}
		if got != "go" {
			if g.busy["sue"].running != test.running || g.busy["other"] != nil {
				t.Errorf("%s: an attempt that was not spent is under way", test.name)
			}
			continue
		}
		changed := g.busy["sue"].changed
		done()
		if g.busy["sue"].running != test.running {
			t.Errorf("%s: %d under way at the end", test.name, g.busy["sue"].running)
		}
		if len(test.found) > 0 {
			<-changed
		}
		g.sweep(time.Now().Add(busyFor + time.Second))
		if left := len(g.busy); left != min(test.running, 1) {
			t.Errorf("%s: %d accounts remembered", test.name, left)
		}
	}
}

// Attempts of one account that overlap: each is taken off when it ends, and what ended while another one looked makes that one look again.
func TestReserveOverlaps(t *testing.T) {
	g, err := newGuardian(Guard{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	policy := guard.Policy{Threshold: 4, Window: 30 * time.Minute, Source: "the domain"}
	sue := []account{{key: "sue", counted: true, policy: policy}}
	reserve := func() func() {
		t.Helper()
		done, again, e := g.reserve(sue, began, began)
		if done == nil || again != nil || e != nil {
			t.Fatalf("%v, %v", again, e)
		}
		return done
	}
	one, two := reserve(), reserve()
	one()
	two()
	if b := g.busy["sue"]; b.running != 0 || b.ended.Before(began) {
		t.Errorf("%d under way, ended %v", b.running, b.ended)
	}
	if _, again, _ := g.reserve(sue, began, began); again != (<-chan struct{})(atOnce) {
		t.Error("counts read before two ended were believed")
	}
	<-atOnce // nobody waits for it
	ended := g.busy["sue"].ended
	if g.sweep(ended.Add(busyFor)); g.busy["sue"] == nil {
		t.Error("forgotten while somebody may still look")
	}
	if g.sweep(ended.Add(busyFor + 1)); g.busy["sue"] != nil {
		t.Error("never forgotten")
	}

	// Of very many old ones nobody waits for a sweep.
	for i := range sweepAbove - 1 {
		g.busy[strconv.Itoa(i)] = &attempts{}
	}
	reserve()()
	if len(g.busy) != sweepAbove {
		t.Errorf("%d accounts below the limit", len(g.busy))
	}
	g.busy["one more"] = &attempts{}
	began = time.Now()
	reserve()()
	if len(g.busy) != 1 {
		t.Errorf("%d accounts above the limit", len(g.busy))
	}
}

func TestSpared(t *testing.T) {
	g, err := newGuardian(Guard{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	a := account{key: "sue", counted: true, policy: guard.Policy{Threshold: 4, Window: 30 * time.Minute, Source: "the domain"}, count: 3, last: at}
	for window, want := range map[time.Duration]string{
		30 * time.Minute: "1 more wrong passwords lock the account by the policy of the domain (4), and 1 are kept in reserve; not asked until 2026-03-02T12:30:03Z",
		guard.Forever: "1 more wrong passwords lock the account by the policy of the domain (4), and 1 are kept in reserve; " +
			"not asked until an administrator unlocks it or a right password comes",
	} {
		a.policy.Window = window
		if _, _, e := g.reserve([]account{a}, at, at); e == nil || e.Cause.Error() != want {
			t.Errorf("%v", e)
		}
	}
}

// A name cannot be written so that the directory finds an account and the guard does not, nor so that it becomes part of the question.
func TestNameFilter(t *testing.T) {
	others := map[string]bool{"child.corp.example": true}
	for name, want := range map[string]string{
		"sue@corp.example":       "(&(objectClass=user)(|(userPrincipalName=sue@corp.example)(sAMAccountName=sue)(displayName=sue@corp.example)(servicePrincipalName=sue@corp.example)))",
		"sue@Child.corp.example": "(&(objectClass=user)(|(userPrincipalName=sue@Child.corp.example)(displayName=sue@Child.corp.example)(servicePrincipalName=sue@Child.corp.example)))",
		`CORP\sue@x`:             `(&(objectClass=user)(|(userPrincipalName=CORP\5csue@x)(sAMAccountName=sue)(displayName=CORP\5csue@x)(servicePrincipalName=CORP\5csue@x)))`,
		"sue":                    "(&(objectClass=user)(|(userPrincipalName=sue)(sAMAccountName=sue)(displayName=sue)(servicePrincipalName=sue)))",
		"*)(cn=*@x":              `(&(objectClass=user)(|(userPrincipalName=\2a\29\28cn=\2a@x)(sAMAccountName=\2a\29\28cn=\2a)(displayName=\2a\29\28cn=\2a@x)(servicePrincipalName=\2a\29\28cn=\2a@x)))`,
	} {
		got := nameFilter(name, others)
		if got != want {
			t.Errorf("%s: %s", name, got)
		}
		if _, err := goldap.CompileFilter(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Accounts that a name merely looks like bear no attempt at the one that has it.
func TestMeant(t *testing.T) {
	entry := func(sam, upn string) *goldap.Entry {
		return goldap.NewEntry("CN="+sam, map[string][]string{"sAMAccountName": {sam}, "userPrincipalName": {upn}})
	}
	sue, namesake, computer := entry("sue", "Sue@corp.example"), entry("sue.s", "sue@mail.example"), entry("PC1$", "")
	bare, accent := entry("bob", ""), entry("bert", "bób@corp.example")
	for _, test := range []struct {
		name, typed string
		found       []*goldap.Entry
		want        int
	}{
		{"a computer with her name as displayName", "sue@corp.example", []*goldap.Entry{computer, sue}, 1},
		{"the same local part of another suffix", " sue@MAIL.example", []*goldap.Entry{sue, namesake}, 1},
		{"two with one explicit name", "sue@corp.example", []*goldap.Entry{sue, entry("x", "sue@corp.example")}, 2},
		{"an implicit name, and a computer", "Bob@Corp.example", []*goldap.Entry{computer, bare}, 1},
		{"an implicit name, and what may be an explicit one", "bob@corp.example", []*goldap.Entry{accent, computer, bare}, 2},
		{"a name of another suffix that nobody has", "bob@mail.example", []*goldap.Entry{computer, bare}, 2},
		{"displayName alone", "sue@corp.example", []*goldap.Entry{computer}, 1},
		{"nobody", "sue@corp.example", nil, 0},
	} {
		if got := meant(test.found, test.typed, "DC=corp,DC=example"); len(got) != test.want {
			t.Errorf("%s: %d accounts", test.name, len(got))
		}
	}
}

// What a question brings back to a server that was let go meanwhile is closed: nobody would ever use it, or end it.
func TestReaderLeavesNothingBehind(t *testing.T) {
	g, err := newGuardian(Guard{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: address{host: "dc1.corp.example", port: "636"}}
	for _, left := range []bool{false, true} {
		here, there := net.Pipe()
		defer there.Close()
		l := goldap.NewConn(here, false)
		l.Start()
		c := &conn{raw: here, ldap: l}
		defer c.close()
		pool := g.pool(s.address.String())
		if left {
			g.leave(s)
		}
		g.giveBack(pool, c)
		if c.dead() != left || len(pool.idle) != 1 && !left {
			t.Errorf("left %v: closed %v, %d are kept", left, c.dead(), len(pool.idle))
		}
	}
}
