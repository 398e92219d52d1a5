package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// start runs the program and returns its address.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, args, write, io.Discard)
		_ = write.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "sample app ready on ")
	if !ok {
		t.Fatalf("the program said %q", line)
	}
	return address
}

// browser follows redirects and keeps cookies.
func browser(t *testing.T, p *testProvider) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	return &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

func fetch(t *testing.T, c *http.Client, method, address string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func mustHold(t *testing.T, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %q:\n%s", part, body)
		}
	}
}

func TestSignInAndOut(t *testing.T) {
	for name, secret := range map[string]string{"confidential": "s3cret/+ %", "public": ""} {
		t.Run(name, func(t *testing.T) {
			p := newTestProvider(t, secret)
			args := []string{"--issuer", p.URL, "--client-id", "sample", "--listen", "127.0.0.1:0", "--ca-file", p.caFile()}
			if secret != "" {
				p.secret = url.QueryEscape(secret) // RFC 6749 §2.3.1: encoded inside Basic
				file := filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--client-secret-file", file)
			}
			address, c := start(t, args...), browser(t, p)

			_, body := fetch(t, c, "GET", address+"/")
			mustHold(t, body, `id="signin"`)
			_, body = fetch(t, c, "GET", address+"/signin")
			mustHold(t, body, `id="claims"`, `<strong id="upn">ann@corp.example</strong>`, `id="signout"`, "&lt;Ann&gt;")
			_, body = fetch(t, c, "GET", address+"/")
			mustHold(t, body, `id="upn"`)
			_, body = fetch(t, c, "POST", address+"/signout")
			mustHold(t, body, `id="signed-out"`, `id="signin"`)
			if len(p.loggedOut) != 1 || strings.Count(p.loggedOut[0], ".") != 2 {
				t.Errorf("the provider was told %q, not one ID token", p.loggedOut)
			}
			if _, body = fetch(t, c, "GET", address+"/"); strings.Contains(body, `id="upn"`) {
				t.Error("still signed in")
			}
		})
	}
}

func TestRefusesBadAnswers(t *testing.T) {
	for _, wrong := range []string{"nonce", "issuer", "audience", "iss", "denied", "hash", "no id token"} {
		t.Run(wrong, func(t *testing.T) {
			p := newTestProvider(t, "")
			p.wrong = wrong
			address, c := start(t, "--issuer", p.URL, "--client-id", "sample", "--ca-file", p.caFile()), browser(t, p)
			status, body := fetch(t, c, "GET", address+"/signin")
			if status < 400 {
				t.Errorf("status %d", status)
			}
			mustHold(t, body, `id="error"`)
			if strings.Contains(body, "<script>") || strings.Contains(body, `id="upn"`) {
				t.Errorf("the page shows what it must not:\n%s", body)
			}
			if _, body = fetch(t, c, "GET", address+"/"); strings.Contains(body, `id="upn"`) {
				t.Error("signed in all the same")
			}
		})
	}
}

func TestRefusesForeignAnswer(t *testing.T) {
	p := newTestProvider(t, "")
	address := start(t, "--issuer", p.URL, "--client-id", "sample", "--ca-file", p.caFile())
	for name, query := range map[string]string{"no attempt": "?code=x&state=y", "nothing": "", "empty state": "?code=x&state="} {
		if status, _ := fetch(t, browser(t, p), "GET", address+"/callback"+query); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

func TestProviderAway(t *testing.T) {
	p := newTestProvider(t, "")
	address, c := start(t, "--issuer", p.URL, "--client-id", "sample", "--ca-file", p.caFile()), browser(t, p)
	p.Close()
	if status, _ := fetch(t, c, "GET", address+"/signin"); status != http.StatusBadGateway {
		t.Errorf("status %d", status)
	}
	if _, body := fetch(t, c, "POST", address+"/signout"); !strings.Contains(body, `id="signed-out"`) {
		t.Error("signing out here needs the provider")
	}
}

func TestCommandLine(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{},
		{"--issuer", "https://x.example"},
		{"--issuer", "https://x.example", "--client-id", "a", "more"},
		{"--issuer", "https://x.example", "--client-id", "a", "--unknown"},
		{"--issuer", "https://x.example", "--client-id", "a", "--listen", "0.0.0.0:0"},
		{"--issuer", "https://x.example", "--client-id", "a", "--listen", "nonsense"},
		{"--issuer", "https://x.example", "--client-id", "a", "--client-secret-file", "/does/not/exist"},
		{"--issuer", "https://x.example", "--client-id", "a", "--client-secret-file", empty},
		{"--issuer", "https://x.example", "--client-id", "a", "--ca-file", empty},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("accepted %q", args)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, io.Discard, &help); err != nil || !strings.Contains(help.String(), "-client-secret-file") {
		t.Errorf("help: %v\n%s", err, help.String())
	}
}

func TestSessionsAreBounded(t *testing.T) {
	a := newApplication(config{})
	for range maxSessions + 10 {
		r, err := http.NewRequest("GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		a.remember(discard{http.Header{}}, r, true)
	}
	if len(a.sessions) > maxSessions {
		t.Errorf("%d sessions", len(a.sessions))
	}
}

// discard is a response that nobody reads.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
