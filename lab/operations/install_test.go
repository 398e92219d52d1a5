//go:build linux

package operations_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceInstalled installs and removes the service for real, as root, in a view of the file system of its own: with systemd's own programs
// for users and units, which are told that systemd does not run (SYSTEMD_OFFLINE).
func TestServiceInstalled(t *testing.T) {
	rooted(t)
	for _, program := range []string{"systemctl", "systemd-sysusers", "systemd-analyze", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("SALLYPORT_CI") != "" {
				t.Fatalf("%s is missing (Debian packages systemd and util-linux)", program)
			}
			t.Skipf("%s is not installed", program)
		}
	}
	etc := filepath.Join(t.TempDir(), "etc")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := `set -e
mount --bind "$ETC" /etc
mount -t tmpfs none /var/lib
mount -t tmpfs none /opt
mkdir -p /usr/lib/sysusers.d
mount -t tmpfs none /usr/lib/sysusers.d
cp "$AGENT" /opt/sallyport-agent
PATH=/opt:$PATH
sallyport-agent service install
echo "enabled: $(systemctl is-enabled sallyport-agent)"
id sallyport-agent
stat -c '%n %a %U:%G' /var/lib/sallyport-agent /etc/sallyport-agent/agent.yaml /etc/systemd/system/sallyport-agent.service
grep ExecStart /etc/systemd/system/sallyport-agent.service
systemd-analyze verify sallyport-agent.service sallyport-agent-register.service 2>&1 | grep sallyport-agent || true
echo '--- again'
sallyport-agent service install
echo '--- uninstall'
sallyport-agent service uninstall
ls /etc/systemd/system/sallyport-agent.service /etc/systemd/system/multi-user.target.wants/sallyport-agent.service 2>&1 || true
ls -d /var/lib/sallyport-agent /etc/sallyport-agent/agent.yaml
sallyport-agent service uninstall || echo "code $?"
`
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	c.Env = append(os.Environ(), "SYSTEMD_OFFLINE=1", "ETC="+etc, "AGENT="+sallyportAgent)
	raw, err := c.CombinedOutput()
	out := string(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(out)
	for _, want := range []string{
		"enabled: enabled",
		"(sallyport-agent)",
		"/var/lib/sallyport-agent 700 sallyport-agent:sallyport-agent",
		"/etc/sallyport-agent/agent.yaml 640 root:sallyport-agent",
		"/etc/systemd/system/sallyport-agent.service 644 root:root",
		"ExecStart=/opt/sallyport-agent run --config /etc/sallyport-agent/agent.yaml",
		"kept  /etc/sallyport-agent/agent.yaml",
		"removed /etc/systemd/system/sallyport-agent.service",
		"cannot access '/etc/systemd/system/sallyport-agent.service'",
		"cannot access '/etc/systemd/system/multi-user.target.wants/sallyport-agent.service'",
		"kept: /var/lib/sallyport-agent",
		"the service is not installed",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// It must not have touched this machine.
	if _, err := os.Stat("/etc/systemd/system/sallyport-agent.service"); err == nil {
		t.Error("the unit was written outside")
	}
	run(t, nobody, sallyportAgent, "service", "install", "--program", "/usr/local/bin/sallyport-agent").refuses(2, "needs root")
}
