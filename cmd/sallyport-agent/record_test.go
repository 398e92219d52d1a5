package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// TestRecordTranscripts: the command asks as often as it says, writes no names and no passwords, and overwrites nothing.
func TestRecordTranscripts(t *testing.T) {
	s, flags := newDirectory(t)
	dir := t.TempDir()
	accounts, output := filepath.Join(dir, "accounts.json"), filepath.Join(dir, "out.json")
	text := `[{"state": "normal", "names": {"upn": "alice@corp.example.com"}, "password": "` + people.RightPassword + `"},
		{"state": "unknown", "names": {"upn": "nobody@corp.example.com"}, "password": "canary-unknown"}]`
	if err := os.WriteFile(accounts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"record-transcripts", "--accounts", accounts, "--output", output}, flags...)
	r := execute(t, nil, args...)
	if r.code != 0 || !strings.Contains(r.out, "4 answers") || strings.Count(r.out, "bad_password") != 3 || !strings.Contains(r.out, "accepted") {
		t.Fatalf("%+v", r)
	}
	if s.Binds("alice") != 2 {
		t.Errorf("%d binds", s.Binds("alice"))
	}
	written, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"alice", "corp", people.RightPassword, "canary"} {
		if strings.Contains(strings.ToLower(string(written)), strings.ToLower(secret)) {
			t.Errorf("the transcript has %q", secret)
		}
	}
	if r := execute(t, nil, args...); r.code != exitUsage || !strings.Contains(r.errOut, "exists") || s.Binds("alice") != 2 {
		t.Errorf("a second time: %+v, %d binds", r, s.Binds("alice"))
	}
	if r := execute(t, nil, append([]string{"record-transcripts", "--accounts", filepath.Join(dir, "none"), "--output", filepath.Join(dir, "o2")}, flags...)...); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	unreachable := filepath.Join(dir, "o3")
	if r := execute(t, nil, "record-transcripts", "--accounts", accounts, "--output", unreachable, "--dc", "ldaps://127.0.0.1:1"); r.code == 0 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(unreachable); err == nil {
		t.Error("half a transcript was left")
	}
}
