package ldap_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

// dead is an address at which nobody listens.
func dead(t *testing.T) string {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, l.Close())
		if _, given := graves.LoadOrStore(l.Addr().String(), true); !given { // systems give the same one twice
			return "ldaps://" + l.Addr().String()
		}
	}
}

// graves are the addresses that dead has returned.
var graves sync.Map

// mute accepts connections and never says a word.
func mute(t *testing.T) (url string, accepted *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	accepted = new(atomic.Int32)
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return "ldaps://" + l.Addr().String(), accepted
}

// A dead server first in the list costs one failed connection, and then nothing: later checks pass it by.
func TestDeadServerIsPassedBy(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	silent, accepted := mute(t)
	v := configured(t, ldap.Config{Servers: []string{silent, dead(t), s.url()}, RootCAs: a.pool(), DialTimeout: 100 * time.Millisecond}, false)
	for range 5 {
		check := ask("n", "p")
		r, err := v.Validate(t.Context(), check.Check)
		if err != nil || r.DC != s.listener.Addr().String() || check.Fences.Load() != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("the silent server was tried %d times", n)
	}
	st := v.Status()
	if st[0].State != ldap.Down || st[1].State != ldap.Down || st[2].State != ldap.Serving {
		t.Errorf("%+v", st)
	}
	if !strings.Contains(st[0].Remedy, "in time") || !strings.Contains(st[1].Remedy, "Nothing listens") {
		t.Errorf("remedies %q and %q", st[0].Remedy, st[1].Remedy)
	}
}

// The last server dies, and one that was down is back, with the background's next look far off: the check finds it.
func TestLastOneDiesAndAnotherIsBack(t *testing.T) {
	a := newAuthority(t)
	first, last := begin(t, a, nil), begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{first.url(), last.url()}, RootCAs: a.pool()}, false)
	first.stop()
	at := func(what string, s *scripted) {
		t.Helper()
		check := ask("n", "p")
		if r, err := v.Validate(t.Context(), check.Check); err != nil || r.DC != s.listener.Addr().String() || check.Fences.Load() != 1 {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	at("the first is down", last)
	v.Bench(0)
	first.restart()
	at("nobody looks while the last one serves", last)
	last.stop()
	v.Maintain(t.Context()) // the background has seen that its connections are gone
	at("the last one has died", first)
	// All are down: everybody is told so at once, and nobody waits for the background.
	first.stop()
	v.Maintain(t.Context())
	for range 2 {
		check := ask("n", "p")
		_, err := v.Validate(t.Context(), check.Check)
		if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced || check.Fences.Load() != 0 {
			t.Errorf("%v", err)
		}
	}
	if dials, _ := first.counts(); dials > 3 {
		t.Errorf("%d dials", dials)
	}
}

func TestNoServer(t *testing.T) {
	a := newAuthority(t)
	v := validator(t, a, false, dead(t), dead(t))
	for range 2 {
		check := ask("n", "p")
		_, err := v.Validate(t.Context(), check.Check)
		e := trouble(t, err)
		if e.Code != wire.DirectoryUnreachable || e.Fenced || check.Fences.Load() != 0 || strings.Count(err.Error(), "refused") != 2 {
			t.Errorf("%v", err)
		}
	}
}

// A server that stops is found in the background, and found again when it is back, with nobody asking.
func TestBackground(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := validator(t, a, true, s.url())
	eventually(t, "connections are kept warm", func() bool { return v.Status()[0].Idle == 2 })
	if dials, _ := s.counts(); dials != 2 {
		t.Errorf("%d connections were opened", dials)
	}
	if st := v.Status()[0]; st.State != ldap.Serving || st.BaseDN != "DC=corp,DC=example" || st.LastError != "" {
		t.Errorf("%+v", st)
	}
	s.stop()
	eventually(t, "the end is seen", func() bool { return v.Status()[0].Idle == 0 })
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	if e := trouble(t, err); e.Fenced {
		t.Errorf("%v", err)
	}
	if st := v.Status()[0]; st.State != ldap.Down || st.Idle != 0 {
		t.Errorf("%+v", st)
	}
	s.restart()
	eventually(t, "the server serves again", func() bool { st := v.Status()[0]; return st.State == ldap.Serving && st.Idle == 2 })
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
		t.Error(err)
	}
}

// Connections that the server closed while they were idle are replaced before the fence.
func TestClosedWhileIdle(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := validator(t, a, false, s.url())
	for i := range 3 {
		check := ask("n", "p")
		if _, err := v.Validate(t.Context(), check.Check); err != nil || check.Fences.Load() != 1 {
			t.Fatal(err)
		}
		s.hangUp()
		eventually(t, "the client sees the end", func() bool { return v.Status()[0].Idle == 0 })
		if dials, binds := s.counts(); dials != i+1 || len(binds) != i+1 {
			t.Errorf("%d connections, %d binds after %d checks", dials, len(binds), i+1)
		}
	}
}

