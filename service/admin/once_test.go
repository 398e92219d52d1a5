package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/wire"
)

// age makes all kept answers older.
func (w *world) age(d time.Duration) {
	w.t.Helper()
	if err := w.cfg.DB.Write(w.t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(w.t.Context(), `UPDATE idempotency SET taken_at = taken_at - $1`, d.Milliseconds())
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

// kept counts the rows of kept answers.
func (w *world) kept() (n int) {
	w.t.Helper()
	if err := w.cfg.DB.Reader().QueryRowContext(w.t.Context(), `SELECT count(*) FROM idempotency`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func onEveryDatabase(t *testing.T, test func(t *testing.T, w *world)) {
	for _, c := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"SQLite", func(t *testing.T) string { return dbtest.SQLite(t) }},
		{"PostgreSQL", func(t *testing.T) string { return dbtest.Schema(t, dbtest.Postgres(t)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := must(db.Open(t.Context(), db.Config{URL: c.url(t)}))(t)
			t.Cleanup(func() { _ = store.Close() })
			test(t, newWorldOn(t, store))
		})
	}
}

// TestOnce: a repeated request is answered as the first time, whatever it makes, and makes nothing.
func TestOnce(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, w *world) {
		const below = "/tenants/contoso"
		for i, c := range []struct {
			token, path, body string
			status            int
		}{
			{w.root, "/tenants", `{"name":"northwind"}`, 201},
			{w.root, "/admin-tokens", `{"note":"a <b> & c"}`, 201},
			{w.contoso, below + "/directories", `{"name":"lab"}`, 201},
			{w.contoso, below + "/domains", `{"name":"lab.example","kind":"cloud"}`, 201},
			{w.contoso, below + "/users", `{"upn":"bob@cloud.example"}`, 201},
			{w.contoso, below + "/apps", `{"name":"Shop","redirect_uris":["https://shop.example/cb?a=1&b=2"]}`, 201},
			{w.contoso, below + "/agent-tokens", `{"directory":"corp"}`, 201},
			{w.contoso, below + "/keys/ES256/replace", "", 204},
		} {
			key := fmt.Sprintf("key %d ~", i)
			first := w.askOnce(key, c.token, "POST", c.path, c.body)
			again := w.askOnce(key, c.token, "POST", c.path, c.body)
			if first.status != c.status || again.status != c.status || again.body != first.body || first.header.Get(replayedHeader) != "" ||
				again.header.Get(replayedHeader) != "true" || again.header.Get("Content-Type") != first.header.Get("Content-Type") ||
				again.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s:\n%d %s%d %s%v", c.path, first.status, first.body, again.status, again.body, again.header)
			}
		}
		if all := read[Page[AgentToken]](t, w.want(200, w.contoso, "GET", below+"/agent-tokens", "")); len(all.Items) != 1 {
			t.Errorf("%d agent tokens", len(all.Items))
		}
		if w.kept() != 8 {
			t.Errorf("%d answers are kept", w.kept())
		}
		// What is kept tells a thief of the database nothing.
		app := read[App](t, w.askOnce("key 5 ~", w.contoso, "POST", below+"/apps", `{"name":"Shop","redirect_uris":["https://shop.example/cb?a=1&b=2"]}`))
		rows, err := w.cfg.DB.Reader().QueryContext(t.Context(), `SELECT answer FROM idempotency`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var sealed []byte
			if err := rows.Scan(&sealed); err != nil || len(sealed) == 0 || app.Secret == "" || bytes.Contains(sealed, []byte(app.Secret)) || bytes.Contains(sealed, []byte("secret")) {
				t.Errorf("%q, %v", sealed, err)
			}
		}
	})
}

