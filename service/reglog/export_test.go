package reglog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// post is what a webhook gets.
type post struct {
	Log     string   `json:"log"`
	Key     string   `json:"key"`
	Records []Record `json:"records"`
}

// inbox is a webhook's server.
type inbox struct {
	*httptest.Server
	mu      sync.Mutex
	records []Record
	key     string
	status  atomic.Int64 // what it answers
}

func newInbox(t testing.TB) *inbox {
	b := &inbox{}
	b.status.Store(http.StatusNoContent)
	b.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p post
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.Header, err)
		}
		status := int(b.status.Load())
		if status < 300 {
			b.mu.Lock()
			b.records, b.key = append(b.records, p.Records...), p.Key
			b.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *inbox) webhook() Webhook { return Webhook{URL: b.URL, HTTP: b.Client()} }

// file is what came, as an export.
func (b *inbox) file() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	for _, r := range b.records {
		fmt.Fprintf(&out, "%s\n", r.Line())
	}
	return out.String()
}

// TestExportResumes: what a receiver refuses stays, in order, and another process goes on where one stopped.
func TestExportResumes(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		hook := newInbox(t)
		w.record(w.one, 2*batch+30)
		_, key := w.checkpoint(w.one)
		hook.status.Store(http.StatusServiceUnavailable)
		err := w.Log.export(t.Context(), hook.webhook(), "a")
		if !fault.Has(err, wire.LogExportFailed) || !strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), hook.URL) {
			t.Fatalf("%v: want 90071, the answer, and not the address", err)
		}
		hook.status.Store(http.StatusOK)
		if err := w.Log.export(t.Context(), hook.webhook(), "b"); err != nil {
			t.Fatal(err)
		}
		if got := hook.file(); got != "" {
			t.Fatalf("a second process sent, too, while the first had the receiver: %s", got)
		}
		if err := w.Log.export(t.Context(), hook.webhook(), "a"); err != nil {
			t.Fatal(err)
		}
		if f := whole(t, hook.file(), Trust{Keys: []string{key}}); f.Entries != 2*batch+30 || f.Signed != f.Entries || hook.key != key {
			t.Fatalf("%+v", f)
		}
		w.exec(`UPDATE registration_export SET held_until = 0`) // the first process is gone
		w.record(w.one, 3)
		if err := w.Log.export(t.Context(), hook.webhook(), "b"); err != nil {
			t.Fatal(err)
		}
		w.checkpoint(w.one)
		for range 2 { // the second time there is nothing
			if err := w.Log.export(t.Context(), hook.webhook(), "b"); err != nil {
				t.Fatal(err)
			}
		}
		if f := whole(t, hook.file(), Trust{Keys: []string{key}}); f.Entries != 2*batch+33 || f.Signed != f.Entries || f.Held != 2 {
			t.Errorf("%+v", f)
		}
		if n := strings.Count(hook.file(), `"entry"`); n != 2*batch+33 {
			t.Errorf("%d entries were sent", n)
		}
	})
}

func TestExportOfAMissingEntry(t *testing.T) {
	w := newWorld(t, dbtest.URL(t))
	w.record(w.one, 3)
	id, _ := w.one.ID()
	w.exec(`DELETE FROM registration_entry WHERE tenant_id = $1 AND position = 1`, id)
	if err := w.Log.export(t.Context(), newInbox(t).webhook(), "a"); !fault.Has(err, wire.LogBroken) {
		t.Errorf("got %v", err)
	}
}

