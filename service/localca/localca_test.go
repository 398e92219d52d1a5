package localca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *CA {
	t.Helper()
	c, err := OpenOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRealTLSWithTheFileAlone(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "tls"))
	cert, err := c.Server([]string{"localhost", "127.0.0.1", "::1", "SSO.corp.example."}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	defer srv.Close()

	file, err := os.ReadFile(c.CertificateFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(file) {
		t.Fatal("the handed-out file holds no certificate")
	}
	get := func(pool *x509.CertPool, name string) error {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get(srv.URL)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	for _, name := range []string{"", "localhost", "sso.corp.example"} {
		if err := get(pool, name); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := get(pool, "other.example"); err == nil {
		t.Error("a name that is not in the certificate was accepted")
	}
	if err := get(x509.NewCertPool(), "localhost"); err == nil {
		t.Error("the server was trusted without its authority")
	}
}

func TestAuthorityIsMarkedAndNarrow(t *testing.T) {
	c := open(t, t.TempDir())
	if !strings.Contains(strings.ToLower(c.cert.Subject.String()), "evaluation") {
		t.Errorf("subject %q does not say evaluation", c.cert.Subject)
	}
	if !c.cert.MaxPathLenZero || c.cert.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("path length zero %v, usage %v", c.cert.MaxPathLenZero, c.cert.KeyUsage)
	}
	server, err := c.Server([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if server.Leaf.IsCA || len(server.Leaf.ExtKeyUsage) != 1 || server.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("server: CA %v, usages %v", server.Leaf.IsCA, server.Leaf.ExtKeyUsage)
	}
	if bits := server.Leaf.SerialNumber.BitLen(); bits < 100 {
		t.Errorf("serial of %d bits", bits)
	}
}

func TestServerIsKeptOrRemade(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	c := open(t, dir)
	first, err := c.Server([]string{"localhost", "127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		hosts []string
		at    time.Time
		kept  bool
	}{
		{"same", []string{"localhost", "127.0.0.1"}, now, true},
		{"other order, case and repetitions", []string{"127.0.0.1", "LOCALHOST", "localhost."}, now, true},
		{"a day before the renewal", []string{"localhost", "127.0.0.1"}, now.Add(serverLifetime - renewBefore - 24*time.Hour), true},
		{"near its end", []string{"localhost", "127.0.0.1"}, now.Add(serverLifetime - renewBefore + time.Hour), false},
		{"a host more", []string{"localhost", "127.0.0.1", "sso"}, now, false},
		{"an address less", []string{"localhost"}, now, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			again := open(t, copyOf(t, dir))
			got, err := again.Server(test.hosts, test.at)
			if err != nil {
				t.Fatal(err)
			}
			if kept := bytes.Equal(got.Certificate[0], first.Certificate[0]); kept != test.kept {
				t.Errorf("kept %v, want %v", kept, test.kept)
			}
			if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: again.Pool(), CurrentTime: test.at}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRenewalRule(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }
	for _, test := range []struct {
		name                     string
		notAfter, authority, now int
		want                     bool
	}{
		{"young", 90, 3650, 10, true},
		{"last month", 90, 3650, 61, false},
		{"over", 90, 3650, 91, false},
		{"not begun", 90, 3650, -1, false},
		{"as long as the authority lives", 90, 90, 80, true},
	} {
		if got := needsNoRenewal(day(0), day(test.notAfter), day(test.authority), day(test.now)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestCertificateOfAnotherAuthorityIsReplaced(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	now := time.Now()
	if _, err := a.Server([]string{"localhost"}, now); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(a.dir, serverFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, planted := range map[string][]byte{"foreign": data, "garbage": []byte("not a certificate")} {
		if err := os.WriteFile(filepath.Join(b.dir, serverFile), planted, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := b.Server([]string{"localhost"}, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Leaf.CheckSignatureFrom(b.cert); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	c := open(t, dir)
	if _, err := c.Server([]string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]os.FileMode{caFile: 0o600, serverFile: 0o600, certificateFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has %04o, want %04o", file, got, want)
		}
	}
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(filepath.Join(dir, serverFile), 0o640)
	if _, err := c.Server([]string{"localhost"}, time.Now()); !errors.Is(err, errMode) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable server key: %v", err)
	}
	chmod(filepath.Join(dir, caFile), 0o644)
	if _, err := OpenOrCreate(dir); !errors.Is(err, errMode) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key: %v", err)
	}
	chmod(filepath.Join(dir, caFile), 0o600)
	chmod(dir, 0o777)
	if _, err := OpenOrCreate(dir); !errors.Is(err, errMode) {
		t.Errorf("a directory for everybody: %v", err)
	}
}

func TestManyAtOnceEndWithOneAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	got := make([]*CA, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			c, err := OpenOrCreate(dir)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Server([]string{"localhost"}, time.Now()); err != nil {
				t.Error(err)
			}
			got[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, c := range got[1:] {
		if !c.cert.Equal(got[0].cert) {
			t.Fatal("two authorities were made")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("files left: %v", entries)
	}
}

func TestRefusals(t *testing.T) {
	c := open(t, t.TempDir())
	for _, hosts := range [][]string{nil, {""}, {"*.corp.example"}, {"a b"}, {"-a"}, {"a..b"}, {strings.Repeat("a", 64)}, make([]string, maxHosts+1)} {
		if _, err := c.Server(hosts, time.Now()); !errors.Is(err, ErrHosts) {
			t.Errorf("%.40q: %v", hosts, err)
		}
	}
	if _, err := c.Server([]string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, serverFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"a server's pair": data, "garbage": []byte("x")} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, caFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenOrCreate(dir); err == nil {
			t.Errorf("%s was taken for an authority", name)
		}
	}
}

func FuzzParsePair(f *testing.F) {
	dir := f.TempDir()
	if _, err := OpenOrCreate(dir); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, cert, err := parsePair(data); err == nil && (key == nil || cert == nil) {
			t.Error("half a pair without an error")
		}
	})
}

// copyOf copies the authority's files, so that a case cannot disturb the next.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{caFile, serverFile} {
		if err := os.Chmod(filepath.Join(to, f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestBrokenAuthority: an authority that others trust is never replaced by another in silence.
func TestBrokenAuthority(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		words string
	}{
		"lost":   {func(dir string) error { return os.Remove(filepath.Join(dir, caFile)) }, "is missing"},
		"broken": {func(dir string) error { return os.Truncate(filepath.Join(dir, caFile), 40) }, "the file is damaged"},
	} {
		dir := filepath.Join(t.TempDir(), "tls")
		open(t, dir)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		_, err := OpenOrCreate(dir)
		if err == nil || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), "remove the folder "+dir) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		open(t, dir)
	}
}