// The background asks silent connections whether they live, and closes those that nobody needs.
func TestMaintenance(t *testing.T) {
	a := newAuthority(t)
	hold := make(chan struct{})
	var waiting atomic.Int32
	s := begin(t, a, func(s *scripted) {
		s.bind = func(string, string) said { waiting.Add(1); return said{until: hold} }
	})
	v := validator(t, a, false, s.url())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "six binds are under way", func() bool { return waiting.Load() == 6 })
	close(hold)
	wg.Wait()
	idle := func(want int, when string) {
		t.Helper()
		eventually(t, when, func() bool { return s.open() == want && v.Status()[0].Idle == want })
	}
	idle(6, "all are kept")
	v.Maintain(t.Context())
	idle(6, "nothing to do")
	v.Age(40 * time.Second)
	v.Maintain(t.Context())
	idle(6, "asked, and alive")
	s.hangUp()
	eventually(t, "the ends are seen", func() bool { return v.Status()[0].Idle == 0 })
	v.Maintain(t.Context())
	idle(2, "warm ones are opened again")
	if dials, _ := s.counts(); dials != 8 {
		t.Errorf("%d connections", dials)
	}
	v.Age(time.Hour)
	v.Maintain(t.Context())
	idle(2, "the warm ones are renewed")
	if dials, binds := s.counts(); dials != 10 || len(binds) != 6 {
		t.Errorf("%d connections, %d binds", dials, len(binds))
	}
}

// A connection that the server has forgotten without a word is found before the fence.
func TestForgottenConnection(t *testing.T) {
	a := newAuthority(t)
	silent := make(chan struct{})
	s := begin(t, a, nil)
	other := begin(t, a, nil)
	v := validator(t, a, false, s.url(), other.url())
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.silent = silent
	s.mu.Unlock()
	defer close(silent)
	v.Age(time.Minute)
	check := ask("n", "p")
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.DC != other.listener.Addr().String() || check.Fences.Load() != 1 || len(bindsOf(s)) != 1 {
		t.Errorf("%+v, %v, %d binds", r, err, len(bindsOf(s)))
	}
	// The other one was tried beside it: what became of the question is seen a moment later.
	eventually(t, "the silence is noticed", func() bool {
		st := v.Status()[0]
		return st.State == ldap.Down && strings.Contains(st.LastError, "does not answer")
	})
}

// A server that lets nobody more in, but still answers those who are in, is crowded and not dead: who comes waits for a connection to come back.
func TestCrowdedServerIsNotDown(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), DialTimeout: 200 * time.Millisecond}, false)
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	defer close(silent)
	s.mu.Lock()
	s.silent = silent // no new connection gets its first answer
	s.mu.Unlock()
	second := make(chan error, 1)
	held := ask("n", "p")
	held.Fence = func(context.Context) error { // the only connection is in hand
		go func() { _, err := v.Validate(t.Context(), ask("n", "p").Check); second <- err }()
		eventually(t, "another check dials", func() bool { dials, _ := s.counts(); return dials == 2 })
		return nil
	}
	if _, err := v.Validate(t.Context(), held.Check); err != nil {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if st := v.Status()[0]; st.State != ldap.Serving || st.Idle != 1 || st.LastError == "" {
		t.Errorf("%+v", st)
	}
}

// Many at once: each connection is used by one check at a time, no more are opened than allowed, few at the same time.
func TestPool(t *testing.T) {
	a := newAuthority(t)
	const connections, checks = 5, 200
	var atOnce, most atomic.Int32
	s := begin(t, a, func(s *scripted) {
		s.bind = func(_, password string) said {
			n := atOnce.Add(1)
			defer atOnce.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return said{code: 49, text: ad(password)}
		}
	})
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Connections: connections}, true)
	var wg sync.WaitGroup
	subs := map[string]wire.Reason{"52e": wire.BadPassword, "533": wire.AccountDisabled, "775": wire.AccountLocked}
	for sub, want := range subs {
		for range checks {
			wg.Go(func() {
				check := ask("n", sub)
				r, err := v.Validate(t.Context(), check.Check)
				if err != nil || r.Verdict.Reason != want || check.Fences.Load() != 1 {
					t.Errorf("%s: %+v, %v", sub, r.Verdict, err)
				}
			})
		}
	}
	wg.Wait()
	dials, binds := s.counts()
	if dials > connections+1 || most.Load() > connections || len(binds) != checks*len(subs) {
		t.Errorf("%d connections, %d binds at once, %d binds", dials, most.Load(), len(binds))
	}
	if st := v.Status()[0]; st.InUse != 0 || st.Idle > connections+1 {
		t.Errorf("%+v", st)
	}
}

func TestWaitingForAConnectionIsBounded(t *testing.T) {
	a := newAuthority(t)
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	s := begin(t, a, func(s *scripted) {
		s.bind = func(string, string) said { reached <- struct{}{}; return said{until: release} }
	})
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Connections: 1}, false)
	done := make(chan error, 1)
	go func() { _, err := v.Validate(context.Background(), ask("n", "p").Check); done <- err }()
	<-reached
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	check := ask("n", "p")
	_, err := v.Validate(ctx, check.Check)
	if e := trouble(t, err); e.Fenced || e.Code != wire.AgentTooSlow || check.Fences.Load() != 0 || !strings.Contains(err.Error(), "busy") {
		t.Errorf("%v", err)
	}
	// Nobody's own time is over: the pool's is.
	_, err = v.Validate(t.Context(), check.Check)
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || check.Fences.Load() != 0 {
		t.Errorf("%v", err)
	}
	if st := v.Status()[0]; st.State != ldap.Serving {
		t.Errorf("a busy server is %s", st.State)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
