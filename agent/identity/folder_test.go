package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestSaveAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	id := newIdentity(t)
	if err := Save(dir, id, false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, tlsKeyFile: 0o600, envelopeKeyFile: 0o600, certificateFile: 0o600, factsFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	back, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(id.Facts(), back.Facts()); diff != "" {
		t.Error(diff)
	}
	if !samePublic(back.key, id.key.Public()) || back.EnvelopeKey().Public().ID() != id.EnvelopeKey().Public().ID() || len(back.chain) != 2 {
		t.Error("keys or chain changed on the way")
	}
}

func TestOpenNothing(t *testing.T) {
	empty := t.TempDir()
	if err := os.Chmod(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{empty, filepath.Join(empty, "absent")} {
		_, err := Open(dir)
		var e *Error
		if !errors.Is(err, ErrNotRegistered) || !errors.As(err, &e) || !strings.Contains(e.Remedy, "sallyport-agent register") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestOpenRefusesOpenDoors(t *testing.T) {
	for _, test := range []struct {
		path string
		mode os.FileMode
		cure string
	}{
		{"", 0o755, "chmod 0700 "},
		{"", 0o710, "chmod 0700 "},
		{tlsKeyFile, 0o640, "chmod 0600 "},
		{envelopeKeyFile, 0o604, "chmod 0600 "},
		{factsFile, 0o666, "chmod 0600 "},
		{certificateFile, 0o700, "chmod 0600 "},
	} {
		t.Run(test.path+test.mode.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := Save(dir, newIdentity(t), false); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, test.path)
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			var e *Error
			if !errors.Is(err, ErrPermissions) || !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(e.What, path) || !strings.Contains(e.What, "mode 0") || !strings.Contains(e.Remedy, test.cure+path) {
				t.Errorf("says %q and %q", e.What, e.Remedy)
			}
		})
	}
}

func TestOpenRefusesForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files away; the owner check is not run")
		return
	}
	dir := filepath.Join(t.TempDir(), "state")
	if err := Save(dir, newIdentity(t), false); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, tlsKeyFile), 4711, -1); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	if !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "belongs to uid 4711") {
		t.Fatalf("got %v", err)
	}
}

func TestOpenRefusesLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := Save(dir, newIdentity(t), false); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "key")
	if err := os.Rename(filepath.Join(dir, tlsKeyFile), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, tlsKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "not an ordinary file") {
		t.Fatalf("got %v", err)
	}
}

func TestOpenExplainsDamage(t *testing.T) {
	other := newIdentity(t)
	strange, err := contents(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file string
		text       []byte // nil removes the file
		want       string
	}{
		{"no facts", factsFile, nil, "half-written: agent.json missing"},
		{"no key", tlsKeyFile, nil, "half-written: tls.key missing"},
		{"no certificate", certificateFile, nil, "half-written: certificate.pem missing"},
		{"no envelope key", envelopeKeyFile, nil, "half-written: envelope.key missing"},
		{"key of another registration", tlsKeyFile, strange[tlsKeyFile], "another key"},
		{"envelope key of another registration", envelopeKeyFile, strange[envelopeKeyFile], "half-written: envelope.key is key"},
		{"certificate of another registration", certificateFile, strange[certificateFile], "another key"},
		{"empty key", tlsKeyFile, []byte{}, "not one PEM block"},
		{"envelope key in its place", tlsKeyFile, strange[envelopeKeyFile], "not one PEM block"},
		{"two keys", tlsKeyFile, append(append([]byte{}, strange[tlsKeyFile]...), strange[tlsKeyFile]...), "not one PEM block"},
		{"text behind the certificate", certificateFile, append(append([]byte{}, strange[certificateFile]...), "hello"...), "no PEM"},
		{"facts cut short", factsFile, strange[factsFile][:40], "agent.json"},
		{"unknown field", factsFile, []byte(strings.Replace(string(strange[factsFile]), "{", `{"admin": true,`, 1)), "unknown field"},
		{"newer format", factsFile, []byte(strings.Replace(string(strange[factsFile]), `"version": 1`, `"version": 2`, 1)), "format version 2"},
		{"two documents", factsFile, append(append([]byte{}, strange[factsFile]...), strange[factsFile]...), "agent.json"},
		{"far too large", factsFile, make([]byte, maxFile+1), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := Save(dir, newIdentity(t), false); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, test.file)
			if test.text == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, test.text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			var e *Error
			if !errors.Is(err, ErrDamaged) || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want something about %q", err, test.want)
			}
			if !strings.Contains(e.Remedy, "register --again") {
				t.Errorf("remedy: %q", e.Remedy)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY-----") {
				t.Errorf("the error quotes a key: %v", err)
			}
		})
	}
}

func TestSaveReplacesOnlyWhenTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, second := newIdentity(t), newIdentity(t)
	if err := Save(dir, first, false); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, second, false); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v", err)
	}
	if id, err := Open(dir); err != nil || !samePublic(id.key, first.key.Public()) {
		t.Fatalf("the first identity did not survive: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, newPrefix+"123"), []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, second, true); err != nil {
		t.Fatal(err)
	}
	if id, err := Open(dir); err != nil || !samePublic(id.key, second.key.Public()) {
		t.Fatalf("not replaced: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(files) {
		t.Fatalf("%d files in the folder, %v", len(left), err)
	}
}

// A crash after any file of a replacement leaves a folder that says so, never a mixture that works.
func TestInterruptedReplacement(t *testing.T) {
	old, fresh := newIdentity(t), newIdentity(t)
	text, err := contents(fresh)
	if err != nil {
		t.Fatal(err)
	}
	for done := range len(files) {
		dir := filepath.Join(t.TempDir(), "state")
		if err := Save(dir, old, false); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, factsFile)); err != nil {
			t.Fatal(err)
		}
		for _, name := range files[:done] {
			if err := WriteFile(filepath.Join(dir, name), text[name], true); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "half-written") {
			t.Errorf("after %d files: %v", done, err)
		}
		if err := Save(dir, fresh, false); !errors.Is(err, ErrExists) {
			t.Errorf("overwrote keys without being told: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	id := newIdentity(f)
	text, err := contents(id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text[tlsKeyFile], text[envelopeKeyFile], text[certificateFile], text[factsFile])
	f.Add([]byte(nil), []byte("x"), []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, key, opener, chain, facts []byte) {
		id, err := parse(map[string][]byte{tlsKeyFile: key, envelopeKeyFile: opener, certificateFile: chain, factsFile: facts})
		if err != nil {
			return
		}
		if !samePublic(id.key, id.chain[0].PublicKey) || id.facts.check() != nil {
			t.Fatal("parts that do not belong together were accepted")
		}
	})
}

func FuzzRecord(f *testing.F) {
	b, err := json.Marshal(record{Version: 1, Facts: goodFacts(), EnvelopeKeyID: "ab"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"service":"https://a","gateway":"b:1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err == nil && rec.check() != nil {
			t.Fatal("accepted facts that do not hold")
		}
	})
}

func TestParseChainLimit(t *testing.T) {
	c := newAuthority(t).cert
	nine := make([]*x509.Certificate, 9)
	for i := range nine {
		nine[i] = c
	}
	if _, err := parseChain([]byte(pemOf(nine...))); err == nil {
		t.Fatal("nine certificates were read")
	}
}

// FuzzService feeds what an administrator gives as --service, and what a service says when it refuses.
func FuzzService(f *testing.F) {
	f.Add("https://login.example/", []byte(`{"title":"no","status":403,"code":90045}`), 403, "Forbidden")
	f.Add("https://u:p@h?x#y", []byte("<html>\x1b[1m"), 502, "\x1b[2J")
	f.Add("http://[::1", []byte(`{"title":"\u001b"}`), 503, "")
	f.Fuzz(func(t *testing.T, service string, body []byte, status int, reason string) {
		if s, err := parseService(service); err == nil {
			if again, err := parseService(s); err != nil || again != s || !strings.HasPrefix(s, "https://") {
				t.Errorf("%q became %q, then %q, %v", service, s, again, err)
			}
		} else if len(service) > 20 && strings.Contains(err.Error(), service) {
			t.Errorf("the error repeats what may hold a password: %v", err)
		}
		err := refusal(&http.Response{StatusCode: status, Status: strconv.Itoa(status) + " " + reason,
			Header: http.Header{"Content-Type": {wire.ProblemType}}, Body: io.NopCloser(bytes.NewReader(body))})
		if err == nil || strings.ContainsAny(err.Error(), "\x1b\x00") {
			t.Errorf("%d %q: %v", status, body, err)
		}
	})
}
