package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

func get(h http.Handler, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://login.example/x", nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTrace(t *testing.T) {
	var id, parent string
	h := Trace(Trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, parent = TraceID(r.Context()), Traceparent(r.Context())
	})))
	pattern := regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-01$`)
	seen := map[string]bool{}
	for range 3 {
		get(h, func(r *http.Request) {
			r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		})
		if m := pattern.FindStringSubmatch(parent); m == nil || m[1] != id || seen[id] || strings.HasPrefix(id, "4bf92f") {
			t.Errorf("trace %q, traceparent %q", id, parent)
		}
		seen[id] = true
	}
	if TraceID(t.Context()) != "" || Traceparent(t.Context()) != "" {
		t.Error("a trace without a request")
	}
	old := strings.Repeat("ab", 16)
	ctx := ContinueTrace(t.Context(), old)
	if TraceID(ctx) != old || !strings.HasPrefix(Traceparent(ctx), "00-"+old+"-") {
		t.Errorf("continued as %q", Traceparent(ctx))
	}
	for _, bad := range []string{"", "ab", strings.Repeat("0", 32), strings.Repeat("AB", 16), strings.Repeat("zz", 16), old + "0"} {
		if TraceID(ContinueTrace(t.Context(), bad)) != "" {
			t.Errorf("%q was continued", bad)
		}
	}
}

func TestClientAddress(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "192.0.2.7", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		trusted      []netip.Prefix
		want         string
	}{
		{"direct", "198.51.100.1:4711", nil, proxies, "198.51.100.1"},
		{"direct, forged header", "198.51.100.1:4711", []string{"203.0.113.9"}, proxies, "198.51.100.1"},
		{"no proxies known", "10.0.0.1:4711", []string{"203.0.113.9"}, nil, "10.0.0.1"},
		{"one proxy", "10.0.0.1:4711", []string{"203.0.113.9"}, proxies, "203.0.113.9"},
		{"forged on the left", "10.0.0.1:4711", []string{"1.1.1.1, 203.0.113.9"}, proxies, "203.0.113.9"},
		{"two proxies, two headers", "10.0.0.1:4711", []string{"1.1.1.1", "203.0.113.9, 192.0.2.7"}, proxies, "203.0.113.9"},
		{"only proxies", "10.0.0.1:4711", []string{"10.0.0.2"}, proxies, "10.0.0.2"},
		{"garbage", "10.0.0.1:4711", []string{"203.0.113.9, unknown"}, proxies, "10.0.0.1"},
		{"with a port", "10.0.0.1:4711", []string{"203.0.113.9:1234"}, proxies, "203.0.113.9"},
		{"IPv6 with a port", "[fd00::1]:4711", []string{"[2001:db8::9]:1234"}, proxies, "2001:db8::9"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:4711", []string{"::ffff:203.0.113.9"}, proxies, "203.0.113.9"},
		{"zone", "[fe80::1%eth0]:4711", nil, proxies, "fe80::1"},
		{"no address", "pipe", []string{"203.0.113.9"}, proxies, ""},
	} {
		var got string
		get(Client(c.trusted)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = ClientAddress(r) })), func(r *http.Request) {
			r.RemoteAddr = c.remote
			r.Header["X-Forwarded-For"] = c.forwarded
		})
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if _, err := ParseProxies([]string{"proxy.example"}); err == nil {
		t.Error("a name was taken as an address")
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if got := ClientAddress(r); got != "192.0.2.1" {
		t.Errorf("outside of Client: %q", got)
	}
}

func FuzzClientAddress(f *testing.F) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/1")}
	f.Add("10.0.0.1:1", "1.2.3.4, 5.6.7.8")
	f.Add("[::1]:1", ",,, ,")
	f.Add("10.0.0.1:1", strings.Repeat("10.0.0.1,", 100))
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		got := clientAddress(remote, []string{forwarded}, trusted)
		if got == "" {
			return
		}
		if a, err := netip.ParseAddr(got); err != nil || a.Zone() != "" || a.Is4In6() {
			t.Fatalf("%q, %q: %q", remote, forwarded, got)
		}
		if alone := clientAddress(remote, []string{forwarded}, nil); alone != clientAddress(remote, nil, nil) {
			t.Fatalf("the header was looked at without trust: %q", alone)
		}
	})
}

func TestRecover(t *testing.T) {
	for _, c := range []struct {
		name   string
		panic  func()
		logged string
	}{
		{"text", func() { panic("the password is canary") }, "string"},
		{"error", func() { panic(fmt.Errorf("canary")) }, "*fmt.wrapError|*errors.errorString"},
		{"runtime", func() { var s []int; _ = s[len(s)] }, "index out of range"},
	} {
		var log bytes.Buffer
		h := Chain(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { c.panic() }), Trace, Recover(slog.New(slog.NewTextHandler(&log, nil))))
		w := get(h, func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") })
		trace := regexp.MustCompile(`id="trace">([0-9a-f]{32})<`).FindStringSubmatch(w.Body.String())
		if w.Code != 500 || trace == nil || !strings.Contains(log.String(), trace[1]) {
			t.Errorf("%s: %d, log %s", c.name, w.Code, log.String())
		}
		if strings.Contains(log.String(), "canary") || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s: a panic's value got out: %s", c.name, log.String())
		}
		if !strings.Contains(log.String(), "web.TestRecover") {
			t.Errorf("%s: the log does not say where: %s", c.name, log.String())
		}
		if first, _, ok := strings.Cut(c.logged, "|"); !ok && !strings.Contains(log.String(), first) {
			t.Errorf("%s: the log lacks %q: %s", c.name, first, log.String())
		}
		if got := get(h); got.Header().Get("Content-Type") != wire.ProblemType || got.Code != 500 {
			t.Errorf("%s: a program gets %d %s", c.name, got.Code, got.Header().Get("Content-Type"))
		}
	}
	for name, h := range map[string]http.Handler{
		"half an answer": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("x") }),
		"abort":          http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	} {
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("%s: %v", name, v)
				}
			}()
			get(Recover(nil)(h))
		}()
	}
	// Flushing still reaches the connection.
	get(Recover(nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
	})))
}

func TestSecure(t *testing.T) {
	h := Secure(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		host  string
		https bool
		hsts  bool
	}{{"login.example", true, true}, {"login.example:8443", true, true}, {"login.example", false, false}, {"localhost:8443", true, false},
		{"acme.localhost", true, false}, {"127.0.0.1:8443", true, false}, {"[::1]:8443", true, false}} {
		got := get(h, func(r *http.Request) {
			r.Host = c.host
			if c.https {
				r.TLS = new(tls.ConnectionState)
			}
		}).Header()
		if (got.Get("Strict-Transport-Security") != "") != c.hsts {
			t.Errorf("%s, https %v: %q", c.host, c.https, got.Get("Strict-Transport-Security"))
		}
		if got.Get("Cross-Origin-Opener-Policy") != "same-origin" || !strings.Contains(got.Get("Content-Security-Policy"), "form-action 'none'") {
			t.Errorf("headers %v", got)
		}
	}
}

func TestCookies(t *testing.T) {
	token := NewToken()
	w := httptest.NewRecorder()
	SetCookie(w, "sallyport-x", token)
	if got := w.Header().Get("Set-Cookie"); got != "__Host-sallyport-x="+token+"; Path=/; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("set as %q", got)
	}
	ClearCookie(w, "sallyport-x")
	if got := w.Header().Values("Set-Cookie")[1]; got != "__Host-sallyport-x=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("cleared by %q", got)
	}
	for _, c := range []struct{ header, want string }{
		{"__Host-sallyport-x=" + token, token},
		{"a=b; __Host-sallyport-x=" + token + "; c=d", token},
		{"sallyport-x=" + token, ""},
		{"__Host-sallyport-x=" + token + "; __Host-sallyport-x=" + NewToken(), ""},
		{"__Host-sallyport-x=" + token[1:], ""},
		{"__Host-sallyport-x=" + strings.Repeat("!", tokenLength), ""},
		{"", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c.header)
		if got := Cookie(r, "sallyport-x"); got != c.want {
			t.Errorf("%q: %q", c.header, got)
		}
	}
}

func TestProblem(t *testing.T) {
	secretCause := errors.New("dial tcp 10.1.2.3: refused")
	for _, c := range []struct {
		err    error
		status int
		detail string
	}{
		{fault.New(wire.NotFound, "no user \"x\""), 404, "no user \"x\""},
		{fault.Wrap(wire.Conflict, "the name is taken", secretCause), 409, "the name is taken"},
		{fault.New(wire.EnrolTokenInvalid, "used up"), 401, ""},
		{fault.Wrap(wire.NoAgent, "directory corp", secretCause), 503, ""},
		{secretCause, 500, ""},
	} {
		w := get(Trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Problem(w, r, fmt.Errorf("outer: %w", c.err)) })))
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || p.Status != c.status || p.Detail != c.detail || p.Code != fault.CodeOf(c.err) || p.Title == "" || len(p.Trace) != 32 ||
			w.Header().Get("Content-Type") != wire.ProblemType {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "10.1.2.3") {
			t.Errorf("a cause got out: %s", w.Body)
		}
	}
}

// Every number of the catalogue has a page with its words, its number and the trace id, and no cause.
func TestErrorPages(t *testing.T) {
	for _, e := range wire.Catalogue() {
		w := get(Trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Error(w, r, fault.Wrap(e.Code, "private", errors.New("cause")))
		})))
		body := w.Body.String()
		if w.Code < 400 || w.Code != Status(e.Code) || !strings.Contains(body, `id="error-code">`+e.Code.String()+"<") ||
			!strings.Contains(body, `id="error" role="alert">`+template.HTMLEscapeString(e.Public)+"<") || !strings.Contains(body, `id="trace"`) ||
			!strings.Contains(body, "<title>Error: ") || strings.Contains(body, "private") || strings.Contains(body, "cause") {
			t.Errorf("%d: %d\n%s", e.Code, w.Code, body)
		}
		if (w.Code == 429 || w.Code == 503) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%d: Retry-After %q", e.Code, w.Header().Get("Retry-After"))
		}
	}
}

// The policy allows exactly the styles that are in the page.
func TestStyleHashes(t *testing.T) {
	body := template.Must(template.New("").Parse(`<p>{{.}}</p>`))
	for _, color := range []string{"", "#0b5d5e", "#ffff00", "red;}body{display:none", "#12345", "#gggggg"} {
		w := httptest.NewRecorder()
		p := Page{Title: "T<", Brand: Brand{Name: "  ünï", Color: color}, Body: body, Data: "<b>", Posts: true, Refresh: "/next", Popup: true}
		if err := p.Write(w, 200); err != nil {
			t.Fatal(err)
		}
		styles := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(w.Body.String(), -1)
		if len(styles) != 2 {
			t.Fatalf("%d styles", len(styles))
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, s := range styles {
			sum := sha256.Sum256([]byte(s[1]))
			if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
				t.Errorf("%q: a style of the page is not in the policy %q", color, policy)
			}
		}
		if strings.Contains(w.Body.String(), "display:none}") || !strings.Contains(w.Body.String(), "<p>&lt;b&gt;</p>") ||
			!strings.Contains(w.Body.String(), "<title>T&lt;</title>") || !strings.Contains(w.Body.String(), ">Ü</div>") || w.Header().Get("Refresh") != "0;url=/next" {
			t.Errorf("%q: %s", color, w.Body)
		}
	}
	broken := template.Must(template.New("").Parse(`{{.Missing.Field}}`))
	w := httptest.NewRecorder()
	if err := (Page{Body: broken, Data: struct{}{}}).Write(w, 200); !fault.Has(err, wire.Internal) || w.Body.Len() != 0 {
		t.Errorf("a broken template: %v, %d bytes sent", err, w.Body.Len())
	}
}

// Text on any tenant's colour reads at 4.5:1 at least, and the colour itself stands out from both grounds at 3:1 (WCAG 2.2 §1.4.3, §1.4.11).
func TestContrast(t *testing.T) {
	darkCard := parseColor("#181c22")
	for r := 0; r < 256; r += 15 {
		for g := 0; g < 256; g += 15 {
			for b := 0; b < 256; b += 15 {
				c := rgb{uint8(r), uint8(g), uint8(b)}
				light, dark := c.toward(black, white, 3), c.toward(white, darkCard, 3)
				if contrast(light, white) < 3 || contrast(dark, darkCard) < 3 || contrast(light, textOn(light)) < 4.5 || contrast(dark, textOn(dark)) < 4.5 {
					t.Fatalf("%s: light %s, dark %s", c, light, dark)
				}
			}
		}
	}
	if got := parseColor("#0b5d5e").String(); got != "#0b5d5e" {
		t.Errorf("%q", got)
	}
	// The fixed colours of the style sheet, by ground.
	for _, c := range []struct{ ground, ink string }{{"#ffffff", "#1a1e24"}, {"#ffffff", "#57606a"}, {"#f3f4f6", "#57606a"}, {"#fdf1f0", "#8c1d18"},
		{"#181c22", "#e9ebee"}, {"#181c22", "#a6aeb8"}, {"#0f1216", "#a6aeb8"}, {"#2d1917", "#ffb4ab"}} {
		if !strings.Contains(baseStyle, c.ink) {
			t.Errorf("%s is no colour of the style sheet any more", c.ink)
		}
		if got := contrast(parseColor(c.ground), parseColor(c.ink)); got < 4.5 {
			t.Errorf("%s on %s: %.2f", c.ink, c.ground, got)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	reached := 0
	h := SameOrigin(nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	post := func(headers ...string) int {
		return get(h, func(r *http.Request) {
			r.Method = "POST"
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
		}).Code
	}
	for _, c := range []struct {
		headers []string
		want    int
	}{
		{nil, 200}, {[]string{"Sec-Fetch-Site", "same-origin"}, 200}, {[]string{"Sec-Fetch-Site", "none"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403}, {[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", "https://evil.example"}, 403}, {[]string{"Origin", "null"}, 403}, {[]string{"Origin", "https://login.example"}, 200},
		{[]string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, 200},
	} {
		if got := post(c.headers...); got != c.want {
			t.Errorf("%v: %d", c.headers, got)
		}
	}
	if reached != 5 {
		t.Errorf("%d posts came through", reached)
	}
}

func TestNameToken(t *testing.T) {
	for in, want := range map[string]string{"Gate-1.corp.example": "gate-1-corp-example", "": "x", "ÄÖ": "x", "--a__b--": "a-b",
		strings.Repeat("n", 99): strings.Repeat("n", 40)} {
		if got := NameToken(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestLimitBody(t *testing.T) {
	h := LimitBody(4)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var tooLarge *http.MaxBytesError
		if b, err := io.ReadAll(r.Body); !errors.As(err, &tooLarge) || len(b) > 4 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), "POST", "/", strings.NewReader("12345")))
}

// FuzzCookie feeds Cookie and Host headers.
func FuzzCookie(f *testing.F) {
	good := NewToken()
	f.Add("__Host-journey="+good, "localhost:8443")
	f.Add("__Host-journey="+good+"; __Host-journey="+good, "[::1]:1")
	f.Add(`__Host-journey="`+good+`"`, "sso.example")
	f.Fuzz(func(t *testing.T, cookies, host string) {
		r := &http.Request{Header: http.Header{"Cookie": {cookies}}}
		if v := Cookie(r, "journey"); v != "" && (len(v) != tokenLength || strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" ||
			strings.Count(cookies, "__Host-journey=") > 1 && len(r.CookiesNamed("__Host-journey")) > 1) {
			t.Errorf("took %q", v)
		}
		if local(host) && strings.HasSuffix(host, ".example") {
			t.Errorf("%q is taken for this machine", host)
		}
	})
}
