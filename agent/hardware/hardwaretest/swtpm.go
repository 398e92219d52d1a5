//go:build linux

// Package hardwaretest starts software TPMs (swtpm) for tests.
//
// It refuses to skip where SALLYPORT_CI is set. Tests of agent/hardware and of what is built on it call it.
package hardwaretest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TPM is a TPM 2.0 in software, with a state of its own.
type TPM struct {
	// Device is its socket, for hardware.At.
	Device string

	dir string
}

// Start starts a fresh TPM, which ends with the test. The test is skipped where there is no swtpm.
func Start(t testing.TB) *TPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal("swtpm is not installed")
		}
		t.Skip("swtpm is not installed")
	}
	dir, err := os.MkdirTemp("", "tpm") // a socket's path has at most 107 bytes, and those of t.TempDir are long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &TPM{Device: filepath.Join(dir, "tpm"), dir: dir}
	m.on(t)
	t.Cleanup(func() { m.off(t) })
	return m
}

// Restart switches the TPM off and on, as a host does: it forgets what was loaded, and keeps what it was given to keep.
func (m *TPM) Restart(t testing.TB) {
	t.Helper()
	m.off(t)
	m.on(t)
}

func (m *TPM) pidFile() string { return filepath.Join(m.dir, "pid") }

// on returns when the socket is there: swtpm opens it before it goes into the background.
func (m *TPM) on(t testing.TB) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.dir, "--server", "type=unixio,path="+m.Device,
		"--flags", "not-need-init,startup-clear", "--daemon", "--pid", "file="+m.pidFile()).CombinedOutput()
	if err != nil {
		t.Fatalf("swtpm: %v: %s", err, out)
	}
}

// off returns when the process is gone.
func (m *TPM) off(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(m.pidFile())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		t.Fatal(err)
	}
	const limit = 10_000 // milliseconds
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, limit); n != 1 || err != nil {
		t.Fatalf("swtpm does not end: %v", err)
	}
}
