package ldap_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

// A directory that says the password back, as none in order does, must not bring it into a log, a record or the status file.
func TestPasswordInTheWordsOfTheDirectory(t *testing.T) {
	const password = "Wrong-Horse-7"
	a := newAuthority(t)
	for what, answer := range map[string]said{
		"a verdict":           {code: 49, text: strings.TrimSuffix(ad("52e"), "\x00") + " for " + password},
		"a verdict by itself": {code: 49, text: password},
		"another result":      {code: 80, text: "cannot bind with " + password},
		"a busy server":       {code: 51, text: password},
		"an unknown judgment": {code: 49, text: ad("abcd") + password},
	} {
		s := begin(t, a, func(s *scripted) { s.bind = func(string, string) said { return answer } })
		v := validator(t, a, false, s.url())
		r, err := v.Validate(t.Context(), ask("anna@corp.example", password).Check)
		var e *directory.Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Errorf("%s: %v", what, err)
		case err != nil && strings.Contains(err.Error(), password), strings.Contains(r.Verdict.Diagnostic, password):
			t.Errorf("%s: the password stands in %v or %q", what, err, r.Verdict.Diagnostic)
		case err == nil && r.Verdict.Reason != wire.BadPassword:
			t.Errorf("%s: %s", what, r.Verdict.Reason)
		case err == nil && !strings.Contains(r.Verdict.Diagnostic, "repeated"):
			t.Errorf("%s: nothing says what was left out: %q", what, r.Verdict.Diagnostic)
		}
		for _, st := range v.Status() {
			if strings.Contains(st.LastError, password) {
				t.Errorf("%s: the password stands in the status", what)
			}
		}
		if _, binds := s.counts(); len(binds) != 1 || binds[0] != "anna@corp.example/"+password {
			t.Errorf("%s: %d binds", what, len(binds))
		}
	}
}

// Nor by what it says of the look at the person's entry, after a password that was right.
func TestPasswordInTheWordsAboutAttributes(t *testing.T) {
	const password = "Right-Horse-7"
	a := newAuthority(t)
	s := begin(t, a, func(s *scripted) {
		s.results, s.words = func(string) int { return 80 }, "cannot look for anna with "+password
	})
	var log bytes.Buffer // of a validator that nobody runs: one goroutine writes at a time
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
	check := ask("anna@corp.example", password)
	check.WantAttributes = true
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || !r.Verdict.Reason.Right() || !strings.Contains(r.Verdict.Diagnostic, "repeated") {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = v.Attributes(t.Context(), check.Check)
	if text := fmt.Sprint(r, err, log.String()); err == nil || strings.Contains(text, password) {
		t.Errorf("the password stands in %s", text)
	}
}
