//go:build linux

package operations_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDiskAtFirstStart: whatever part of the first start meets the end of the disk, it says so; and with room the same start
// works, on what the first one has left.
func TestFullDiskAtFirstStart(t *testing.T) {
	rooted(t)
	for _, size := range []string{"4k", "16k", "64k", "128k", "256k", "360k"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			noError(t, os.Mkdir(data, 0o700))
			mounted(t, "tmpfs", data, "tmpfs", 0, "mode=700,size="+size)
			first := append([]string{"init", "--tenant", "contoso"}, settings(data)...)
			p := run(t, nil, sallyport, first...)
			if p.code() == 0 {
				t.Skipf("everything fits into %s", size)
			}
			p.refuses(1, "make room")
			p = serve(t, data)
			p.refuses(1, "make room")
			noError(t, syscall.Mount("tmpfs", data, "tmpfs", syscall.MS_REMOUNT, "size=16m"))
			succeeds(t, sallyport, first...)
			serve(t, data).keys(data)
		})
	}
}

// fill takes all the room there is, and returns how to give it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	noError(t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close()
	return func() { noError(t, os.Remove(f.Name())) }
}

// TestDiskFillsUp: a service whose disk fills up goes on reading, says that it cannot write, loses nothing that it had
// acknowledged, and writes again as soon as there is room, without a restart.
func TestDiskFillsUp(t *testing.T) {
	rooted(t)
	from, keys := template.data(t)
	data := filepath.Join(t.TempDir(), "data")
	noError(t, os.Mkdir(data, 0o700))
	mounted(t, "tmpfs", data, "tmpfs", 0, "mode=700,size=8m")
	clone(t, from, data)
	p := serve(t, data)
	p.ready()
	create := func(name string) *program {
		return run(t, nil, sallyport, append([]string{"tenant", "create", name, "--server", "https://" + p.addresses().admin}, settings(data)...)...)
	}
	if c := create("before"); c.code() != 0 {
		t.Fatal(c.words())
	}
	empty := fill(t, data)
	var failed int
	for _, name := range []string{"full-1", "full-2", "full-3"} {
		if c := create(name); c.code() != 0 {
			failed++
			c.refuses(1, "90001", "Search the service's log for the trace id")
		}
	}
	if failed == 0 {
		t.Error("writes to a full disk succeeded")
	}
	if !strings.Contains(p.words(), "disk is full") && !strings.Contains(p.words(), "disk I/O error") {
		t.Errorf("the log says nothing of the disk:\n%s", p.words())
	}
	if got := p.keys(data); got != keys {
		t.Error("the signing keys cannot be read while the disk is full")
	}
	empty()
	if c := create("after"); c.code() != 0 {
		t.Errorf("with room: %s", c.words())
	}
	p.stop()
	p = serve(t, data)
	if got := p.keys(data); got != keys {
		t.Error("the signing keys are others than before")
	}
	list := succeeds(t, sallyport, append([]string{"tenant", "list", "--server", "https://" + p.addresses().admin}, settings(data)...)...)
	for _, name := range []string{"contoso", "before", "after"} {
		if !strings.Contains(list, name) {
			t.Errorf("the tenant %s is lost:\n%s", name, list)
		}
	}
}

// TestReadOnlyDisk: a read-only file system is named as such, and not as a wrong owner.
func TestReadOnlyDisk(t *testing.T) {
	rooted(t)
	data, keys := template.data(t)
	before := contents(t, data)
	undo := readOnly(t, data)
	serve(t, data).refuses(1, "mounted read-only", "mount it writable")
	unchanged(t, data, before)
	undo()
	if got := serve(t, data).keys(data); got != keys {
		t.Error("the signing keys are others than before")
	}
	empty := filepath.Join(t.TempDir(), "empty")
	noError(t, os.Mkdir(empty, 0o700))
	undo = readOnly(t, empty)
	serve(t, empty).refuses(1, "data:", "writable")
	undo()
	serve(t, empty).ready()
}

