package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// unpack reads an archive.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(h.Name)] = string(text)
	}
}

// TestBundle plants secrets and names in everything that is packed, and looks for them in the archive.
func TestBundle(t *testing.T) {
	_, flags := newDirectory(t)
	state := register(t, time.Hour)
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	log := filepath.Join(dir, "agent.log")
	status := `{"written":"2026-01-02T03:04:05Z","link":{"last_error":"proxy http://svc:proxy-canary@p: no"},"recent":[{"trace":"4bf92f3577b34da6a3ce929d0e0e4736"}]}`
	for path, text := range map[string]string{
		config: "dc: " + flags[1] + "\ndc-ca-file: " + flags[3] + "\nproxy: http://svc-canary:proxy-canary@127.0.0.1:1\nlog-format: json\n" +
			"protect-name: [tierzero-canary, second-canary]\nreader-name: reader-canary@corp.example.com\nprotect-group: ['CN=group-canary,DC=corp,DC=example,DC=com']\n",
		log: `{"level":"INFO","msg":"password check","name":"wilhelmina@corp.example.com","outcome":"right","dc":"dc1.corp.example.com:636","took":5}
{"level":"DEBUG","msg":"password check","name":"CORP\\wilhelmina","cause":"bind as wilhelmina: password=password-canary"}
{"level":"WARN","msg":"x","detail":"Authorization: Bearer bearer-canary, ` + token + `"}
-----BEGIN PRIVATE KEY-----
key-canary
-----END PRIVATE KEY-----
`,
		filepath.Join(state, "status.json"): status,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(dir, "b.tar.gz")
	env := []string{"HTTPS_PROXY=http://svc:proxy-canary@127.0.0.1:1"}
	args := []string{"logs", "bundle", "--state", state, "--config", config, "--log-file", log, "--file", archive}
	r := execute(t, env, args...)
	if r.code != 0 || !strings.Contains(r.out, archive) {
		t.Fatalf("%+v", r)
	}
	files := unpack(t, archive)
	keys := []string{}
	for _, name := range []string{"tls.key", "envelope.key"} {
		text, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, strings.Split(string(text), "\n")[1])
	}
	for name, text := range files {
		for _, never := range append(keys, "wilhelmina", "password-canary", "proxy-canary", "svc-canary", "bearer-canary", "key-canary", "tierzero-canary", "second-canary", "reader-canary", "group-canary", token) {
			if strings.Contains(strings.ToLower(text), strings.ToLower(never)) {
				t.Errorf("%s holds %q", name, never)
			}
		}
	}
	for name, want := range map[string]string{
		"host.txt":     "version: 9.8.7",
		"settings.txt": "log-format: json (line 4)",
		"state.txt":    "-rw-------",
		"status.json":  "4bf92f3577b34da6a3ce929d0e0e4736",
		"doctor.json":  strings.TrimPrefix(flags[1], "ldaps://"),
		"log-1.txt":    "dc1.corp.example.com:636",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s does not hold %q:\n%s", name, want, files[name])
		}
	}
	if !strings.Contains(files["settings.txt"], "slots: 0 (default)") || !strings.Contains(files["settings.txt"], "protect-name: 2 names (line 5)") || !strings.Contains(files["state.txt"], "tls.key") || !strings.Contains(files["host.txt"], "HTTPS_PROXY=http://[secret]@127.0.0.1:1") {
		t.Errorf("%s\n%s\n%s", files["settings.txt"], files["state.txt"], files["host.txt"])
	}
	if strings.Contains(files["doctor.json"], "no reader account") {
		t.Errorf("there is one: %s", files["doctor.json"])
	}
	people := regexp.MustCompile(`person-[0-9a-f]{8}`).FindAllString(files["log-1.txt"], -1)
	if len(people) != 3 || people[0] != people[1] || people[1] != people[2] {
		t.Errorf("pseudonyms %q", people)
	}
	if info, err := os.Stat(archive); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if again := execute(t, env, args...); again.code != exitFailure || !strings.Contains(again.errOut, "exists") {
		t.Errorf("a file is written over: %+v", again)
	}
	if r := execute(t, nil, "logs", "bundle", "--state", state, "--log-file", dir+"/none", "--file", dir+"/c.tar.gz"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}
