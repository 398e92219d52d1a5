package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// winbindPlace is where clients of winbind look for it. The place is compiled into them, so each [Winbind] has its own view of it, which nobody
// else on this machine shares.
const winbindPlace = "/run/samba"

// WinbindAvailable returns nil when [DC.Winbind] can work here; its error wraps [ErrMissing].
func WinbindAvailable() error {
	for program, pack := range map[string]string{"winbindd": "winbind", "ntlm_auth": "winbind", "unshare": "util-linux", "nsenter": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s not found; install with: apt-get install --no-install-recommends %s", ErrMissing, program, pack)
		}
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: winbind needs a mount of its own, which takes root", ErrMissing)
	}
	return nil
}

// Winbind is Samba's own client of the domain, beside a domain controller: it checks passwords by NTLM, as LogonUser on Windows and
// wbinfo -a do. Stop it after use.
type Winbind struct {
	dc      *DC
	process *process
}

// Winbind starts winbind for the domain controller and returns once it answers.
func (dc *DC) Winbind(ctx context.Context) (_ *Winbind, err error) {
	if err := WinbindAvailable(); err != nil {
		return nil, err
	}
	own := filepath.Join(dc.dir, "run", "place")
	if err := errors.Join(os.MkdirAll(own, 0o755), os.MkdirAll(winbindPlace, 0o755)); err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	// It takes itself for wrong on a domain controller, where the program samba starts it; that does the same.
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$1" "$2" && shift 2 && exec "$@"`, "sh", own, winbindPlace,
		"winbindd", "-F", "--debug-stdout", "--no-process-group", "-s", settingsFile(dc.dir), "--option=server role check:inhibit=yes",
		"--option=winbindd socket directory="+filepath.Join(winbindPlace, "winbindd"))
	log, err := os.Create(filepath.Join(dc.dir, "log", "winbind.out"))
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dc.dir, log, log, time.Second
	p := &process{ended: make(chan struct{}), stdin: io.NopCloser(strings.NewReader(""))}
	if err := launch(cmd, func(err error) { p.err = err; _ = log.Close(); close(p.ended) }); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("samba: starting winbindd: %w", err)
	}
	p.pid = cmd.Process.Pid
	w := &Winbind{dc: dc, process: p}
	if err := w.await(ctx); err != nil {
		w.Stop()
		out, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("samba: winbindd: %w\n%s", err, tail(out))
	}
	return w, nil
}

// await polls until winbind answers about the domain.
func (w *Winbind) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		if out, err := w.inside(ctx, "wbinfo", "--online-status", "--domain="+w.dc.NetBIOS).CombinedOutput(); err == nil && strings.Contains(string(out), ": active connection") {
			return nil
		}
		select {
		case <-w.process.ended:
			return fmt.Errorf("it ended: %w", w.process.err)
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// inside is a command that sees this winbind.
func (w *Winbind) inside(ctx context.Context, command ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(w.process.pid), "--mount"}, command...)...)
}

var ntStatus = regexp.MustCompile(`(NT_STATUS_[A-Z_]+)?: .*\((0x[0-9a-fA-F]+)\)`)

// Authenticate checks a password once by NTLM and returns the NTSTATUS, 0 for yes. A wrong password counts.
func (w *Winbind) Authenticate(ctx context.Context, sam, password string) (status uint32, err error) {
	out, err := w.inside(ctx, "ntlm_auth", "--domain="+w.dc.NetBIOS, "--username="+sam, "--password="+password).CombinedOutput()
	m := ntStatus.FindStringSubmatch(string(out))
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || m == nil {
		return 0, fmt.Errorf("ntlm_auth: %w: %s", err, tail(out))
	}
	n, parse := strconv.ParseUint(m[2], 0, 32)
	if parse != nil || (n == 0) != (err == nil) {
		return 0, fmt.Errorf("ntlm_auth ended with %v and said: %s", err, tail(out))
	}
	return uint32(n), nil
}

// Stop ends winbind.
func (w *Winbind) Stop() {
	_ = signalGroup(w.process.pid, signalKill) // its children too; an error means that nobody is left
	<-w.process.ended
}
