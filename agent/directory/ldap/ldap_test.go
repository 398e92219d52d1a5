package ldap_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// validator makes one for the servers; run says whether the background looks after it.
func validator(t testing.TB, a authority, run bool, servers ...string) *ldap.Validator {
	t.Helper()
	return configured(t, ldap.Config{Servers: servers, RootCAs: a.pool()}, run)
}

func configured(t testing.TB, c ldap.Config, run bool) *ldap.Validator {
	t.Helper()
	v, err := ldap.New(c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if run {
		go func() { done <- v.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		if !run { // ends at once and closes what is idle
			done <- v.Run(ctx)
		}
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return v
}

// asked is a check that counts its fences.
type asked struct {
	directory.Check
	fences atomic.Int32
}

func ask(name, password string) *asked {
	a := &asked{Check: directory.Check{Name: name, Password: wire.NewSecret([]byte(password))}}
	a.Fence = func(context.Context) error { a.fences.Add(1); return nil }
	return a
}

func trouble(t *testing.T, err error) *directory.Error {
	t.Helper()
	var e *directory.Error
	if !errors.As(err, &e) {
		t.Fatalf("not a *directory.Error: %v", err)
	}
	return e
}

func ad(sub string) string {
	return "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data " + sub + ", v1db1\x00"
}

func TestVerdicts(t *testing.T) {
	a := newAuthority(t)
	for _, startTLS := range []bool{false, true} {
		s := begin(t, a, func(s *stub) {
			s.startTLS = startTLS
			s.bind = func(_, password string) said {
				if password == "right" {
					return said{}
				}
				return said{code: 49, text: ad(password)}
			}
		})
		v := validator(t, a, false, s.url())
		for password, want := range map[string]wire.Reason{"right": wire.Accepted, "52e": wire.BadPassword, "525": wire.NoSuchUser, "775": wire.AccountLocked,
			"533": wire.AccountDisabled, "532": wire.PasswordExpired, "773": wire.MustChange, "701": wire.AccountExpired, "530": wire.LogonHours,
			"531": wire.Workstation, "52f": wire.AccountRestricted, "568": wire.TooManyGroups} {
			check := ask("sam@corp.example", password)
			before := time.Now()
			r, err := v.Validate(t.Context(), check.Check)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict.Reason != want || check.fences.Load() != 1 || r.DC != s.listener.Addr().String() {
				t.Errorf("%s: %+v after %d fences", password, r, check.fences.Load())
			}
			if r.Fenced.Before(before) || r.Judged.Before(r.Fenced) {
				t.Errorf("times %v, %v, %v", before, r.Fenced, r.Judged)
			}
		}
		if dials, binds := s.counts(); dials != 1 || len(binds) != 12 {
			t.Errorf("%d connections and %d binds for 12 checks", dials, len(binds))
		}
	}
}

// Name and password reach the server as they were typed.
func TestBytesPassUntouched(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := validator(t, a, false, s.url())
	name, password := " JÜRGEN@corp.Example ", "\xff\xfe e\u0301 \u202e\t*)(\\,\"'"
	if _, err := v.Validate(t.Context(), ask(name, password).Check); err != nil {
		t.Fatal(err)
	}
	if _, binds := s.counts(); !slices.Equal(binds, []string{name + "/" + password}) {
		t.Errorf("%q", binds)
	}
}

func TestUnusableReachesNobody(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := validator(t, a, false, s.url())
	for _, c := range []*asked{ask("n", ""), ask("n", "a\x00b"), ask("n\x00", "a"), ask("", "a"), ask("n", strings.Repeat("x", 1025))} {
		_, err := v.Validate(t.Context(), c.Check)
		if e := trouble(t, err); e.Code != wire.PasswordUnusable || e.Fenced || c.fences.Load() != 0 {
			t.Errorf("%v", e)
		}
	}
	if dials, binds := s.counts(); dials != 0 || len(binds) != 0 {
		t.Errorf("%d connections, %d binds", dials, len(binds))
	}
}

func TestFenceStopsEverything(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := validator(t, a, false, s.url())
	refused := errors.New("no go")
	c := ask("n", "p")
	c.Fence = func(context.Context) error {
		if s.open() != 1 {
			t.Error("no live connection at the fence")
		}
		return refused
	}
	_, err := v.Validate(t.Context(), c.Check)
	if e := trouble(t, err); e.Code != wire.TransientNetwork || e.Fenced || !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}

	// Granted, but too late.
	ctx, cancel := context.WithCancel(t.Context())
	c.Fence = func(context.Context) error { cancel(); return nil }
	_, err = v.Validate(ctx, c.Check)
	if e := trouble(t, err); e.Code != wire.AgentTooSlow || e.Fenced {
		t.Errorf("%v", err)
	}

	// Granted, but the connection is gone.
	c.Fence = func(context.Context) error {
		s.hangUp()
		eventually(t, "the connection is seen to be closed", func() bool { return v.Status()[0].Idle == 0 && s.open() == 0 })
		return nil
	}
	_, err = v.Validate(t.Context(), c.Check)
	if e := trouble(t, err); e.Fenced && len(bindsOf(s)) > 0 {
		t.Errorf("%v with %q", err, bindsOf(s))
	}
	if binds := bindsOf(s); len(binds) != 0 {
		t.Errorf("sent %q", binds)
	}
	if st := v.Status()[0]; st.InUse != 0 {
		t.Errorf("%d connections still in use", st.InUse)
	}
}

// A fence that panics gives the slot back.
func TestPanicInTheFence(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Connections: 1}, false)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		c := ask("n", "p")
		c.Fence = func(context.Context) error { panic("x") }
		v.Validate(t.Context(), c.Check) //nolint:errcheck // it panics
	}()
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || len(bindsOf(s)) != 1 {
		t.Error(err)
	}
}