// TestOnceRefusals: a key means one request of one token.
func TestOnceRefusals(t *testing.T) {
	w := newWorld(t)
	const path, body = "/tenants/contoso/agent-tokens", `{"directory":"corp"}`
	first := w.askOnce("k", w.contoso, "POST", path, body)
	for name, a := range map[string]answer{
		"another body":    w.askOnce("k", w.contoso, "POST", path, `{"directory":"corp","uses":2}`),
		"no body":         w.askOnce("k", w.contoso, "POST", path, ""),
		"another path":    w.askOnce("k", w.contoso, "POST", "/tenants/contoso/directories", body),
		"another address": w.askOnce("k", w.contoso, "POST", "/tenants/"+w.scope.String()+"/agent-tokens", body),
	} {
		if a.status != 409 || a.problem.Code != wire.Conflict || !strings.Contains(a.problem.Detail, "another request") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	// Keys of other tokens are others, in the same tenant as elsewhere.
	if a := w.askOnce("k", w.root, "POST", path, body); a.status != 201 || a.body == first.body {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("k", w.fabrikam, "POST", "/tenants/fabrikam/agent-tokens", body); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("k", w.fabrikam, "POST", path, body); a.status != 404 {
		t.Errorf("another tenant's answer: %d %s", a.status, a.body)
	}
	for name, keys := range map[string][]string{"empty": {""}, "long": {strings.Repeat("k", maxKey+1)}, "a tab": {"a\tb"}, "not ASCII": {"schlüssel"}, "two": {"a", "b"}} {
		a := w.askWith(http.Header{keyHeader: keys}, w.contoso, "POST", path, body)
		if a.status != 400 || !strings.Contains(a.problem.Detail, "1 to 64 printable") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.askOnce(strings.Repeat("k", maxKey), w.contoso, "POST", path, body); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("large", w.contoso, "POST", path, strings.Repeat(" ", maxBody+1)); a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("k", w.contoso, "GET", path, ""); a.status != 200 { // of no meaning here
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("k", "", "POST", path, body); a.status != 401 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestOnceFailures: what failed is not kept, so that it can be tried again once its cause is gone.
func TestOnceFailures(t *testing.T) {
	w := newWorld(t)
	const path, body = "/tenants/contoso/users", `{"upn":"eve@new.example"}`
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.want(201, w.contoso, "POST", "/tenants/contoso/domains", `{"name":"new.example","kind":"cloud"}`)
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.status != 201 || a.header.Get(replayedHeader) != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	before := w.kept()
	users := w.api.cfg.Users
	w.api.cfg.Users = nil // a handler that panics
	if a := w.askOnce("panic", w.contoso, "POST", path, `{"upn":"x@new.example"}`); a.status != 500 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.api.cfg.Users = users
	if w.kept() != before {
		t.Error("the key stays taken after a panic")
	}
	// An answer that is too large: the thing is made once, and that is said.
	uris := make([]string, 0, 100)
	for i := range 20 {
		uris = append(uris, fmt.Sprintf(`"https://shop.example/%d?%s"`, i, strings.Repeat("&", 900)))
	}
	large := `{"name":"Large","redirect_uris":[` + strings.Join(uris, ",") + `]}`
	if a := w.askOnce("large", w.contoso, "POST", "/tenants/contoso/apps", large); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.askOnce("large", w.contoso, "POST", "/tenants/contoso/apps", large); a.status != 409 || !strings.Contains(a.problem.Detail, "too large to be kept") {
		t.Errorf("%d %.300s", a.status, a.body)
	}
}

// TestOnceEnds: answers are kept for a day, those of a token that is gone not at all, and a key without an answer is free again.
func TestOnceEnds(t *testing.T) {
	w := newWorld(t)
	const path, body = "/tenants/contoso/agent-tokens", `{"directory":"corp"}`
	first := w.askOnce("k", w.contoso, "POST", path, body)
	w.age(keyLife - time.Minute)
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.body != first.body {
		t.Errorf("%s", a.body)
	}
	w.age(time.Minute)
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.status != 201 || a.body == first.body {
		t.Errorf("%d %s", a.status, a.body)
	}
	// A process died between taking the key and answering.
	if err := w.cfg.DB.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE idempotency SET status = 0, answer = NULL`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.status != 409 || !strings.Contains(a.problem.Detail, "not been answered yet") {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.age(keyLease)
	if a := w.askOnce("k", w.contoso, "POST", path, body); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := w.api.sweep(t.Context(), time.Now()); err != nil || w.kept() != 1 {
		t.Errorf("%d kept, %v", w.kept(), err)
	}
	if err := w.api.sweep(t.Context(), time.Now().Add(keyLife)); err != nil || w.kept() != 0 {
		t.Errorf("%d kept, %v", w.kept(), err)
	}
	w.askOnce("k", w.contoso, "POST", path, body)
	if err := EndToken(t.Context(), w.cfg.DB, w.contoso); err != nil || w.kept() != 0 {
		t.Errorf("%d kept, %v", w.kept(), err)
	}
}

// TestOnceRace: of many requests at once one makes the thing; the others hear of it or are told to wait.
func TestOnceRace(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, w *world) {
		const path, body = "/tenants/contoso/agent-tokens", `{"directory":"corp"}`
		answers := make([]answer, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = w.askOnce("race", w.contoso, "POST", path, body) })
		}
		all.Wait()
		made := map[string]bool{}
		for _, a := range answers {
			switch a.status {
			case 201:
				made[a.body] = true
			case 409:
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if list := read[Page[AgentToken]](t, w.want(200, w.contoso, "GET", path, "")); len(made) != 1 || len(list.Items) != 1 {
			t.Errorf("%d answers, %d tokens", len(made), len(list.Items))
		}
	})
}

// TestClientAsksAgain: the connection breaks when the thing is made and its answer not told; the client hears of it all the same.
func TestClientAsksAgain(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var keys []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys = append(keys, r.Header.Get(keyHeader))
		first := len(keys) == 1
		mu.Unlock()
		if first {
			w.all.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		w.all.ServeHTTP(rw, r)
	}))
	defer server.Close()
	c := &Client{BaseURL: server.URL, Token: w.contoso}
	var made AgentToken
	if err := c.Do(t.Context(), http.MethodPost, Path("tenants", "contoso", "agent-tokens"), AgentTokenInput{Directory: "corp"}, &made); err != nil || made.Secret == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(keys)
	}
	if keys := seen(); len(keys) != 2 || keys[0] != keys[1] || !usableKey(keys[0]) {
		t.Errorf("%q", keys)
	}
	if all, err := All[AgentToken](t.Context(), c, Path("tenants", "contoso", "agent-tokens")); err != nil || len(all) != 1 || all[0].ID != made.ID {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.Do(t.Context(), http.MethodPost, Path("tenants", "contoso", "agent-tokens"), AgentTokenInput{Directory: "corp"}, nil); err != nil || seen()[3] == seen()[0] {
		t.Errorf("%q, %v", seen(), err)
	}
	if seen()[2] != "" {
		t.Error("a GET has a key")
	}
	if lost(io.ErrClosedPipe) || !lost(fmt.Errorf("x: %w", io.EOF)) {
		t.Error("which errors are worth another try")
	}
}
