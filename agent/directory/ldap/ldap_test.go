package ldap_test

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ask, trouble, must = directorytest.Ask, directorytest.Trouble, directorytest.Must

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

// ad ends in NUL, as what domain controllers say over LDAP does.
func ad(sub string) string { return directorytest.Diagnostic(sub) + "\x00" }

func TestVerdicts(t *testing.T) {
	a := newAuthority(t)
	for _, startTLS := range []bool{false, true} {
		s := begin(t, a, func(s *scripted) {
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
			if r.Verdict.Reason != want || check.Fences.Load() != 1 || r.DC != s.listener.Addr().String() {
				t.Errorf("%s: %+v after %d fences", password, r, check.Fences.Load())
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
	for _, c := range []*directorytest.Asked{ask("n", ""), ask("n", "a\x00b"), ask("n\x00", "a"), ask("", "a"), ask("n", strings.Repeat("x", 1025))} {
		_, err := v.Validate(t.Context(), c.Check)
		if e := trouble(t, err); e.Code != wire.PasswordUnusable || e.Fenced || c.Fences.Load() != 0 {
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

func bindsOf(s *scripted) []string { _, b := s.counts(); return b }

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
			s := begin(t, a, func(s *scripted) {
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
			if e.Code != c.code || !e.Fenced || e.DC != s.listener.Addr().String() || check.Fences.Load() != 1 {
				t.Errorf("%v, %d fences", e, check.Fences.Load())
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
	s := begin(t, a, func(s *scripted) {
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
	s := begin(t, a, func(s *scripted) {
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
	if e := trouble(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || check.Fences.Load() != 0 {
		t.Errorf("%v", err)
	}
	hang.Store(false)
	eventually(t, "the server serves again", func() bool { return v.Status()[0].State == ldap.Serving })
	if r, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil || !r.Verdict.Reason.Right() {
		t.Errorf("%+v, %v", r, err)
	}
}

func BenchmarkValidate(b *testing.B) {
	a := newAuthority(b)
	s := begin(b, a, func(s *scripted) { s.bind = func(string, string) said { return said{} } })
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
