package signin

import (
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/user"
)

func TestSuffices(t *testing.T) {
	good := session{id: "s", authenticated: noon.Add(-time.Minute), used: noon.Add(-time.Second), expires: noon.Add(time.Hour)}
	anna := user.User{UPN: "anna@corp.example", Email: "a.berg@mail.example"}
	for name, c := range map[string]struct {
		change func(s *session, u *user.User, a *Ask)
		want   bool
	}{
		"a good session":                    {func(*session, *user.User, *Ask) {}, true},
		"at its end":                        {func(s *session, _ *user.User, _ *Ask) { s.expires = noon }, false},
		"nearly at its end":                 {func(s *session, _ *user.User, _ *Ask) { s.expires = noon.Add(1) }, true},
		"idle for too long":                 {func(s *session, _ *user.User, _ *Ask) { s.used = noon.Add(-sessionIdle) }, false},
		"idle for nearly too long":          {func(s *session, _ *user.User, _ *Ask) { s.used = noon.Add(1 - sessionIdle) }, true},
		"of a disabled user":                {func(_ *session, u *user.User, _ *Ask) { u.Disabled = true }, false},
		"of a user signed out since":        {func(_ *session, u *user.User, _ *Ask) { u.ValidFrom = noon }, false},
		"a fresh sign-in is asked for":      {func(_ *session, _ *user.User, a *Ask) { a.Fresh = true }, false},
		"an account is to be chosen":        {func(_ *session, _ *user.User, a *Ask) { a.SelectAccount = true }, false},
		"as old as may be":                  {func(_ *session, _ *user.User, a *Ask) { a.MaxAge = time.Minute }, true},
		"too old":                           {func(_ *session, _ *user.User, a *Ask) { a.MaxAge = time.Minute - 1 }, false},
		"of now, and nothing older will do": {func(s *session, _ *user.User, a *Ask) { s.authenticated, a.MaxAge = noon, 0 }, true},
		"nothing older than now will do":    {func(_ *session, _ *user.User, a *Ask) { a.MaxAge = 0 }, false},
		"expected by name":                  {func(_ *session, _ *user.User, a *Ask) { a.LoginHint = " Anna@Corp.example" }, true},
		"expected by address":               {func(_ *session, _ *user.User, a *Ask) { a.LoginHint = "A.Berg@mail.example" }, true},
		"somebody else is expected":         {func(_ *session, _ *user.User, a *Ask) { a.LoginHint = "bert@corp.example" }, false},
		"nobody is expected by no address":  {func(_ *session, u *user.User, a *Ask) { u.Email, a.LoginHint = "", " " }, false},
	} {
		s, u, a := good, anna, Ask{MaxAge: -1}
		c.change(&s, &u, &a)
		if got := suffices(s, u, a, noon); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A session goes on only if it is still as it was read: of two sign-ins in one browser the later one does not take over the session
// that the earlier one has renewed.
func TestOpenSession(t *testing.T) {
	w := newWorld(t)
	ctx, scope := t.Context(), w.acme.Scope()
	now := w.clock.now().UTC()
	made := func(secret, person string) session {
		return session{id: db.NewID(), secretHash: hashOf(secret), person: person, authenticated: now, methods: []string{"pwd"}, used: now, expires: now.Add(time.Hour)}
	}
	open := func(old, s session) (id, ended string) {
		t.Helper()
		err := w.db.Write(ctx, func(tx db.Querier) (err error) { id, ended, err = openSession(ctx, tx, scope, old, s); return err })
		if err != nil {
			t.Fatal(err)
		}
		return id, ended
	}
	of := func(secret string) string {
		t.Helper()
		s, err := findSession(ctx, w.db.Reader(), scope, `secret_hash = $2`, hashOf(secret))
		if err != nil {
			t.Fatal(err)
		}
		return s.id
	}
	first := made("1", w.anna.ID)
	if id, ended := open(session{}, first); id != first.id || ended != "" || of("1") != id {
		t.Errorf("the first: %s, ended %q", id, ended)
	}
	second := made("2", w.anna.ID)
	if id, ended := open(first, second); id != first.id || ended != "" || of("2") != first.id || of("1") != "" {
		t.Errorf("the same person again: %s, ended %q", id, ended)
	}
	late := made("3", w.anna.ID)
	if id, ended := open(first, late); id != late.id || ended != "" || of("3") != late.id || of("2") != first.id {
		t.Errorf("with a session that was renewed meanwhile: %s, ended %q", id, ended)
	}
	other := made("4", w.bert.ID)
	if id, ended := open(late, other); id != other.id || ended != late.id || of("3") != "" || of("4") != other.id {
		t.Errorf("somebody else: %s, ended %q", id, ended)
	}
}
