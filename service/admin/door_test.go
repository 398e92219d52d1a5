package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// paths fills the wildcards of a pattern.
func paths(pattern, tenant string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	path = strings.TrimPrefix(path, "/admin/v1")
	for name, value := range map[string]string{"tenant": tenant, "algorithm": "ES256", "directory": "corp", "domain": "corp.example",
		"user": "ada@cloud.example", "app": "x", "agent": "agent-1", "token": "x"} {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return method, path
}

// TestEveryRouteIsGuarded walks all registered routes: without a token, with one that is unknown or expired, and with a token of
// another tenant, to whom this one looks as if it did not exist.
func TestEveryRouteIsGuarded(t *testing.T) {
	w := newWorld(t)
	past := time.Now().Add(-48 * time.Hour)
	expired := must(CreateToken(t.Context(), w.cfg.DB, NewToken{Life: time.Hour}, past))(t).Secret
	routes := w.api.routes()
	if len(routes) < 40 {
		t.Fatalf("only %d routes: is the table whole?", len(routes))
	}
	for pattern := range routes {
		t.Run(pattern, func(t *testing.T) {
			w := *w
			w.t = t
			method, path := paths(pattern, "contoso")
			for _, token := range []string{"", "sallyport-admin-unknown", expired} {
				a := w.want(http.StatusUnauthorized, token, method, path, "")
				challenge := a.header.Get("WWW-Authenticate")
				if !strings.HasPrefix(challenge, `Bearer realm=`) || strings.Contains(challenge, "invalid_token") != (token != "") {
					t.Errorf("with %.20q: WWW-Authenticate %q", token, challenge)
				}
				if a.problem.Detail != "" {
					t.Errorf("why a token failed is told: %q", a.problem.Detail)
				}
			}
			if !strings.Contains(pattern, "{tenant}") {
				a := w.want(http.StatusForbidden, w.contoso, method, path, "")
				if a.problem.Code != wire.Forbidden {
					t.Errorf("%+v", a.problem)
				}
				return
			}
			foreign := w.want(http.StatusNotFound, w.fabrikam, method, path, `{}`)
			_, nowhere := paths(pattern, "nowhere") // a name of the same length that no tenant has
			absent := w.want(http.StatusNotFound, w.fabrikam, method, nowhere, `{}`)
			if len(foreign.body) != len(absent.body) || foreign.problem.Code != absent.problem.Code || foreign.problem.Title != absent.problem.Title {
				t.Errorf("another tenant looks different from one that does not exist:\n%s%s", foreign.body, absent.body)
			}
			if f, a := fmt.Sprint(foreign.header), fmt.Sprint(absent.header); f != a {
				t.Errorf("the headers differ:\n%s\n%s", f, a)
			}
			id := w.scope.String()
			if method, byID := paths(pattern, id); w.ask(w.fabrikam, method, byID, `{}`).status != http.StatusNotFound {
				t.Error("another tenant is found by its id")
			}
		})
	}
	// Nothing was changed by all that.
	if got := read[Tenant](t, w.want(http.StatusOK, w.contoso, "GET", "/tenants/contoso", "")); got.DisplayName != "contoso" {
		t.Errorf("%+v", got)
	}
}

func TestAuthorizationHeader(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		values []string
		want   int
	}{
		{"as usual", []string{"Bearer " + w.root}, 200},
		{"lower case scheme", []string{"bearer " + w.root}, 200},
		{"another scheme", []string{"Basic " + w.root}, 401},
		{"no scheme", []string{w.root}, 401},
		{"twice", []string{"Bearer " + w.root, "Bearer " + w.root}, 401},
		{"long", []string{"Bearer " + strings.Repeat("x", 10_000)}, 401},
		{"empty", []string{"Bearer "}, 401},
		{"prefix of one", []string{"Bearer " + w.root[:len(w.root)-1]}, 401},
	} {
		r := httptest.NewRequest("GET", "https://login.example.com/admin/v1/tenants", nil)
		r.Header["Authorization"] = c.values
		rec := httptest.NewRecorder()
		w.all.ServeHTTP(rec, r)
		if rec.Code != c.want {
			t.Errorf("%s: %d, not %d", c.name, rec.Code, c.want)
		}
	}
}

// TestStrayRequests: unknown paths, methods that a path does not have, and who may learn of them.
func TestStrayRequests(t *testing.T) {
	w := newWorld(t)
	w.want(http.StatusUnauthorized, "", "GET", "/nothing", "")
	w.want(http.StatusUnauthorized, "", "PUT", "/tenants", "")
	w.want(http.StatusNotFound, w.root, "GET", "/nothing", "")
	w.want(http.StatusNotFound, w.root, "GET", "/tenants/contoso/nothing", "")
	for path, allow := range map[string]string{"/tenants": "GET, POST", "/tenants/contoso": "GET, PATCH, DELETE",
		"/tenants/contoso/users/ada@cloud.example/password": "PUT", "/tenants/contoso/signins": "GET"} {
		a := w.want(http.StatusMethodNotAllowed, w.root, "OPTIONS", path, "")
		if got := a.header.Get("Allow"); got != allow || !strings.Contains(a.problem.Detail, allow) {
			t.Errorf("%s: Allow %q, %s", path, got, a.body)
		}
	}
	for header, want := range map[string]string{"Strict-Transport-Security": "max-age=", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if got := w.want(http.StatusOK, w.root, "GET", "/tenants", "").header.Get(header); !strings.Contains(got, want) {
			t.Errorf("%s: %q", header, got)
		}
	}
}

