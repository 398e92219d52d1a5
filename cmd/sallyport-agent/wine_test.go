package main

import (
	"bytes"
	"context"
	pack "encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// wine is a Windows that is played, with the agent built for it.
type wine struct {
	program string
	env     []string
}

// newWine makes a folder for Wine, with nothing in it but Wine's own Windows and the DLL that Go needs beside it.
func newWine(t *testing.T) wine {
	t.Helper()
	if _, err := exec.LookPath("wine"); err != nil || runtime.GOARCH != "amd64" {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatalf("Wine for amd64 is not installed (Debian packages wine and wine64): %v", err)
		}
		t.Skip("Wine for amd64 is not installed (Debian packages wine and wine64)")
	}
	dir, home := t.TempDir(), t.TempDir()
	w := wine{program: filepath.Join(dir, program+".exe"), env: append(os.Environ(), "WINEPREFIX="+filepath.Join(dir, "prefix"), "HOME="+home,
		"WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=", "DISPLAY=", "SALLYPORT_AGENT_CONFIG=")}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", "-X main.version=9.8.7 -X main.commit=abc123", "-o", w.program, ".")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		// Ends this folder's Windows alone. Whatever of it does not end keeps the folder from being removed, which fails the test.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, flag := range []string{"-k", "-w"} {
			c := exec.CommandContext(ctx, "wineserver", flag)
			c.Env = w.env
			_ = c.Run()
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "prefix"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.must(t, "wineserver", "-p") // stays, else Wine forgets the domain between two programs
	w.must(t, "wineboot", "-i")
	if err := os.WriteFile(filepath.Join(dir, "prefix", "drive_c", "windows", "system32", "bcryptprimitives.dll"), forwarder(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w wine) must(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = w.env
	if err := c.Run(); err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
}

// execute runs the agent.
func (w wine) execute(t *testing.T, args ...string) result {
	t.Helper()
	c := exec.CommandContext(t.Context(), "wine", append([]string{w.program}, args...)...)
	c.Env = w.env
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// forwarder is bcryptprimitives.dll, which Go wants and Wine 8 has not: it hands ProcessPrng on to SystemFunction036 (RtlGenRandom) of advapi32 and
// holds no code. Its one section is an export directory (PE format, ".edata").
func forwarder() []byte {
	const at, align = 0x1000, 0x200
	dll, function, target := "bcryptprimitives.dll\x00", "ProcessPrng\x00", "advapi32.SystemFunction036\x00"
	names := uint32(at + 40 + 4 + 4 + 2) // after the directory come: where the function is, its name, its ordinal
	var section, file bytes.Buffer
	put := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			_ = pack.Write(b, pack.LittleEndian, v) // never fails: a buffer, and sizes that are known
		}
	}
	put(&section, uint32(0), uint32(0), uint32(0), names, uint32(1), uint32(1), uint32(1), uint32(at+40), uint32(at+44), uint32(at+48))
	put(&section, names+uint32(len(dll)+len(function)), names+uint32(len(dll)), uint16(0), []byte(dll+function+target))
	size := uint32(section.Len())
	section.Write(make([]byte, align-section.Len()))
	put(&file, []byte("MZ"), [58]byte{}, uint32(64))
	put(&file, []byte("PE\x00\x00"), uint16(0x8664), uint16(1), [3]uint32{}, uint16(240), uint16(0x2022)) // AMD64, one section, a DLL
	put(&file, uint16(0x20b), uint16(14), uint32(0), uint32(align), [3]uint32{}, uint64(0x180000000), uint32(at), uint32(align), [4]uint16{6, 0, 0, 0}, [2]uint16{6, 0},
		uint32(0), uint32(2*at), uint32(align), uint32(0), uint16(3), uint16(0x160), [4]uint64{1 << 20, 1 << 12, 1 << 20, 1 << 12}, uint32(0), uint32(16))
	put(&file, uint32(at), size, [15]uint64{})
	put(&file, [8]byte{'.', 'e', 'd', 'a', 't', 'a'}, uint32(align), uint32(at), uint32(align), uint32(align), [3]uint32{}, uint32(0x40000040))
	file.Write(make([]byte, align-file.Len()))
	return append(file.Bytes(), section.Bytes()...)
}

// windowsPath is how Wine's programs call a file.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// What Wine can show of the agent on Windows: it starts, asks Windows for its domain, registers, and refuses to have Windows judge, because Wine's LogonUserW
// says yes to everybody. No verdict can be seen here; docs/decisions/0013-windows-validator.md lists what else cannot.
func TestUnderWine(t *testing.T) {
	w := newWine(t)
	if r := w.execute(t, "--version"); r.code != 0 || !strings.Contains(r.out, "sallyport-agent 9.8.7, commit abc123, go") || !strings.Contains(r.out, "windows/amd64") {
		t.Fatalf("%+v", r)
	}
	if r := w.execute(t, "run", "--help"); r.code != 0 || !strings.Contains(r.out, "--validator") {
		t.Errorf("%+v", r)
	}
	// Without a domain.
	for _, command := range []string{"doctor", "run", "test-signin"} {
		if r := w.execute(t, command, "--validator", "windows"); r.code != exitUsage || !strings.Contains(r.errOut, "not a member of an Active Directory domain") {
			t.Errorf("%s: %+v", command, r)
		}
	}
	if r := w.execute(t, "run"); r.code != exitUsage || !strings.Contains(r.errOut, "--dc") {
		t.Errorf("%+v", r)
	}

	// As a member of a domain, as far as Wine's registry makes it one.
	w.must(t, "wine", "reg", "add", `HKLM\System\CurrentControlSet\Services\Tcpip\Parameters`, "/v", "Domain", "/t", "REG_SZ", "/d", "corp.example", "/f")
	const why = "this computer is a member of corp.example"
	r := w.execute(t, "doctor", "--output", "json")
	for _, want := range []string{why, "90120: the Windows of this host accepts a made-up name with a made-up password", "net user guest /active:no", "no domain controller of corp.example is known to Windows"} {
		if r.code != exitFailure || !strings.Contains(r.out, want) {
			t.Errorf("doctor does not say %q: %+v", want, r)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a-canary-Passw0rd"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = w.execute(t, "test-signin", "--password-file", windowsPath(secret), "alice@corp.example")
	if r.code != exitFailure || r.out != "" || !strings.Contains(r.errOut, "asking by windows: chosen because "+why) || !strings.Contains(r.errOut, "90120: the password was not sent") {
		t.Errorf("%+v", r)
	}

	// A registered agent ends, for a reason that no restart mends, and says what to do.
	address, caFile := newService(t, time.Hour)
	tokenFile, state := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	r = w.execute(t, "register", "--service", address, "--token-file", windowsPath(tokenFile), "--ca-file", windowsPath(caFile), "--state", windowsPath(state), "--name", "wine-agent-1")
	if r.code != 0 || !strings.Contains(r.out, `registered agent "wine-agent-1" (a1)`) {
		t.Fatalf("%+v", r)
	}
	for _, validator := range []string{"windows", "auto"} {
		r = w.execute(t, "run", "--state", windowsPath(state), "--validator", validator)
		if r.code != exitUsage || !strings.Contains(r.errOut, "validator=windows") || !strings.Contains(r.errOut, why) || !strings.Contains(r.errOut, "directory: 90120: the Windows of this host accepts a made-up name") ||
			!strings.Contains(r.errOut, "what to do: Disable the Guest account") {
			t.Errorf("%s: %+v", validator, r)
		}
	}
}