// TestAnotherUser: who may not read the data folder is told so, with the user's number.
func TestAnotherUser(t *testing.T) {
	rooted(t)
	data, _ := template.data(t)
	reachable(t, data)
	before := contents(t, data)
	run(t, nobody, sallyport, append([]string{"serve"}, settings(data)...)...).refuses(1, "data:", "uid 65534")
	// The folder was given to the user, and the files in it were not.
	noError(t, os.Chown(data, int(nobody.Uid), int(nobody.Gid)))
	run(t, nobody, sallyport, append([]string{"serve"}, settings(data)...)...).refuses(1, "data:", "at-rest.key", "uid 65534", "owner")
	noError(t, os.Chown(filepath.Join(data, "at-rest.key"), int(nobody.Uid), int(nobody.Gid)))
	run(t, nobody, sallyport, append([]string{"serve"}, settings(data)...)...).refuses(1, "sallyport.db", "uid 65534", "owner")
	unchanged(t, data, before)
	elsewhere := filepath.Join(filepath.Dir(data), "elsewhere")
	run(t, nobody, sallyport, append([]string{"serve"}, settings(elsewhere)...)...).refuses(1, "data:", "cannot be made by this user (uid 65534)")
}

// TestTakenPort: the setting is named, what is there is left alone, and the start works when the port is free.
func TestTakenPort(t *testing.T) {
	data, keys := template.data(t)
	before := contents(t, data)
	for _, key := range []string{"signin.listen", "gateway.listen", "admin.listen", "monitor.listen"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		noError(t, err)
		more := []string{"--set", key + "=" + l.Addr().String()}
		if key == "signin.listen" {
			_, port, _ := net.SplitHostPort(l.Addr().String())
			more = append(more, "--set", "public_url=https://localhost:"+port)
		}
		serve(t, data, more...).refuses(1, key, "is taken by another program", "choose another port")
		unchanged(t, data, before)
		noError(t, l.Close())
		p := serve(t, data, more...)
		if got := p.keys(data); got != keys {
			t.Error("the signing keys are others than before")
		}
		p.stop()
	}
}

// pair writes a server certificate for localhost and its key.
func pair(t *testing.T, dir string, notBefore, notAfter time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
	noError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	noError(t, err)
	certificate, key = filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	noError(t, os.RemoveAll(key)) // which keeps the mode that it has
	noError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	noError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	return certificate, key
}

// TestServerCertificate: one that has ended, has not begun, is broken or open to others keeps the service from starting, in words;
// a good one in its place is all that it needs.
func TestServerCertificate(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	good := func(t *testing.T, dir string) { pair(t, dir, now.Add(-day), now.Add(day)) }
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		words []string
	}{
		{"ended", func(t *testing.T, dir string) { pair(t, dir, now.Add(-2*day), now.Add(-day)) }, []string{"tls.certificate_file", "expired on", "Renew it"}},
		{"not begun", func(t *testing.T, dir string) { pair(t, dir, now.Add(day), now.Add(2*day)) }, []string{"tls.certificate_file", "valid only from", "clock"}},
		{"of another key", func(t *testing.T, dir string) {
			good(t, dir)
			kept, err := os.ReadFile(filepath.Join(dir, "tls.key"))
			noError(t, err)
			good(t, dir)
			noError(t, os.WriteFile(filepath.Join(dir, "tls.key"), kept, 0o600))
		}, []string{"tls.certificate_file", "the key that belongs to it"}},
		{"cut in half", func(t *testing.T, dir string) {
			good(t, dir)
			halved.do(t, filepath.Join(dir, "tls.pem"))
		}, []string{"tls.certificate_file", "both as PEM"}},
		{"empty key", func(t *testing.T, dir string) {
			good(t, dir)
			emptied.do(t, filepath.Join(dir, "tls.key"))
		}, []string{"tls.key_file", "both as PEM"}},
		{"key open to others", func(t *testing.T, dir string) {
			good(t, dir)
			open.do(t, filepath.Join(dir, "tls.key"))
		}, []string{"tls.key_file", "chmod 600"}},
		{"no key", func(t *testing.T, dir string) {
			good(t, dir)
			lost.do(t, filepath.Join(dir, "tls.key"))
		}, []string{"tls.key_file", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data, keys := template.data(t)
			before := contents(t, data)
			dir := t.TempDir()
			c.spoil(t, dir)
			more := []string{"--set", "tls.local_ca=false", "--set", "public_url=https://localhost:8443", "--set", "signin.listen=127.0.0.2:8443",
				"--set", "tls.certificate_file=" + filepath.Join(dir, "tls.pem"), "--set", "tls.key_file=" + filepath.Join(dir, "tls.key")}
			serve(t, data, more...).refuses(1, c.words...)
			unchanged(t, data, before)
			good(t, dir)
			p := serve(t, data, append(more, "--set", "signin.listen="+freeAddress(t))...)
			p.ready()
			p.stop()
			if got := serve(t, data).keys(data); got != keys {
				t.Error("the signing keys are others than before")
			}
		})
	}
}

