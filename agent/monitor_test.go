package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestMonitorIsLoopback(t *testing.T) {
	for address, wrong := range map[string]string{
		"127.0.0.1:0":      "",
		"127.8.8.8:0":      "",
		"localhost:0":      "",
		"0.0.0.0:0":        "not this host's loopback",
		":0":               "not this host's loopback",
		"[::]:0":           "not this host's loopback",
		"192.0.2.1:0":      "not this host's loopback",
		"agent.example:0":  "not this host's loopback",
		"127.0.0.1":        "want host:port",
		"":                 "want host:port",
		"127.0.0.1:999999": "port",
	} {
		l, err := ListenMonitor(address, false)
		if err == nil {
			_ = l.Close()
		}
		if (err == nil) != (wrong == "") || err != nil && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: %v", address, err)
		}
	}
	l, err := ListenMonitor("0.0.0.0:0", true)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestReadiness(t *testing.T) {
	now := time.Now()
	attached := Status{Written: now, Link: Link{State: link.Attached}}
	with := func(s Status, states ...ldap.State) Status {
		for _, one := range states {
			s.Servers = append(s.Servers, Server{State: one})
		}
		return s
	}
	withDNS := func(s Status) Status { s.DNS = &DNS{Domain: "corp.example"}; return s }
	for _, c := range []struct {
		s                  Status
		gateway, directory string
		ok                 bool
	}{
		{with(attached, ldap.Serving), "ok", "ok", true},
		{with(attached, ldap.Down, ldap.Serving), "ok", "ok", true},
		{attached, "ok", "ok", true}, // no LDAP
		{withDNS(attached), "ok", "no domain controller serves", false},
		{with(attached, ldap.Down, ldap.Untried), "ok", "no domain controller serves", false},
		{with(Status{Written: now, Link: Link{State: link.Waiting}}, ldap.Serving), "waiting", "ok", false},
	} {
		states, ok := readiness(c.s, now)
		if states["gateway"] != c.gateway || states["directory"] != c.directory || ok != c.ok {
			t.Errorf("%+v: %v %v", c.s, states, ok)
		}
	}
}

// A check of each kind is counted once, where the page of metrics says, and the text holds no name.
func TestMetricsCountChecks(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	newDirectory(t, b)
	ask := func(request, name, password string) {
		s := b.seal(b.binding(request), name, password, false)
		b.answerer.Check(t.Context(), s.Check, s.goes)
	}
	ask("r1", "anna@corp.example", rightPassword)
	ask("r2", "anna@corp.example", "wrong")
	ask("r2", "anna@corp.example", "wrong")
	ask("r3", "anna@corp.example", "")
	l, err := ListenMonitor("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Identity: b.id, Validator: b.answerer.validator, Monitor: l})
	if err != nil {
		t.Fatal(err)
	}
	a.answerer = b.answerer
	ended := make(chan struct{})
	go func() { defer close(ended); a.monitor(t.Context(), l) }()
	t.Cleanup(func() { <-ended })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) string {
		resp, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Status + "\n" + string(text)
	}
	dc := a.Status(time.Now()).Recent[2].DC
	text := get("/metrics")
	for _, want := range []string{
		"\nsallyport_agent_checks_total{verdict=\"accepted\"} 1\n",
		"\nsallyport_agent_checks_total{verdict=\"bad_password\"} 1\n",
		"\nsallyport_agent_checks_total{verdict=\"account_locked\"} 0\n",
		"\nsallyport_agent_errors_total{code=\"90031\",kind=\"refused\"} 1\n",
		"\nsallyport_agent_errors_total{code=\"90034\",kind=\"refused\"} 1\n",
		"\nsallyport_agent_errors_total{code=\"80007\",kind=\"trouble\"} 0\n",
		"\nsallyport_agent_check_duration_seconds_count{outcome=\"refused\"} 2\n",
		"\nsallyport_agent_directory_duration_seconds_count{dc=\"" + dc + "\"} 2\n",
		"\nsallyport_agent_attached 0\n",
		"\nsallyport_agent_domain_controller_serving{dc=\"" + dc + "\"} 1\n",
		"\nsallyport_agent_errors_total{code=\"" + wire.NameAmbiguous.String() + "\",kind=\"trouble\"} 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "anna") || strings.Contains(text, "lockout_guard") {
		t.Error("a name in the metrics")
	}
	if got := get("/healthz"); got != "200 OK\nok\n" {
		t.Errorf("/healthz: %s", got)
	}
	if got := get("/readyz"); !strings.HasPrefix(got, "503") || !strings.Contains(got, `"gateway":"stopped"`) {
		t.Errorf("/readyz: %s", got)
	}
	s := a.Status(time.Now())
	var seen []Outcome
	for _, f := range s.Recent {
		seen = append(seen, f.Outcome)
		if f.Trace == "" || f.At.IsZero() || f.Reason == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(seen) != 4 || seen[0] != Refused || seen[1] != Refused || seen[2] != Wrong || seen[3] != Right || s.Recent[1].Code != 90031 ||
		s.Servers[0].Latency == nil || s.Servers[0].Latency.Answers != 2 {
		t.Errorf("%+v %+v", s.Recent, s.Servers)
	}
}

// Of the lockout guard is told whether it reads all that it needs; a domain controller that DNS names has no times before it has answered.
func TestMetricsOfTheDirectory(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	v := told{state: ldap.GuardReading, servers: []ldap.ServerStatus{{Address: "dc1:636"}, {Address: "dc2:636", Found: true}}}
	for state, want := range map[ldap.GuardState]string{ldap.GuardReading: "lockout_guard_reading 1", ldap.GuardPartial: "lockout_guard_reading 0",
		ldap.GuardRefused: "lockout_guard_reading 0", ldap.GuardUntried: "lockout_guard_reading 0"} {
		v.state = state
		a, err := New(Config{Identity: b.id, Validator: v})
		if err != nil {
			t.Fatal(err)
		}
		page := httptest.NewRecorder()
		promhttp.HandlerFor(a.gatherer(), promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		text := page.Body.String()
		if !strings.Contains(text, "\nsallyport_agent_"+want+"\n") || !strings.Contains(text, `directory_duration_seconds_count{dc="dc1:636"} 0`) ||
			strings.Contains(text, `directory_duration_seconds_count{dc="dc2:636"}`) {
			t.Errorf("%s:\n%s", state, text)
		}
	}
}

// told is a validator that says how it stands, and no more.
type told struct {
	directory.Validator
	state   ldap.GuardState
	servers []ldap.ServerStatus
}

func (v told) GuardStatus() ldap.GuardStatus { return ldap.GuardStatus{State: v.state} }
func (v told) Status() []ldap.ServerStatus   { return v.servers }

// Whoever is to be notified hears of the agent at once and at every interval, until the end.
func TestNotices(t *testing.T) {
	b := newBench(t, slog.LevelInfo, Limits{})
	synctest.Test(t, func(t *testing.T) {
		var heard []time.Duration
		begun := time.Now()
		a, err := New(Config{Identity: b.id, Validator: b.answerer.validator, Notify: func(s Status) { heard = append(heard, s.Written.Sub(begun)) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 2*statusInterval+time.Millisecond)
		defer stop()
		a.notices(ctx)
		if !slices.Equal(heard, []time.Duration{0, statusInterval, 2 * statusInterval}) {
			t.Errorf("heard at %v", heard)
		}
	})
}
