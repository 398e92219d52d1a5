package oidc

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestLog: one debug line for each request, the cause of a refusal at info, and nothing in either that opens anything.
func TestLog(t *testing.T) {
	w := newWorld(t)
	var out lines
	w.p.log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	code := w.code(w.web, "scope", offline)
	tokens := w.exchange(w.web, code).json
	next := w.refresh(w.web, tokens["refresh_token"].(string)).json
	w.userInfo("acme", tokens["access_token"])
	w.exchange(w.web, code)
	w.post(w.address("acme", "/oauth2/token"), with(w.exchangeForm(w.web, code), "client_secret", w.web.secret+"x").Encode())
	w.authorize("acme", with(w.request(w.web), "scope", "none"))
	w.get(w.address("acme", "/oauth2/userinfo?access_token="+next["access_token"].(string)))

	requests, causes := 0, map[string]string{}
	for line := range strings.Lines(out.b.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		switch l["level"] {
		case "DEBUG":
			requests++
			if l["tenant"] != "acme" || l["endpoint"] == "" || l["outcome"] == "" || l["trace"] == "" {
				t.Errorf("the line lacks something: %s", line)
			}
		case "INFO":
			causes[l["endpoint"].(string)+" "+l["outcome"].(string)] = l["error"].(string)
		default:
			t.Errorf("unexpected: %s", line)
		}
	}
	if requests != 9 {
		t.Errorf("%d lines for 9 requests", requests)
	}
	for outcome, cause := range map[string]string{"token invalid_grant": errReused.Error(), "token invalid_client": errWrongSecret.Error(),
		"authorize invalid_scope": "openid", "userinfo invalid_request": "address"} {
		if !strings.Contains(causes[outcome], cause) {
			t.Errorf("%s: the log says %q", outcome, causes[outcome])
		}
	}
	for _, secret := range []any{code, w.web.secret, verifier, tokens["access_token"], tokens["refresh_token"], next["refresh_token"], next["access_token"], tokens["id_token"]} {
		if strings.Contains(out.b.String(), secret.(string)) {
			t.Errorf("the log holds a secret: %v", secret)
		}
	}
	if n := testutil.ToFloat64(w.p.requests.WithLabelValues("token", "invalid_client")); n != 1 {
		t.Errorf("%v refused clients were counted", n)
	}
}
