package dbtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoPostgres is wrapped by [StartPostgres] when PostgreSQL's programs are not installed.
var ErrNoPostgres = errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql)")

// startTimeout bounds how long a new server may take until it answers: a busy machine with a slow disk needs a while.
const startTimeout = 60 * time.Second

// Server is a private PostgreSQL server with an empty database, on a port of the loopback interface. It trades safety
// for speed: what it stores does not survive a power cut.
type Server struct {
	// URL leads to the database, as its owner.
	URL string

	dir     string
	process *os.Process
	output  *bytes.Buffer // read only after ended
	ended   chan struct{}
	cause   error // of the end; read only after ended
}

// StartPostgres makes a cluster in a temporary folder and starts a server on it. Run by root it drops to the user postgres,
// since PostgreSQL refuses to run as root.
func StartPostgres() (*Server, error) {
	initdb, server, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sallyport-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, output: new(bytes.Buffer), ended: make(chan struct{})}
	if err := s.start(initdb, server); err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), os.RemoveAll(dir))
	}
	return s, nil
}

// programs finds initdb and postgres; Debian keeps them out of the path.
func programs() (initdb, server string, err error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	if found, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(found))
	}
	for _, folder := range folders {
		initdb, server = filepath.Join(folder, "initdb"), filepath.Join(folder, "postgres")
		if executable(initdb) && executable(server) {
			return initdb, server, nil
		}
	}
	return "", "", ErrNoPostgres
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// start initialises the folder, starts the server and waits until it answers.
func (s *Server) start(initdb, server string) error {
	attributes, own, err := lesserUser()
	if err != nil {
		return err
	}
	password := rand.Text()
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return err
	}
	if err := errors.Join(own(s.dir), own(passwordFile)); err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	create := exec.Command(initdb, "--pgdata="+data, "--username=sallyport", "--pwfile="+passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	create.Dir, create.SysProcAttr = s.dir, attributes
	if out, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	run := exec.Command(server, "-D", data, "-p", strconv.Itoa(port), "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	run.Dir, run.SysProcAttr, run.Stdout, run.Stderr = s.dir, attributes, s.output, s.output
	started := make(chan error, 1)
	go func() {
		// The server dies with the thread that started it (see lesserUser), so this thread must live as long.
		runtime.LockOSThread()
		defer close(s.ended)
		err := run.Start()
		started <- err
		if err == nil {
			s.cause = run.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process = run.Process
	s.URL = (&url.URL{Scheme: "postgres", User: url.UserPassword("sallyport", password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable"}).String()
	if err := s.await(); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// await polls until the server answers.
func (s *Server) await() error {
	pool, err := sql.Open("pgx", s.URL)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = pool.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended at once: %w: %s", s.cause, s.output)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Stop ends the server, without waiting for its clients, and removes its folder.
func (s *Server) Stop() error {
	if s.process != nil {
		// SIGQUIT is PostgreSQL's "immediate shutdown": nothing here is worth a checkpoint.
		if err := s.process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-s.ended
	}
	return os.RemoveAll(s.dir)
}

// freePort returns a port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
