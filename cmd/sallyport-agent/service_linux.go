package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-auth/sallyport/deploy/systemd"
)

const (
	defaultConfig = "/etc/sallyport-agent/agent.yaml"
	unitFile      = "/etc/systemd/system/sallyport-agent.service"
	registerFile  = "/etc/systemd/system/sallyport-agent-register.service"
	usersFile     = "/usr/lib/sysusers.d/sallyport-agent.conf"
	serviceUser   = "sallyport-agent"
)

// hidden are folders that the unit's confinement hides from the program (ProtectHome, PrivateTmp).
var hidden = []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"}

// install writes the unit, its user and, if there are none, settings to begin with. It may be repeated.
func (i installation) install(ctx context.Context, t *terminal) error {
	for _, folder := range hidden {
		if i.root == "" && (strings.HasPrefix(i.program, folder) || strings.HasPrefix(i.config, folder)) {
			return &usageError{fmt.Errorf("the service may not look into %s: copy program and settings elsewhere first (install -m 0755 %s /usr/local/bin/)", folder, i.program)}
		}
	}
	if i.state != defaultState {
		return &usageError{fmt.Errorf("the service keeps its state in %s; --state cannot be another folder", defaultState)}
	}
	if err := i.privileged(); err != nil {
		return err
	}
	files := []struct {
		path, text string
		mode       fs.FileMode
		keep       bool // what is there stays
	}{
		{unitFile, i.unit(systemd.AgentUnit), 0o644, false},
		{registerFile, i.unit(systemd.AgentRegisterUnit), 0o644, false},
		{usersFile, agentUsers(), 0o644, false},
		{i.config, settingsTemplate, 0o640, true},
	}
	for _, f := range files {
		path := filepath.Join(i.root, f.path)
		if _, err := os.Stat(path); err == nil && f.keep {
			fmt.Fprintf(t.out, "kept  %s\n", path)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil { // also where the file was there or the umask is narrow
			return err
		}
		fmt.Fprintf(t.out, "wrote %s\n", path)
	}
	if i.root != "" {
		return nil
	}
	if err := manage(ctx, t, "systemd-sysusers", usersFile); err != nil {
		return err
	}
	if err := belongs(i.config, false); err != nil {
		return err
	}
	if err := os.MkdirAll(i.state, 0o700); err != nil {
		return err
	}
	if err := belongs(i.state, true); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", serviceUser}} {
		if err := manage(ctx, t, "systemctl", args...); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.out, "next: edit %s; sudo -u %s sallyport-agent register --config %s --token-file -; sallyport-agent service start\n", i.config, serviceUser, i.config)
	return err
}

// belongs gives a file to the service's user: as owner, or as the group that may read.
func belongs(path string, owner bool) error {
	u, err := user.Lookup(serviceUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	if !owner {
		uid = -1
	}
	return os.Chown(path, uid, gid)
}

// uninstall removes what install wrote, but nothing that holds keys, settings or the user that they belong to.
func (i installation) uninstall(ctx context.Context, t *terminal) error {
	if err := i.privileged(); err != nil {
		return err
	}
	if i.root == "" {
		if _, err := os.Stat(unitFile); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s does not exist: the service is not installed, or a package installed it (remove that)", unitFile)
		}
		for _, verb := range []string{"stop", "disable"} {
			if err := manage(ctx, t, "systemctl", verb, serviceUser); err != nil {
				return err
			}
		}
	}
	for _, file := range []string{unitFile, registerFile} {
		path := filepath.Join(i.root, file)
		switch err := os.Remove(path); {
		case err == nil:
			fmt.Fprintf(t.out, "removed %s\n", path)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if i.root == "" {
		if err := manage(ctx, t, "systemctl", "daemon-reload"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.out, "kept: %s (keys and certificate), %s and the user %s; revoke the agent in the service (sallyport agent revoke) before you delete them\n",
		i.state, i.config, serviceUser)
	return err
}

func (i installation) privileged() error {
	if i.root == "" && os.Geteuid() != 0 {
		return &usageError{errors.New("installing a service needs root: run it with sudo")}
	}
	return nil
}

// unit fits a unit to where program and settings are.
func (i installation) unit(text string) string {
	return strings.NewReplacer("/usr/local/bin/sallyport-agent ", i.program+" ", "--config "+defaultConfig, "--config "+i.config).Replace(text)
}

// agentUsers are the lines of sysusers.d(5) that concern the agent.
func agentUsers() string {
	lines := slices.DeleteFunc(strings.SplitAfter(systemd.Users, "\n"), func(l string) bool { return !strings.HasPrefix(l, "u "+serviceUser+" ") })
	return strings.Join(lines, "")
}

// controlService asks systemd. The state that it prints may be one that ends with an error: its exit code says so.
func controlService(ctx context.Context, t *terminal, verb string) error {
	if verb == "status" {
		return manage(ctx, t, "systemctl", "status", "--no-pager", "--lines=0", serviceUser)
	}
	return manage(ctx, t, "systemctl", verb, serviceUser)
}

// manage runs a program of systemd.
func manage(ctx context.Context, t *terminal, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is not installed: this host does not run systemd. Run \"sallyport-agent run\" under the service manager that it has", name)
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Stdout, c.Stderr = t.out, t.err
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