func bindsOf(s *stub) []string { _, b := s.counts(); return b }

// Whatever happens after the bind was sent: one bind, one fence, an error that says so, and the next check works.
func TestLostAfterTheBindWasSent(t *testing.T) {
	a := newAuthority(t)
	never := make(chan struct{})
	t.Cleanup(func() { close(never) }) // when the parallel tests are over
	for name, c := range map[string]struct {
		said said
		code wire.Code
	}{
		"hung up":               {said{hangup: true}, wire.DirectoryTimeout},
		"no answer":             {said{until: never}, wire.DirectoryTimeout},
		"unknown sub-code":      {said{code: 49, text: ad("999")}, wire.DirectoryUnusable},
		"another result":        {said{code: 53, text: "no"}, wire.DirectoryUnusable},
		"referral":              {said{code: 10, text: "ldap://evil.example"}, wire.DirectoryUnusable},
		"needs TLS, it says":    {said{code: 8}, wire.DirectoryUnusable},
		"busy":                  {said{code: 51}, wire.DirectoryUnreachable},
		"unavailable":           {said{code: 52}, wire.DirectoryUnreachable},
		"not LDAP":              {said{raw: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, wire.DirectoryTimeout},
		"a packet of 2 GB":      {said{raw: []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}}, wire.DirectoryTimeout},
		"an answer without end": {said{raw: response(2, 1, 0, "")[:5]}, wire.DirectoryTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later atomic.Bool
			s := begin(t, a, func(s *stub) {
				s.bind = func(string, string) said {
					if !later.Swap(true) {
						return c.said
					}
					return said{}
				}
			})
			other := begin(t, a, nil)
			v := configured(t, ldap.Config{Servers: []string{s.url(), other.url()}, RootCAs: a.pool(), BindTimeout: 100 * time.Millisecond}, false)
			check := ask("n", "canary")
			check.WantAttributes = true
			_, err := v.Validate(t.Context(), check.Check)
			e := trouble(t, err)
			if e.Code != c.code || !e.Fenced || e.DC != s.listener.Addr().String() || check.fences.Load() != 1 {
				t.Errorf("%v, %d fences", e, check.fences.Load())
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error holds the password: %v", err)
			}
			if len(bindsOf(s)) != 1 || len(bindsOf(other)) != 0 {
				t.Errorf("binds %q and %q", bindsOf(s), bindsOf(other))
			}
			if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !r.Verdict.Reason.Right() {
				t.Errorf("the next check: %+v, %v", r, err)
			}
			if n := len(bindsOf(s)) + len(bindsOf(other)); n != 2 {
				t.Errorf("%d binds for two checks", n)
			}
		})
	}
}

