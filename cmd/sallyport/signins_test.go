package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/wire"
)

// logOf serves a sign-in log: answers by number of the question. It returns the flags that lead there.
func logOf(t *testing.T, answer func(n int, r *http.Request) (status int, page []admin.SignIn)) []string {
	t.Helper()
	t.Setenv("SALLYPORT_CONFIG", "")
	n := 0 // questions come one after another
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, page := answer(n, r)
		n++
		if status != http.StatusOK {
			w.Header().Set("Content-Type", wire.ProblemType)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(wire.Problem{Title: "no", Status: status})
			return
		}
		_ = json.NewEncoder(w).Encode(admin.Page[admin.SignIn]{Items: page})
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for name, text := range map[string][]byte{token: []byte("secret\n"), ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--server", server.URL, "--ca-file", ca, "--token-file", token, "--tenant", "contoso"}
}

var unreachable = admin.SignIn{ID: "1", At: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Trace: "abc", Name: "ada\x1b[2J@corp.example", Outcome: "unknown",
	Code: wire.NoAgent, Agent: "0199", AgentName: "berlin-1", DC: "dc1.corp.example",
	Stops: []admin.Stop{{Name: "asked", Micros: 1500}, {Name: "fenced", Micros: 4000}, {Name: "agent-opened", Micros: 2000}, {Name: "done", Micros: 12345}}}

func TestSigninShow(t *testing.T) {
	flags := logOf(t, func(_ int, r *http.Request) (int, []admin.SignIn) {
		if r.URL.Query().Get("trace") != "abc" {
			return 200, nil
		}
		return 200, []admin.SignIn{unreachable}
	})
	r := sallyport(t, "", append([]string{"signin", "show", "abc"}, flags...)...)
	entry, _ := wire.Lookup(wire.NoAgent)
	for _, want := range []string{"80001 " + entry.Name, entry.Meaning, entry.Remedy, "berlin-1 (0199)", "dc1.corp.example", "1.5 ms      +1.5  asked",
		"2.0 ms      +0.5  agent-opened  by the agent's word", "4.0 ms      +2.0  fenced        the agent is about to ask", "12.3 ms      +8.3  done", "posted"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing:\n%s", want, r.out)
		}
	}
	if r.code != 0 || strings.Contains(r.out, "\x1b") {
		t.Errorf("%+v", r)
	}
	r = sallyport(t, "", append([]string{"signin", "show", "abc", "-o", "json"}, flags...)...)
	var got admin.SignIn
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Trace != "abc" || len(got.Stops) != 4 {
		t.Errorf("%v, %+v", err, r)
	}
	if r = sallyport(t, "", append([]string{"signin", "show", "other"}, flags...)...); r.code != 1 || !strings.Contains(r.err, `no sign-in with trace id "other"`) {
		t.Errorf("%+v", r)
	}
}

func TestEveryStopHasWords(t *testing.T) {
	for _, name := range audit.StopNames {
		if stopWords[name] == "" {
			t.Errorf("%s has no words", name)
		}
	}
}

func TestSigninFollow(t *testing.T) {
	for _, output := range []string{"table", "json"} {
		t.Run(output, func(t *testing.T) {
			old, fresh := unreachable, unreachable
			old.Trace, fresh.ID, fresh.Trace, fresh.At = "old", "2", "fresh", old.At.Add(time.Second)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var since string
			flags := logOf(t, func(n int, r *http.Request) (int, []admin.SignIn) {
				switch n {
				case 0:
					return 200, []admin.SignIn{old}
				case 1:
					return 503, nil
				case 2:
					since = r.URL.Query().Get("since")
					return 200, []admin.SignIn{fresh, old}
				}
				stop() // the interrupt, while it asks
				return 200, nil
			})
			var out, errs safe
			code := run(ctx, append([]string{"signin", "follow", "--user", "ada", "-o", output}, flags...), nil, &out, &errs)
			if code != 0 || since != "2026-03-04T05:05:37Z" || !strings.Contains(errs.String(), "asking on") {
				t.Errorf("%d, since %s, %s", code, since, &errs)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != 1 || !strings.Contains(lines[0], "fresh") || !strings.Contains(lines[0], "80001") || strings.Contains(lines[0], "\x1b") {
				t.Errorf("%q", lines)
			}
			var x admin.SignIn
			if err := json.Unmarshal([]byte(lines[0]), &x); (err == nil) != (output == "json") {
				t.Errorf("%s: %v", lines[0], err)
			}
		})
	}
	// What will not get better by asking on ends it.
	for status, questions := range map[int]int{401: 1, 500: 0} {
		flags := logOf(t, func(n int, _ *http.Request) (int, []admin.SignIn) {
			if n < questions {
				return 200, nil
			}
			return status, nil
		})
		if r := sallyport(t, "", append([]string{"signin", "follow"}, flags...)...); r.code != 1 || r.out != "" {
			t.Errorf("%d: %+v", status, r)
		}
	}
}

func TestFollower(t *testing.T) {
	at := unreachable.At
	record := func(id string, second int) admin.SignIn {
		return admin.SignIn{ID: id, At: at.Add(time.Duration(second) * time.Second)}
	}
	var f follower
	ids := func(page ...admin.SignIn) (s string, gap bool) {
		fresh, gap := f.take(page)
		for _, x := range fresh {
			s += x.ID
		}
		return s, gap
	}
	for i, step := range []struct {
		page  []admin.SignIn
		fresh string
		since int
	}{
		{[]admin.SignIn{record("b", 1), record("a", 0)}, "", 1},
		{[]admin.SignIn{record("b", 1), record("a", 0)}, "", 1},
		{[]admin.SignIn{record("e", 3), record("d", 2), record("b", 1)}, "de", 3},
		{[]admin.SignIn{record("e", 3), record("late", 1), record("d", 2)}, "late", 3}, // posted before, decided after
		{nil, "", 3},
	} {
		got, gap := ids(step.page...)
		if want := at.Add(time.Duration(step.since)*time.Second - followBack); got != step.fresh || gap || !f.since.Equal(want) {
			t.Errorf("%d: %q, gap %t, since %s", i, got, gap, f.since)
		}
	}
	full := make([]admin.SignIn, followPage)
	for i := range full {
		full[i] = record(fmt.Sprintf("<%d>", i), 100)
	}
	if _, gap := ids(full...); !gap {
		t.Error("a full page of new records may hide others, and that is not said")
	}
	if _, gap := ids(full...); gap {
		t.Error("a page of known records hides nothing")
	}
	f = follower{}
	if got, _ := ids(); got != "" || !f.since.IsZero() {
		t.Errorf("%q", got)
	}
	if got, _ := ids(record("first", 0)); got != "first" {
		t.Errorf("the first record of an empty log: %q", got)
	}
}
