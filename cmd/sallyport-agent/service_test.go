//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceIntoAnImage installs into a folder, lets systemd judge the unit, and removes it again.
func TestServiceIntoAnImage(t *testing.T) {
	root := t.TempDir()
	install := []string{"service", "install", "--root", root, "--program", "/opt/sallyport/sallyport-agent", "--settings", "/etc/other/agent.yaml"}
	if r := execute(t, nil, install...); r.code != 0 || !strings.Contains(r.out, "wrote "+root+unitFile) {
		t.Fatalf("%+v", r)
	}
	text := func(path string, mode os.FileMode) string {
		t.Helper()
		info, err := os.Stat(root + path)
		if err != nil || info.Mode().Perm() != mode {
			t.Fatalf("%s: %v %v", path, info.Mode(), err)
		}
		b, err := os.ReadFile(root + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	unit := text(unitFile, 0o644)
	for _, want := range []string{"ExecStart=/opt/sallyport/sallyport-agent run --config /etc/other/agent.yaml\n", "NoNewPrivileges=yes", "ProtectSystem=strict", "WatchdogSec="} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	if strings.Contains(unit, "/usr/local/bin") {
		t.Error("the unit still speaks of /usr/local/bin")
	}
	if got := text(registerFile, 0o644); !strings.Contains(got, "ExecStart=/opt/sallyport/sallyport-agent register --config /etc/other/agent.yaml\n") {
		t.Error(got)
	}
	if users := text(usersFile, 0o644); !strings.HasPrefix(users, "u sallyport-agent ") || strings.Count(users, "\n") != 1 {
		t.Errorf("users: %q", users)
	}
	// The settings that it begins with are ones that the program takes, once domain controllers stand in them.
	if r := execute(t, nil, "run", "--config", root+"/etc/other/agent.yaml"); r.code != exitUsage || !strings.Contains(r.errOut, "no domain controller is given") {
		t.Errorf("%+v", r)
	}
	// What an administrator has written stays.
	if err := os.WriteFile(root+"/etc/other/agent.yaml", []byte("dc: [ldaps://dc1]\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if r := execute(t, nil, install...); r.code != 0 || !strings.Contains(r.out, "kept  "+root+"/etc/other/agent.yaml") || text("/etc/other/agent.yaml", 0o640) != "dc: [ldaps://dc1]\n" {
		t.Errorf("again: %+v", r)
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		if err := os.MkdirAll(root+"/opt/sallyport", 0o755); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/opt/sallyport/sallyport-agent", program, 0o755); err != nil {
			t.Fatal(err)
		}
		// verify looks for the program where the unit says, so the unit is judged as it would be there.
		judged := filepath.Join(t.TempDir(), "sallyport-agent.service")
		if err := os.WriteFile(judged, []byte(strings.ReplaceAll(unit, "/opt/sallyport/", root+"/opt/sallyport/")), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), analyze, "verify", judged).CombinedOutput(); err != nil || strings.Contains(string(out), "sallyport-agent.service:") {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	} else if os.Getenv("SALLYPORT_CI") != "" {
		t.Error("systemd-analyze is missing (Debian package systemd)")
	}
	if r := execute(t, nil, "service", "uninstall", "--root", root); r.code != 0 || !strings.Contains(r.out, "kept: ") {
		t.Errorf("uninstall: %+v", r)
	}
	for _, gone := range []string{unitFile, registerFile} {
		if _, err := os.Stat(root + gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	text("/etc/other/agent.yaml", 0o640)
}

// TestServiceRefusals: what cannot work as a service is said before anything is written.
func TestServiceRefusals(t *testing.T) {
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"a program that the unit cannot see": {[]string{"install", "--program", "/home/ada/sallyport-agent"}, "may not look into /home/"},
		"settings that the unit cannot see":  {[]string{"install", "--program", "/usr/local/bin/sallyport-agent", "--settings", "/root/agent.yaml"}, "may not look into /root/"},
		"a relative program":                 {[]string{"install", "--program", "bin/agent", "--root", t.TempDir()}, "absolute path"},
		"a program with spaces":              {[]string{"install", "--program", "/opt/my agent", "--root", t.TempDir()}, "absolute path"},
		"a line break in a unit":             {[]string{"install", "--program", "/opt/a\nUser=root", "--root", t.TempDir()}, "absolute path"},
		"another state folder":               {[]string{"install", "--program", "/opt/a", "--state", "/srv/state", "--root", t.TempDir()}, "keeps its state in"},
	} {
		r := execute(t, nil, append([]string{"service"}, c.args...)...)
		if r.code != exitUsage || !strings.Contains(r.errOut, c.want) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	c := command(t, nil, "service", "start")
	c.Env = []string{"PATH=/nonexistent", "HOME=/nonexistent"}
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "does not run systemd") {
		t.Errorf("without systemd: %v %s", err, out)
	}
}