// A caller that gives up while the bind is under way gets an error that says that it was sent, at once.
func TestCancelledDuringTheBind(t *testing.T) {
	a := newAuthority(t)
	never, reached := make(chan struct{}), make(chan struct{}, 1)
	defer close(never)
	s := begin(t, a, func(s *stub) {
		s.bind = func(string, string) said { reached <- struct{}{}; return said{until: never} }
	})
	v := validator(t, a, false, s.url())
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	_, err := v.Validate(ctx, ask("n", "p").Check)
	if e := trouble(t, err); !e.Fenced || e.Code != wire.DirectoryTimeout || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Three binds without an answer take a server out of service; its probe brings it back.
func TestSilentServerGoesDownAndComesBack(t *testing.T) {
	a := newAuthority(t)
	var hang atomic.Bool
	never := make(chan struct{})
	defer close(never)
	hang.Store(true)
	s := begin(t, a, func(s *stub) {
		s.bind = func(string, string) said {
			if hang.Load() {
				return said{until: never}
			}
			return said{}
		}
	})
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), BindTimeout: 30 * time.Millisecond}, true)
	for range 3 {
		_, err := v.Validate(t.Context(), ask("n", "p").Check)
		if e := trouble(t, err); !e.Fenced {
			t.Fatal(err)
		}
	}
	if st := v.Status()[0]; st.State != ldap.Down || st.NextProbe.IsZero() || st.LastError == "" {
		t.Fatalf("%+v", st)
	}
	check := ask("n", "p")
	_, err := v.Validate(t.Context(), check.Check)
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || check.fences.Load() != 0 {
		t.Errorf("%v", err)
	}
	hang.Store(false)
	eventually(t, "the server serves again", func() bool { return v.Status()[0].State == ldap.Serving })
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !r.Verdict.Reason.Right() {
		t.Errorf("%+v, %v", r, err)
	}
}

