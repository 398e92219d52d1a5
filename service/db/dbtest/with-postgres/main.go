// Command with-postgres runs a command with a throw-away PostgreSQL server beside it, whose URL the command finds in the
// environment variable SALLYPORT_TEST_POSTGRES:
//
//	go run ./service/db/dbtest/with-postgres go test ./service/tenant/ ./service/user/
//
// Its exit code is the command's. Without PostgreSQL's programs it says so and succeeds without running the command,
// unless SALLYPORT_CI=1, which makes that a failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/sallyport-auth/sallyport/service/db/dbtest"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "with-postgres:", err)
	}
	os.Exit(code)
}

// run returns the exit code.
func run(command []string) (code int, err error) {
	if len(command) == 0 {
		return 2, errors.New("usage: with-postgres COMMAND [ARGUMENT…]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := dbtest.StartPostgres()
	if errors.Is(err, dbtest.ErrNoPostgres) && os.Getenv("SALLYPORT_CI") != "1" {
		return 0, fmt.Errorf("skipped %q: %w", command[0], err)
	}
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), dbtest.Environment+"="+server.URL)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil // the command has said itself what is wrong
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