// freeAddress is an address of this machine that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestEvaluationCAOfTomorrow: an authority from before the clock was set back is no reason to make another.
func TestEvaluationCAOfTomorrow(t *testing.T) {
	data, _ := template.data(t)
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Sallyport evaluation"}}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(24 * time.Hour), NotAfter: now.Add(48 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	noError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	noError(t, err)
	overwrite(t, filepath.Join(data, "local-ca", "ca.pem"), append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...))
	before := contents(t, data)
	serve(t, data).refuses(1, "tls.local_ca", "valid only from", "set this machine's clock")
	unchanged(t, data, before)
}

// TestConfiguration: a mistake in the file ends with 2, its line and a remedy, before anything is touched.
func TestConfiguration(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	for _, c := range []struct {
		text  string
		words []string
	}{
		{"signin:\n  lisen: :443\n", []string{file + ":2", "unknown key signin.lisen", "Did you mean signin.listen?"}},
		{"drain: 20\n", []string{file + ":1", "drain"}},
		{"admin: {listen: \":8445\"}\n", []string{"admin.listen", "allow_remote"}},
		{"data: [\n", []string{file}},
	} {
		noError(t, os.WriteFile(file, []byte(c.text), 0o600))
		run(t, nil, sallyport, "serve", "--config", file, "--set", "data="+data, "--set", "tls.local_ca=true").refuses(2, c.words...)
	}
	run(t, nil, sallyport, "serve", "--config", file+".not", "--set", "data="+data).refuses(2, "cannot be read")
	if _, err := os.Stat(data); err == nil {
		t.Error("the data folder was made")
	}
}

// TestSettingsOfTheUnits: the settings that deploy/systemd's page gives are ones that the programs take.
func TestSettingsOfTheUnits(t *testing.T) {
	page, err := os.ReadFile("../../deploy/systemd/README.md")
	noError(t, err)
	var blocks []string
	for i, part := range strings.Split(string(page), "```") {
		if text, ok := strings.CutPrefix(part, "yaml\n"); ok && i%2 == 1 {
			blocks = append(blocks, text)
		}
	}
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of settings on the page, not 2", len(blocks))
	}
	dir := t.TempDir()
	for i, name := range []string{"sallyport.yaml", "agent.yaml"} {
		noError(t, os.WriteFile(filepath.Join(dir, name), []byte(blocks[i]), 0o600))
	}
	succeeds(t, sallyport, "config", "check", "--config", filepath.Join(dir, "sallyport.yaml"))
	// The agent's CA file is not there: that is met after every key of the settings has been taken.
	run(t, nil, sallyportAgent, "run", "--config", filepath.Join(dir, "agent.yaml")).refuses(2, "/etc/sallyport-agent/corp-ca.pem")
}
