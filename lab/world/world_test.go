package world

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/wire"
)

// programs are built once for all tests.
var programs Programs

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-world-")
	if err == nil {
		defer os.RemoveAll(dir)
		programs, err = Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Most of these tests wait for the service to notice something, so more of them than cores may run at once.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// crowd makes people who are all alike.
func crowd(prefix string, count int) []people.Person {
	all := make([]people.Person, count)
	for i := range all {
		sam := fmt.Sprintf("%s%d", prefix, i)
		all[i] = people.Person{SAM: sam, UPN: sam + "@" + Domain, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal}
	}
	return all
}

// single starts an installation of one process.
func single(t *testing.T, agents int, who []people.Person) *World {
	t.Helper()
	return start(t, Options{Agents: agents, People: who})
}

// split starts an installation of four processes over a broker and PostgreSQL.
func split(t *testing.T, agents int, who []people.Person) *World {
	t.Helper()
	return start(t, splitOptions(t, agents, who))
}

func splitOptions(t *testing.T, agents int, who []people.Person) Options {
	t.Helper()
	database := dbtest.Schema(t, dbtest.Postgres(t))
	broker, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	if !broker.ReadyForConnections(startTimeout) {
		t.Fatal("the broker does not start")
	}
	return Options{Agents: agents, People: who, Database: database, Broker: broker.Addr().String()}
}

func start(t *testing.T, o Options) *World {
	t.Helper()
	o.Programs, o.Dir = programs, t.TempDir()
	if keep := os.Getenv("SALLYPORT_WORLD_LOGS"); keep != "" {
		o.Dir = filepath.Join(keep, t.Name())
		noError(t, os.RemoveAll(o.Dir))
		noError(t, os.MkdirAll(o.Dir, 0o700))
	}
	began := time.Now()
	w, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	t.Logf("up after %s", time.Since(began).Round(time.Millisecond))
	return w
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// upn is the sign-in name of somebody of a crowd.
func upn(prefix string, i int) string { return fmt.Sprintf("%s%d@%s", prefix, i, Domain) }

// in demands that somebody gets in.
func in(t *testing.T, w *World, name string) {
	t.Helper()
	saw, err := w.SignIn(t.Context(), name, people.RightPassword)
	wantIn(t, name, saw, err)
}

func wantIn(t *testing.T, name string, saw visitor.Outcome, err error) {
	t.Helper()
	if err != nil || !strings.EqualFold(saw.SignedIn, name) {
		t.Errorf("%s did not get in: %+v, %v", name, saw, err)
	}
}

// wantCode demands that a page stopped a sign-in with a number.
func wantCode(t *testing.T, name string, saw visitor.Outcome, err error, code wire.Code) {
	t.Helper()
	if err != nil || saw.Code != int(code) {
		t.Errorf("%s saw %+v, %v; want %d", name, saw, err, code)
	}
}

// wantBinds demands what the directory counted: attempts with somebody's name, and how many of the last of them were wrong.
func wantBinds(t *testing.T, w *World, name string, binds, wrong int) {
	t.Helper()
	if n, bad := w.Directory.Binds(name), w.Directory.BadPwdCount(name); n != binds || bad != wrong {
		t.Errorf("the directory counted %d binds for %s and a badPwdCount of %d, want %d and %d", n, name, bad, binds, wrong)
	}
}

// failures is the number of wrong passwords that the service's own lockout counts for somebody.
func failures(t *testing.T, w *World, name string) int {
	t.Helper()
	pool := openRows(t, w)
	defer pool.Close()
	var n sql.NullInt64
	noError(t, pool.QueryRowContext(t.Context(), `SELECT sum(failures) FROM lockout WHERE account = $1
		OR account IN (SELECT id FROM person WHERE upn_key = $2)`, name, name).Scan(&n))
	return int(n.Int64)
}

// openRows opens the database for reading. The caller closes it.
func openRows(t *testing.T, w *World) *sql.DB {
	t.Helper()
	driver, source := "pgx", w.DatabaseURL
	if path, ok := strings.CutPrefix(source, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?mode=ro"
	}
	pool, err := sql.Open(driver, source)
	noError(t, err)
	return pool
}

// TestShapes: in both shapes people get in, or not, and every process ends well when told to.
func TestShapes(t *testing.T) {
	t.Parallel()
	for _, shape := range []struct {
		name  string
		start func(*testing.T, int, []people.Person) *World
	}{{"one process", single}, {"split", split}} {
		t.Run(shape.name, func(t *testing.T) {
			w := shape.start(t, 2, crowd("p", 2))
			in(t, w, upn("p", 0))
			saw, err := w.SignIn(t.Context(), upn("p", 1), people.WrongPassword)
			wantCode(t, upn("p", 1), saw, err, wire.InvalidPassword)
			wantBinds(t, w, upn("p", 0), 1, 0)
			wantBinds(t, w, upn("p", 1), 1, 1)
			if n := failures(t, w, upn("p", 1)); n != 1 {
				t.Errorf("%d wrong passwords are counted, want 1", n)
			}
			for _, n := range w.nodes() {
				if err := n.Stop(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