// TestRun lets the loops do it: sign, export to all, say a failure once and its end once.
func TestRun(t *testing.T) {
	w := newWorld(t, dbtest.URL(t))
	hook := newInbox(t)
	hook.status.Store(http.StatusInternalServerError)
	logged := &lockedBuffer{}
	w.Logger = slog.New(slog.NewTextHandler(logged, nil))
	path := filepath.Join(t.TempDir(), "log.jsonl")
	w.Receivers = []Receiver{File{Path: path}, hook.webhook()}
	if err := w.Register(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	w.record(w.one, 4)
	w.record(w.two, 2)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	logged.await(t, "registration log not exported")
	hook.status.Store(http.StatusOK)
	logged.await(t, "registration log exported again")
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
	if n := strings.Count(logged.String(), "registration log not exported"); n != 1 {
		t.Errorf("said %d times:\n%s", n, logged.String())
	}
	if !strings.Contains(logged.String(), "code=90071") || !strings.Contains(logged.String(), "remedy=") {
		t.Errorf("no number or no remedy:\n%s", logged.String())
	}
	for _, text := range []string{hook.file(), string(must(os.ReadFile(path))(t))} {
		for n, scope := range map[int]string{4: w.one.String(), 2: w.two.String()} {
			if got := strings.Count(text, `{"log":"`+OriginOf(trustDomain, scope)+`","chain"`); got != n {
				t.Errorf("%d entries of a log of %d", got, n)
			}
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// lockedBuffer is a log that can be waited on.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	on sync.Cond
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on.L == nil {
		l.on.L = &l.mu
	}
	l.on.Broadcast()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await waits until the log says something; the test's own time limit ends it.
func (l *lockedBuffer) await(t testing.TB, words string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on.L == nil {
		l.on.L = &l.mu
	}
	for !strings.Contains(l.b.String(), words) {
		l.on.Wait()
	}
}

func TestFileRefusesWhatIsNotItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte("root:x:0:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMade(t, "one", 1)
	err := File{Path: path}.Send(t.Context(), m.origin, m.key, nil)
	text := must(os.ReadFile(path))(t)
	if err == nil || !strings.Contains(err.Error(), "name another file") || string(text) != "root:x:0:0\n" {
		t.Errorf("%v, and the file holds %q", err, text)
	}
	if err := (File{Path: filepath.Join(path, "x")}).Send(t.Context(), m.origin, m.key, nil); err == nil {
		t.Error("written below a file")
	}
}

// TestFileOfAnotherHistory: a database that was set back and went on otherwise is not written below the history that it left.
func TestFileOfAnotherHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	send := func(m made, from, to int) error {
		var records []Record
		for _, line := range m.lines()[1+from : 1+to] {
			r, _, err := DecodeRecord([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		return File{Path: path}.Send(t.Context(), m.origin, m.key, records)
	}
	m := newMade(t, "one", 5)
	for _, window := range [][2]int{{0, 3}, {1, 4}, {4, 5}, {0, 5}} { // some of it again and again
		if err := send(m, window[0], window[1]); err != nil {
			t.Fatal(err)
		}
	}
	before := must(os.ReadFile(path))(t)
	if string(before) != text(m.lines()) {
		t.Errorf("the file holds\n%s", before)
	}
	m.entries[3] = bytes.Replace(m.entries[3], []byte(`"d"`), []byte(`"D"`), 1)
	if err := send(m, 4, 5); !fault.Has(err, wire.LogBroken) {
		t.Errorf("got %v", err)
	}
	if after := must(os.ReadFile(path))(t); !bytes.Equal(before, after) {
		t.Errorf("the file was written:\n%s", after)
	}
}

// messageForm is RFC 5424 §6, as far as our messages go.
var messageForm = regexp.MustCompile(`^<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} sallyport \d+ registration - (\{.*\})$`)

// TestSyslog sends to real listeners of all four kinds and verifies what they got.
func TestSyslog(t *testing.T) {
	m := newMade(t, "one", 3)
	var records []Record
	for _, line := range m.file(t) {
		r, _, err := DecodeRecord([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	check := func(t *testing.T, messages []string) {
		t.Helper()
		var lines []string
		for _, s := range messages {
			part := messageForm.FindStringSubmatch(s)
			if part == nil {
				t.Fatalf("%q is no message", s)
			}
			lines = append(lines, part[1])
		}
		whole(t, text(lines), Trust{Keys: []string{m.key}})
	}
	datagrams := func(t *testing.T, conn net.PacketConn) (out []string) {
		t.Helper()
		buf := make([]byte, maxLine)
		for range records {
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(buf[:n]))
		}
		return out
	}
	t.Run("udp", func(t *testing.T) {
		conn := must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
		defer conn.Close()
		if err := (Syslog{Address: "udp://" + conn.LocalAddr().String()}).Send(t.Context(), m.origin, m.key, records); err != nil {
			t.Fatal(err)
		}
		check(t, datagrams(t, conn))
	})
	t.Run("unix", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		conn := must(net.ListenPacket("unixgram", path))(t)
		defer conn.Close()
		if err := (Syslog{Address: "unix://" + path}).Send(t.Context(), m.origin, m.key, records); err != nil {
			t.Fatal(err)
		}
		check(t, datagrams(t, conn))
	})
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
			if kind == "tls" {
				listener = tls.NewListener(listener, server.TLS)
			}
			defer listener.Close()
			got := make(chan []string, 1)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					t.Error(err)
					got <- nil
					return
				}
				defer conn.Close()
				got <- counted(t, conn)
			}()
			client := server.Client().Transport.(*http.Transport).TLSClientConfig
			if err := (Syslog{Address: kind + "://" + listener.Addr().String(), TLS: client}).Send(t.Context(), m.origin, m.key, records); err != nil {
				t.Fatal(err)
			}
			check(t, <-got)
		})
	}
	t.Run("tls of a stranger", func(t *testing.T) {
		listener := tls.NewListener(must(net.Listen("tcp", "127.0.0.1:0"))(t), server.TLS)
		defer listener.Close()
		go func() {
			if conn, err := listener.Accept(); err == nil {
				_, _ = conn.Read(make([]byte, 1)) // the handshake, which fails
				_ = conn.Close()
			}
		}()
		if err := (Syslog{Address: "tls://" + listener.Addr().String()}).Send(t.Context(), m.origin, m.key, records); err == nil {
			t.Error("sent to a server whose certificate nobody vouches for")
		}
	})
	for _, bad := range []string{"", "host:514", "udp://host", "http://host:1", "unix://", "unix://host/dev/log", "tcp://host:1/path", "tls://u@host:1"} {
		if _, err := ParseSyslog(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// counted reads frames of RFC 6587 §3.4.1 to the end.
func counted(t testing.TB, conn io.Reader) (out []string) {
	r := bufio.NewReader(conn)
	for {
		size, err := r.ReadString(' ')
		if err != nil {
			return out
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil {
			t.Error(err)
			return out
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			t.Error(err)
			return out
		}
		out = append(out, string(frame))
	}
}
