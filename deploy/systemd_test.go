package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service"
)

// unit is a systemd unit: for each key of any section its values in order.
type unit map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	u := unit{}
	for line := range strings.SplitSeq(string(read(t, filepath.Join("systemd", name))), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			u[key] = append(u[key], value)
		}
	}
	return u
}

// units are those that run for ever, then the one that registers.
var units = []string{"sallyport.service", "sallyport-agent.service"}

const registering = "sallyport-agent-register.service"

// TestUnits: what a unit promises about passwords and keys, also where no systemd is there to judge it.
func TestUnits(t *testing.T) {
	for _, name := range units {
		u := readUnit(t, name)
		program := strings.TrimSuffix(name, ".service")
		for key, want := range map[string][]string{
			"User": {program}, "StateDirectory": {program}, "StateDirectoryMode": {"0700"}, "UMask": {"0077"}, "LimitCORE": {"0"}, "MemorySwapMax": {"0"},
			"NoNewPrivileges": {"yes"}, "ProtectSystem": {"strict"}, "ProtectHome": {"yes"}, "PrivateTmp": {"yes"}, "PrivateDevices": {"yes"},
			"ProtectKernelTunables": {"yes"}, "ProtectKernelModules": {"yes"}, "ProtectKernelLogs": {"yes"}, "MemoryDenyWriteExecute": {"yes"},
			"LockPersonality": {"yes"}, "RestrictAddressFamilies": {"AF_INET AF_INET6 AF_UNIX"}, "Restart": {"on-failure"}, "StartLimitIntervalSec": {"0"},
			"SystemCallFilter": {"@system-service", "~@privileged @resources"},
		} {
			if !slices.Equal(u[key], want) {
				t.Errorf("%s: %s is %q, not %q", name, key, u[key], want)
			}
		}
	}
	s, a := readUnit(t, units[0]), readUnit(t, units[1])
	if s["CapabilityBoundingSet"][0] != "CAP_NET_BIND_SERVICE" || a["CapabilityBoundingSet"][0] != "" {
		t.Errorf("capabilities %q and %q", s["CapabilityBoundingSet"], a["CapabilityBoundingSet"])
	}
	// The agent itself feeds systemd's watchdog every three seconds (agent.statusInterval).
	if watchdog, err := time.ParseDuration(a["WatchdogSec"][0]); a["Type"][0] != "notify" || err != nil || watchdog < 30*time.Second {
		t.Errorf("type %q, watchdog %q (%v)", a["Type"], a["WatchdogSec"], err)
	}
	if !slices.Equal(a["SocketBindDeny"], []string{"any"}) || !slices.Equal(a["SocketBindAllow"], []string{"tcp:8449"}) {
		t.Errorf("the agent may listen on %q but not on %q", a["SocketBindAllow"], a["SocketBindDeny"])
	}
	// Registering is as confined as running, and gets its token from systemd.
	r := readUnit(t, registering)
	for key, values := range a {
		if strings.HasPrefix(key, "Protect") || strings.HasPrefix(key, "Private") || strings.HasPrefix(key, "Restrict") && key != "RestartPreventExitStatus" ||
			slices.Contains([]string{"User", "StateDirectory", "StateDirectoryMode", "UMask", "SystemCallFilter", "NoNewPrivileges", "LimitCORE", "CapabilityBoundingSet"}, key) {
			if !slices.Equal(r[key], values) {
				t.Errorf("%s: %s is %q, not %q", registering, key, r[key], values)
			}
		}
	}
	if !strings.HasPrefix(r["LoadCredential"][0], "enrolment-token:") {
		t.Errorf("the token comes from %q", r["LoadCredential"])
	}
	// The exit codes that need a person; cmd/sallyport-agent's help has them.
	if s["RestartPreventExitStatus"][0] != "2" || a["RestartPreventExitStatus"][0] != "2 3 4" {
		t.Errorf("exit codes %q and %q", s["RestartPreventExitStatus"], a["RestartPreventExitStatus"])
	}
	for name, least := range map[string]time.Duration{units[0]: service.Defaults().Drain, units[1]: 20 * time.Second} {
		stop, err := time.ParseDuration(readUnit(t, name)["TimeoutStopSec"][0])
		if err != nil || stop < least+10*time.Second {
			t.Errorf("%s: systemd waits %s (%v), and draining may take %s", name, stop, err, least)
		}
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// mostExposed is what the units may reach on systemd's scale of 0 (safe) to 10. What is left of it is the network itself, which
// is what the programs are for, and for the service the capability to take port 443.
var mostExposed = map[string]float64{"sallyport.service": 2.0, "sallyport-agent.service": 1.5, registering: 1.5}

// TestSystemd asks systemd itself whether the units are valid, and how exposed they are.
func TestSystemd(t *testing.T) {
	analyze := program(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	stub, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(units, registering) {
		t.Run(name, func(t *testing.T) {
			// The programs are not installed where tests run, and verify looks for them.
			text := strings.ReplaceAll(string(read(t, filepath.Join("systemd", name))), "/usr/local/bin/"+readUnit(t, name)["User"][0]+" ", stub+" ")
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), analyze, "verify", file).CombinedOutput()
			if err != nil || strings.Contains(string(out), name+":") {
				t.Errorf("verify: %v\n%s", err, out)
			}
			out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--no-pager", file).CombinedOutput()
			m := exposure.FindSubmatch(out)
			if err != nil || m == nil {
				t.Fatalf("security: %v\n%s", err, out)
			}
			level, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil || level > mostExposed[name] {
				t.Errorf("exposure %s (%v), more than %v\n%s", m[1], err, mostExposed[name], out)
			}
		})
	}
}

// TestReadme: the steps install the files that there are, and the users that the units run as.
func TestReadme(t *testing.T) {
	text := string(read(t, "systemd/README.md"))
	for _, m := range regexp.MustCompile(`deploy/(systemd/\S+)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	users := string(read(t, "systemd/sysusers.conf"))
	for _, name := range units {
		u := readUnit(t, name)
		if !regexp.MustCompile(`(?m)^u ` + u["User"][0] + ` `).MatchString(users) {
			t.Errorf("sysusers.conf does not make %s", u["User"][0])
		}
		if !strings.Contains(text, "/var/lib/"+u["StateDirectory"][0]+"\n") {
			t.Errorf("the steps do not make /var/lib/%s", u["StateDirectory"][0])
		}
	}
}
