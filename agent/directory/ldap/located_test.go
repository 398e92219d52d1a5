package ldap

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

func TestLookWait(t *testing.T) {
	for _, c := range []struct {
		failures int
		serving  bool
		want     time.Duration
	}{
		{0, true, lookEvery}, {0, false, lookAlone},
		{1, true, lookAgain}, {2, true, 2 * lookAgain}, {9, true, 256 * lookAgain}, {10, true, lookEvery}, {1 << 20, true, lookEvery},
		{1, false, lookAgain}, {4, false, 8 * lookAgain}, {5, false, lookAlone}, {1 << 20, false, lookAlone},
	} {
		if got := lookWait(c.failures, c.serving); got != c.want {
			t.Errorf("after %d failures, serving %v: %v", c.failures, c.serving, got)
		}
	}
}

// The loop keeps what it has found while DNS fails, asks for the site that a domain controller names, and waits as the rule says.
func TestLocator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(names ...string) (f locate.Found) {
			for _, n := range names {
				f.Targets = append(f.Targets, locate.Target{Host: n, Port: 389})
			}
			return f
		}
		broken := errors.New("no answer")
		type asked struct {
			at   time.Duration
			site string
		}
		var questions []asked
		var adopted [][]string
		answers := []func() (locate.Found, error){
			func() (locate.Found, error) { return locate.Found{}, broken },
			func() (locate.Found, error) { return named("a", "b"), nil },
			func() (locate.Found, error) { return named("b", "a"), nil }, // again at once, with the site
			func() (locate.Found, error) { return locate.Found{}, broken },
			func() (locate.Found, error) { return locate.Found{}, broken },
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		f := &locator{query: locate.Query{Domain: "corp.example"}, said: Located{Domain: "corp.example"}, log: slog.New(slog.DiscardHandler),
			adopt:   func(found locate.Found) { adopted = append(adopted, hosts(found)) },
			serving: func() bool { return len(adopted) > 0 },
			site:    func(context.Context) string { return "Berlin" },
		}
		f.find = func(_ context.Context, q locate.Query, known []string) (locate.Found, error) {
			n := len(questions)
			questions = append(questions, asked{time.Since(began), q.Site})
			if n == 4 {
				if s := f.status(); !slices.Equal(known, []string{"b", "a"}) || s.LastError != "no answer" || len(s.Found.Targets) != 2 || !s.Learned {
					t.Errorf("while DNS fails: known %v, %+v", known, s)
				}
			}
			if n == len(answers) {
				cancel()
				return locate.Found{}, context.Canceled
			}
			return answers[n]()
		}
		f.run(ctx)
		want := []asked{{0, ""}, {lookAgain, ""}, {lookAgain, "Berlin"}, {lookAgain + lookEvery, "Berlin"}, {2*lookAgain + lookEvery, "Berlin"}, {4*lookAgain + lookEvery, "Berlin"}}
		if !slices.Equal(questions, want) {
			t.Errorf("asked at %v, want %v", questions, want)
		}
		if len(adopted) != 2 || !slices.Equal(adopted[1], []string{"b", "a"}) {
			t.Errorf("adopted %v", adopted)
		}
	})
}

// A site of the settings is not learned over, and one that is no site is not asked for.
func TestLearn(t *testing.T) {
	f := &locator{query: locate.Query{Domain: "corp.example", Site: "Rome"}, site: func(context.Context) string { return "Berlin" }}
	if f.learn(t.Context()) {
		t.Error("the settings' site was replaced")
	}
	site := "Berlin"
	f = &locator{query: locate.Query{Domain: "corp.example"}, site: func(context.Context) string { return site }}
	for _, c := range []struct {
		says  string
		fresh bool
		keeps string
	}{{"Berlin", true, "Berlin"}, {"Berlin", false, "Berlin"}, {"BERLIN", false, "Berlin"}, {"", false, "Berlin"}, {"Rome", true, "Rome"}} {
		site = c.says
		if fresh := f.learn(t.Context()); fresh != c.fresh || f.status().Site != c.keeps || !f.status().Learned {
			t.Errorf("told %q: %v, %+v", c.says, fresh, f.status())
		}
	}
	f = &locator{query: locate.Query{Domain: "corp.example"}, site: func(context.Context) string { return "a.b" }}
	if f.learn(t.Context()) || f.status().Site != "" {
		t.Error("not a site")
	}
}