// TestBodies: what is not exactly one JSON object of known fields is refused, and said.
func TestBodies(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"empty", "", 400, "the body is empty"},
		{"not JSON", "name=x", 400, "not the JSON expected"},
		{"unknown field", `{"name":"x","colour":"#000"}`, 400, `unknown field "colour"`},
		{"wrong type", `{"name":1}`, 400, "cannot unmarshal number"},
		{"two values", `{"name":"x1"} {"name":"x2"}`, 400, "more than one JSON value"},
		{"cut off", `{"name":"x`, 400, "not the JSON expected"},
		{"too large", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "larger than 65536 bytes"},
		{"large behind the value", `{"name":"behind"}` + strings.Repeat(" ", maxBody), 413, "larger than 65536 bytes"},
		{"a list", `[]`, 400, "cannot unmarshal array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			a := w.want(c.status, w.root, "POST", "/tenants", c.body)
			if !strings.Contains(a.problem.Detail, c.want) || a.problem.Code != wire.BadRequest {
				t.Errorf("%s", a.body)
			}
		})
	}
	if all := read[Page[Tenant]](t, w.want(http.StatusOK, w.root, "GET", "/tenants", "")); len(all.Items) != 2 {
		t.Errorf("a refused body made a tenant: %+v", all)
	}
}

// TestPaging reads lists longer than a page.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	for i := range pageSize + 1 {
		w.want(http.StatusCreated, w.contoso, "POST", "/tenants/contoso/users", fmt.Sprintf(`{"upn":"user%d@cloud.example"}`, i))
	}
	first := read[Page[User]](t, w.want(http.StatusOK, w.contoso, "GET", "/tenants/contoso/users", ""))
	if len(first.Items) != pageSize || first.Next == "" {
		t.Fatalf("%d items, next %q", len(first.Items), first.Next)
	}
	second := read[Page[User]](t, w.want(http.StatusOK, w.contoso, "GET", "/tenants/contoso/users?after="+first.Next, ""))
	if len(second.Items) != 2 || second.Next != "" {
		t.Errorf("%d items, next %q", len(second.Items), second.Next)
	}
	small := read[Page[User]](t, w.want(http.StatusOK, w.contoso, "GET", "/tenants/contoso/users?limit=3", ""))
	if len(small.Items) != 3 || small.Next != small.Items[2].ID {
		t.Errorf("%d items, next %q", len(small.Items), small.Next)
	}
	for _, limit := range []string{"0", "-1", "501", "many"} {
		a := w.want(http.StatusBadRequest, w.contoso, "GET", "/tenants/contoso/users?limit="+limit, "")
		if !strings.Contains(a.problem.Detail, "from 1 to 500") {
			t.Errorf("%s", a.body)
		}
	}
	// The client reads all of it.
	server := httptest.NewServer(w.all)
	defer server.Close()
	c := &Client{BaseURL: server.URL + "/", Token: w.contoso}
	all, err := All[User](t.Context(), c, Path("tenants", "contoso", "users"))
	if err != nil || len(all) != pageSize+2 {
		t.Fatalf("%d users, %v", len(all), err)
	}
	ids := make([]string, len(all))
	for i, u := range all {
		ids[i] = u.ID
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(all) {
		t.Error("a user comes twice")
	}
	if none, err := All[Agent](t.Context(), c, Path("tenants", "contoso", "agents")); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

// TestInternalFailureIsLogged: the store is gone; the caller learns a number and a trace, the log the cause.
func TestInternalFailureIsLogged(t *testing.T) {
	w := newWorld(t)
	w.cfg.Tenants = nil // a handler that panics
	w.api.cfg.Tenants = nil
	a := w.want(http.StatusInternalServerError, w.root, "GET", "/tenants", "")
	if a.problem.Code != wire.Internal || a.problem.Detail != "" || !strings.Contains(w.log.String(), a.problem.Trace) {
		t.Errorf("%s\n%s", a.body, w.log)
	}
}

// FuzzRequests sends any query and any body to any route: whatever is wrong is the caller's fault, and is said in a problem
// document with a number.
func FuzzRequests(f *testing.F) {
	w := newWorld(f)
	routes := slices.Sorted(maps.Keys(w.api.routes()))
	for i := range routes {
		f.Add(uint8(i), "limit=1&after=x", []byte(`{"name":"a","kind":"cloud","upn":"b@cloud.example","redirect_uris":["https://a"]}`))
	}
	f.Add(uint8(0), "limit=-1&since=x&user=%00", []byte("{"))
	f.Fuzz(func(t *testing.T, route uint8, query string, body []byte) {
		method, path := paths(routes[int(route)%len(routes)], "contoso")
		r := httptest.NewRequest(method, "https://login.example.com/admin/v1"+path, bytes.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer "+w.contoso)
		rec := httptest.NewRecorder()
		w.all.ServeHTTP(rec, r)
		var p wire.Problem
		if rec.Code >= 500 || rec.Code >= 400 && (json.Unmarshal(rec.Body.Bytes(), &p) != nil || p.Code == 0) {
			t.Errorf("%s %s?%s %q: %d %s", method, path, query, body, rec.Code, rec.Body)
		}
	})
}
