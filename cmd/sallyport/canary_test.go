package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCanary names accounts for probes with the real program and a real service: the directory is found by the name's domain, the password
// is never shown, and the registration log has each change.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	w.ok(line("directory create corp -t contoso"))
	w.ok(line("domain create corp.example --directory corp -t contoso"))
	secret := filepath.Join(t.TempDir(), "probe.txt")
	if err := os.WriteFile(secret, []byte("Tr0ub4dor-canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(1, line("directory canary show corp -t contoso"), "has no canary")
	w.ok(line("directory canary set --name decoy@corp.example -t contoso"), "decoy@corp.example", "has_password  false")
	out := w.ok(append(line("directory canary set corp --name probe@corp.example --name decoy@corp.example -t contoso --password-file"), secret), "probe@corp.example")
	out += w.ok(line("directory canary show corp -t contoso"), "decoy@corp.example")
	out += w.ok(line("log list -t contoso"), "canary.set", "password kept: true")
	if strings.Contains(out, "Tr0ub4dor") {
		t.Errorf("the password is shown: %s", out)
	}
	w.fails(2, line("directory canary set --name decoy -t contoso"), "name@domain")
	w.fails(1, line("directory canary set --name decoy@nowhere.example -t contoso"))
	w.fails(1, line("directory canary set corp --name decoy@nowhere.example -t contoso"), "not a domain of this directory")
	w.ok(line("directory canary remove corp -t contoso"), "Canary removed.")
	w.fails(1, line("directory canary remove corp -t contoso"), "has no canary")
	w.ok(line("agent list --all -t contoso"), "none")
}
