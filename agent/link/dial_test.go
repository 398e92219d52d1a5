package link

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy is a small CONNECT proxy. It knows one name, which no resolver knows.
func proxy(t testing.TB, answer func(*http.Request) (status string, to string)) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); tasks.Wait() })
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				status, to := answer(r)
				if _, err := io.WriteString(conn, "HTTP/1.1 "+status); err != nil || to == "" {
					return
				}
				up, err := net.Dial("tcp", to)
				if err != nil {
					t.Error(err)
					return
				}
				tasks.Go(func() { _, _ = io.Copy(up, conn); _ = up.Close() })
				_, _ = io.Copy(conn, up)
			})
		}
	})
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

func TestThroughAProxyThatResolvesTheName(t *testing.T) {
	attached := make(chan struct{})
	id := scripted(t, "gateway.name-that-no-resolver-knows.invalid", func(_ int, f far) {
		f.welcome(ordinary())
		close(attached)
		f.recv()
	})
	_, port, _ := net.SplitHostPort(id.gateway)
	p := proxy(t, func(r *http.Request) (string, string) {
		if r.Method != http.MethodConnect || r.Host != id.gateway || r.Header.Get("Proxy-Authorization") != "Basic dTpwOnc=" {
			t.Errorf("proxy got %s %s %v", r.Method, r.Host, r.Header)
		}
		return "200 Connection established\r\n\r\n", "127.0.0.1:" + port
	})
	p.User = url.UserPassword("u", "p:w")
	l := start(t, Config{Identity: id, Handler: idle, Proxy: p})
	<-attached
	until(t, "attached", func() bool { return l.Status().State == Attached })
}

func TestProxyThatRefuses(t *testing.T) {
	for name, c := range map[string]struct{ status, want string }{
		"credentials": {"407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\n\r\n", "Negotiate"},
		"forbidden":   {"403 Forbidden\r\n\r\n", "403 Forbidden"},
		"injects":     {"200 OK\r\n\r\nhello", "bytes of its own"},
		"junk":        {"\x00\x00", "answer to CONNECT"},
		"endless":     {"200 OK\r\nX: " + strings.Repeat("x", 2*maxProxyReply), "answer to CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			p := proxy(t, func(*http.Request) (string, string) { return c.status, "" })
			p.User = url.UserPassword("u", "hidden")
			_, err := dial(t.Context(), p, "gateway.invalid:443")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestProxyThatHangsIsLeft(t *testing.T) {
	asked := make(chan struct{})
	over := make(chan struct{})
	p := proxy(t, func(*http.Request) (string, string) { close(asked); <-over; return "", "" })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := dial(ctx, p, "gateway.invalid:443"); err == nil {
		t.Error("a tunnel through a proxy that never answered")
	}
	close(over)
}

func TestProxyAddress(t *testing.T) {
	for in, want := range map[string]string{"http://p": "p:80", "https://p": "p:443", "http://p:3128": "p:3128", "http://[::1]:1": "[::1]:1"} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxyAddress(u); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzConnect(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		_ = ours.SetDeadline(time.Now().Add(5 * time.Second))
		go func() {
			defer theirs.Close()
			_, _ = http.ReadRequest(bufio.NewReader(theirs))
			_, _ = theirs.Write(answer)
		}()
		conn, err := connect(context.Background(), ours, &url.URL{Scheme: "http", Host: "p"}, "g:443")
		if err == nil && (conn == nil || !strings.HasPrefix(string(answer), "HTTP/")) {
			t.Fatalf("a tunnel from %q", answer)
		}
	})
}
