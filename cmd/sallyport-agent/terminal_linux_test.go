package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTerminal opens a pseudo-terminal: what a person sees and types, and the program's end of it.
func newTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// At a terminal name and password are asked for, and the password is not shown.
func TestSignInAtATerminal(t *testing.T) {
	s, flags := newDirectory(t)
	person, program := newTerminal(t)
	c := command(t, nil, append([]string{"test-signin"}, flags...)...)
	c.Stdin, c.Stdout, c.Stderr = program, program, program
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	var seen strings.Builder
	await := func(words string) {
		t.Helper()
		b := make([]byte, 4096)
		for !strings.Contains(seen.String(), words) {
			n, err := person.Read(b)
			if seen.Write(b[:n]); err != nil {
				t.Fatalf("no %q in %q: %v", words, seen.String(), err)
			}
		}
	}
	await("Name: ")
	if _, err := io.WriteString(person, "bob@corp.example.com\n"); err != nil {
		t.Fatal(err)
	}
	await("Password (not shown): ")
	// The echo ends right after the question, which a program that types may beat.
	for {
		mode, err := unix.IoctlGetTermios(int(person.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if mode.Lflag&unix.ECHO == 0 {
			break
		}
		runtime.Gosched()
	}
	if _, err := io.WriteString(person, "canary-Passw0rd\n"); err != nil {
		t.Fatal(err)
	}
	await("it counts as one wrong password")
	_ = c.Wait() // the code tells
	if code := c.ProcessState.ExitCode(); code != exitNotRight {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(seen.String(), "canary") {
		t.Errorf("the password was shown: %q", seen.String())
	}
	if s.Binds("bob") != 1 {
		t.Errorf("%d binds", s.Binds("bob"))
	}
}