// dead is an address at which nobody listens.
func dead(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return "ldaps://" + l.Addr().String()
}

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
		if err != nil || r.DC != s.listener.Addr().String() || check.fences.Load() != 1 {
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

func TestNoServer(t *testing.T) {
	a := newAuthority(t)
	v := validator(t, a, false, dead(t), dead(t))
	for range 2 {
		check := ask("n", "p")
		_, err := v.Validate(t.Context(), check.Check)
		e := trouble(t, err)
		if e.Code != wire.DirectoryUnreachable || e.Fenced || check.fences.Load() != 0 || strings.Count(err.Error(), "refused") != 2 {
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
		if _, err := v.Validate(t.Context(), check.Check); err != nil || check.fences.Load() != 1 {
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
	s := begin(t, a, func(s *stub) {
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
	if err != nil || r.DC != other.listener.Addr().String() || check.fences.Load() != 1 || len(bindsOf(s)) != 1 {
		t.Errorf("%+v, %v, %d binds", r, err, len(bindsOf(s)))
	}
	if st := v.Status()[0]; st.State != ldap.Down || !strings.Contains(st.LastError, "does not answer") {
		t.Errorf("%+v", st)
	}
}

// A server that lets nobody more in, but still answers those who are in, is crowded and not dead.
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
	err := <-second
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable {
		t.Errorf("%v", err)
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
	s := begin(t, a, func(s *stub) {
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
				if err != nil || r.Verdict.Reason != want || check.fences.Load() != 1 {
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
	s := begin(t, a, func(s *stub) {
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
	if e := trouble(t, err); e.Fenced || e.Code != wire.AgentTooSlow || check.fences.Load() != 0 || !strings.Contains(err.Error(), "busy") {
		t.Errorf("%v", err)
	}
	// Nobody's own time is over: the pool's is.
	_, err = v.Validate(t.Context(), check.Check)
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || check.fences.Load() != 0 {
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

func TestTLSIsVerified(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name    string
		cert    tls.Certificate
		roots   *x509.CertPool
		remedy  string
		healthy bool
	}{
		{"good", a.issue(t, nil), a.pool(), "", true},
		{"foreign CA", foreign.issue(t, nil), a.pool(), "not trusted here", false},
		{"system's CAs", a.issue(t, nil), nil, "not trusted here", false},
		{"another name", a.issue(t, func(c *x509.Certificate) { c.IPAddresses = nil }), a.pool(), "another name", false},
		{"expired", a.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), a.pool(), "expired", false},
		{"for clients", a.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), a.pool(), "cannot be used", false},
		{"negative serial", a.negativeSerial(t), a.pool(), "negative serial number", false},
		{"no alternative name", a.issue(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil }), a.pool(), "certificate", false},
	} {
		for _, startTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, StartTLS %v", c.name, startTLS), func(t *testing.T) {
				s := begin(t, a, func(s *stub) {
					s.startTLS, s.config = startTLS, &tls.Config{Certificates: []tls.Certificate{c.cert}}
				})
				var log bytes.Buffer
				v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: c.roots, Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
				check := ask("n", "canary")
				_, err := v.Validate(t.Context(), check.Check)
				st := v.Status()[0]
				if c.healthy {
					if err != nil || st.State != ldap.Serving {
						t.Errorf("%v, %+v", err, st)
					}
					return
				}
				e := trouble(t, err)
				if e.Fenced || e.Code != wire.DirectoryUnreachable || check.fences.Load() != 0 || len(bindsOf(s)) != 0 {
					t.Errorf("%v, sent %q", err, bindsOf(s))
				}
				if !strings.Contains(st.Remedy, c.remedy) || st.LastError == "" || st.State != ldap.Down {
					t.Errorf("%+v", st)
				}
				if !strings.Contains(log.String(), c.remedy) || strings.Contains(log.String(), "canary") {
					t.Errorf("log: %s", log.String())
				}
			})
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(s *stub) { s.config.MaxVersion = tls.VersionTLS11; s.config.MinVersion = tls.VersionTLS10 })
	v := validator(t, a, false, s.url())
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	if e := trouble(t, err); e.Fenced || len(bindsOf(s)) != 0 {
		t.Errorf("%v", err)
	}
}

// A server that refuses StartTLS, or speaks no TLS at all, never sees a password.
func TestNoTLSNoPassword(t *testing.T) {
	a := newAuthority(t)
	plain := begin(t, a, func(s *stub) { s.startTLS = true })
	v := validator(t, a, false, "ldaps://"+plain.listener.Addr().String())
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	if e := trouble(t, err); e.Fenced || len(bindsOf(plain)) != 0 {
		t.Errorf("%v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		c.Write(response(1, goldap.ApplicationExtendedResponse, 52, "TLS is not available"))
		m, _ := c.Read(buf[n:])
		got <- buf[:n+m]
	}()
	v = validator(t, a, false, "ldap://"+l.Addr().String())
	_, err = v.Validate(t.Context(), ask("n", "canary").Check)
	if e := trouble(t, err); e.Fenced || !strings.Contains(err.Error(), "TLS is not available") {
		t.Errorf("%v", err)
	}
	if sent := <-got; bytes.Contains(sent, []byte("canary")) {
		t.Errorf("sent %q", sent)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []ldap.Config{
		{},
		{Servers: []string{""}},
		{Servers: []string{"ldapi:///x"}},
		{Servers: []string{"https://dc1"}},
		{Servers: []string{"ldaps://"}},
		{Servers: []string{"ldaps://dc1:0"}},
		{Servers: []string{"ldaps://dc1:70000"}},
		{Servers: []string{"ldaps://dc1:ldaps"}},
		{Servers: []string{"ldaps://user:password@dc1"}},
		{Servers: []string{"ldaps://dc1/DC=corp"}},
		{Servers: []string{"ldaps://dc1?x"}},
		{Servers: []string{"dc1 dc2"}},
		{Servers: []string{"dc1", "ldaps://dc1:636"}},
		{Servers: []string{"dc1"}, Connections: -1},
		{Servers: []string{"dc1"}, BindTimeout: -1},
	} {
		if _, err := ldap.New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	v, err := ldap.New(ldap.Config{Servers: []string{"dc1.corp.example", "ldap://dc2.corp.example.", "ldaps://dc3:3269/", "[::1]:1636"}})
	must(t, err)
	var got []string
	for _, s := range v.Status() {
		if s.State != ldap.Untried {
			t.Errorf("%+v", s)
		}
		got = append(got, s.Address)
	}
	if d := cmp.Diff([]string{"dc1.corp.example:636", "dc2.corp.example:389", "dc3:3269", "[::1]:1636"}, got); d != "" {
		t.Error(d)
	}
}

func person(dn, upn, sam, sid string) *goldap.Entry {
	values := map[string][]string{"objectGUID": {sid + strings.Repeat("g", 16-len(sid))}, "objectSid": {sid}, "sAMAccountName": {sam}, "givenName": {dn}}
	if upn != "" {
		values["userPrincipalName"] = []string{upn}
	}
	return goldap.NewEntry("CN="+dn+",DC=corp,DC=example", values)
}

func TestAttributes(t *testing.T) {
	a := newAuthority(t)
	entries := []*goldap.Entry{
		person("Sam", "sam@corp.example", "sam", "s1"),
		person("Tim", "", "tim", "s2"),
		person("Twin", "twin@corp.example", "twin1", "s3"),
		person("Other twin", "twin@corp.example", "twin2", "s4"),
		person("Star", `st*r)(@corp.example`, "star", "s5"),
	}
	for _, c := range []struct {
		name, typed string
		token       []string
		want        string // givenName; "" for none
	}{
		{"explicit UPN", "sam@corp.example", nil, "Sam"},
		{"explicit UPN with spaces", " sam@corp.example ", nil, "Sam"},
		{"implicit UPN, proven by the token", "tim@corp.example", []string{"x", "s2"}, "Tim"},
		{"implicit UPN, no token, the domain's own name", "tim@CORP.example", nil, "Tim"},
		{"implicit UPN of another domain", "tim@child.corp.example", nil, ""},
		{"implicit UPN, but somebody else is bound", "tim@corp.example", []string{"s9"}, ""},
		{"short domain name, proven", `CORP\tim`, []string{"s2"}, "Tim"},
		{"short domain name, not proven", `CORP\tim`, nil, ""},
		{"another domain's account of that name", `OTHER\tim`, []string{"s9"}, ""},
		{"two entries", "twin@corp.example", nil, ""},
		{"filter characters", `st*r)(@corp.example`, nil, "Star"},
		{"wildcard", "*@corp.example", nil, ""},
		{"injected filter", "x)(objectClass=*@corp.example", nil, ""},
		{"nobody", "nobody@corp.example", nil, ""},
		{"no form that is looked up", "CN=Sam,DC=corp,DC=example", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t, a, func(s *stub) { s.entries, s.token = entries, c.token })
			v := validator(t, a, false, s.url())
			check := ask(c.typed, "p")
			check.WantAttributes = true
			r, err := v.Validate(t.Context(), check.Check)
			if err != nil || !r.Verdict.Reason.Right() {
				t.Fatal(err)
			}
			got := ""
			if r.Verdict.Attributes != nil {
				got = r.Verdict.Attributes.GivenName
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAttributesOnlyWhenAskedAndAccepted(t *testing.T) {
	a := newAuthority(t)
	var searches atomic.Int32
	s := begin(t, a, func(s *stub) {
		s.entries = []*goldap.Entry{person("Sam", "sam@corp.example", "sam", "s1")}
		s.searches = func(string) { searches.Add(1) }
		s.bind = func(_, password string) said {
			if password == "right" {
				return said{}
			}
			return said{code: 49, text: ad("52e")}
		}
	})
	v := validator(t, a, false, s.url())
	wrong, unasked := ask("sam@corp.example", "wrong"), ask("sam@corp.example", "right")
	wrong.WantAttributes = true
	for _, c := range []*asked{wrong, unasked} {
		if r, err := v.Validate(t.Context(), c.Check); err != nil || r.Verdict.Attributes != nil {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n := searches.Load(); n != 0 {
		t.Errorf("%d searches", n)
	}
}

// The verdict stands when the attributes cannot be read.
func TestAttributesAreNotTheVerdict(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(st *stub) {
		st.entries = []*goldap.Entry{person("Sam", "sam@corp.example", "sam", "s1")}
		st.searches = func(string) { st.hangUp() }
	})
	var log bytes.Buffer
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
	check := ask("sam@corp.example", "canary")
	check.WantAttributes = true
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || !r.Verdict.Reason.Right() || r.Verdict.Attributes != nil || len(bindsOf(s)) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if text := log.String(); !strings.Contains(text, "attributes left out") || strings.Contains(text, "canary") || strings.Contains(text, "sam@") {
		t.Errorf("log: %s", text)
	}
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
		t.Error(err)
	}
}

func BenchmarkValidate(b *testing.B) {
	a := newAuthority(b)
	s := begin(b, a, func(s *stub) { s.bind = func(string, string) said { return said{} } })
	v := validator(b, a, true, s.url())
	check := ask("sam@corp.example", "correct horse battery")
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Validate(b.Context(), check.Check); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := v.Validate(b.Context(), check.Check); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("library alone", func(b *testing.B) {
		c, err := goldap.DialURL(s.url(), goldap.DialWithTLSConfig(&tls.Config{RootCAs: a.pool()}))
		must(b, err)
		defer c.Close()
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Bind("sam@corp.example", "correct horse battery"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
