package world

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
)

const (
	// kills is how often the service dies, crew how many people sign in at once, perLife how many of them have their answer
	// before it dies: with its last breath, as it were.
	kills, crew, perLife = 4, 32, 60
)

// witness is one person who signed in once, and what they know of it.
type witness struct {
	name  string
	wrong bool
	// acknowledged says that the service has led the browser on from the password; all but the name is then to be found in the log.
	acknowledged bool
	saw          visitor.Outcome
}

// outcome is the record's.
func (g *witness) outcome() string {
	if g.wrong {
		return "wrong"
	}
	return "right"
}

// TestRecordsSurviveKill kills all sign-in processes with SIGKILL while many people sign in, at the moment when one of them gets the
// answer to the password, and starts them again on the same database, several times. Every sign-in that was acknowledged is in
// the log once and as it was, whatever the process had in its memory; none is there twice.
//
// It says nothing about power cuts: the kernel keeps what a dead process has written. Those are a matter of fsync, which package db
// sets and its tests read back.
func TestRecordsSurviveKill(t *testing.T) {
	for _, shape := range []struct {
		name  string
		start func(*testing.T, int, []people.Person) *World
	}{{"one process", single}, {"split", split}} {
		t.Run(shape.name, func(t *testing.T) {
			const count = kills * (perLife + 2*crew)
			w := shape.start(t, 2, crowd("k", count))
			var all []*witness
			for range kills {
				all = append(all, liveAndDie(t, w, len(all), count)...)
				for _, n := range w.Signins {
					noError(t, n.Start(t.Context())) // nobody repairs anything before
				}
				if !w.split() { // the agents would find back by themselves, later
					for _, n := range w.Agents {
						n.Kill()
						noError(t, n.Start(t.Context()))
					}
				}
				noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
				wantRecords(t, w, all)
			}
			in(t, w, all[len(all)-1].name)
			acknowledged, cut := 0, 0
			for _, g := range all {
				switch {
				case g.acknowledged:
					acknowledged++
				case g.saw.Posted:
					cut++
				}
			}
			if acknowledged < kills*perLife || cut == 0 {
				t.Errorf("%d were acknowledged and %d were cut off: nothing was at stake", acknowledged, cut)
			}
			t.Logf("%d acknowledged, %d cut off between the password and the answer", acknowledged, cut)
		})
	}
}

// liveAndDie lets people of the crowd in, from the first-th on, until the service has died, and returns those who came.
func liveAndDie(t *testing.T, w *World, first, count int) []*witness {
	t.Helper()
	var (
		mu      sync.Mutex // guards came
		came    []*witness
		answers atomic.Int64
		dead    atomic.Bool
		visits  sync.WaitGroup
	)
	next := func() *witness {
		mu.Lock()
		defer mu.Unlock()
		i := first + len(came)
		if dead.Load() || i == count {
			return nil
		}
		came = append(came, &witness{name: upn("k", i), wrong: i%mistypes == 0})
		return came[len(came)-1]
	}
	for range crew {
		visits.Go(func() {
			transport := w.Transport()
			defer transport.CloseIdleConnections()
			for g := next(); g != nil; g = next() {
				v, typed := visitor.New(w.App, transport), people.RightPassword
				if g.wrong {
					typed = people.WrongPassword
				}
				v.Acknowledged = func() {
					g.acknowledged = true
					if answers.Add(1) == perLife {
						var all sync.WaitGroup
						for _, n := range w.Signins {
							all.Go(n.Kill)
						}
						all.Wait()
						dead.Store(true)
					}
				}
				var err error
				if g.saw, err = v.SignIn(t.Context(), g.name, typed); err != nil && answers.Load() < perLife {
					t.Errorf("%s, while the service lived: %v", g.name, err)
				}
			}
		})
	}
	visits.Wait()
	if !dead.Load() {
		t.Fatal("the crowd was used up before the service died")
	}
	return came
}

// wantRecords holds the sign-in log against what people know.
func wantRecords(t *testing.T, w *World, all []*witness) {
	t.Helper()
	pool := openRows(t, w)
	defer pool.Close()
	if strings.HasPrefix(w.DatabaseURL, "sqlite:") {
		var verdict string
		noError(t, pool.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict))
		if verdict != "ok" {
			t.Errorf("the database is damaged: %s", verdict)
		}
	}
	rows, err := pool.QueryContext(t.Context(), `SELECT typed_name, outcome, trace FROM sign_in`)
	noError(t, err)
	defer rows.Close()
	type record struct{ outcome, trace string }
	log := map[string][]record{}
	for rows.Next() {
		var name string
		var r record
		noError(t, rows.Scan(&name, &r.outcome, &r.trace))
		log[name] = append(log[name], r)
	}
	noError(t, rows.Err())
	for _, g := range all {
		found := log[g.name]
		delete(log, g.name)
		switch {
		case len(found) > 1:
			t.Errorf("%s signed in once and has %d records: %+v", g.name, len(found), found)
		case len(found) == 0 && g.acknowledged:
			t.Errorf("%s was acknowledged (%+v) and has no record", g.name, g.saw)
		case len(found) > 0 && !g.saw.Posted:
			t.Errorf("%s typed no password and has a record", g.name)
		}
		if slices.ContainsFunc(found, func(r record) bool { return r.outcome != g.outcome() || g.saw.Trace != "" && r.trace != g.saw.Trace }) {
			t.Errorf("%s has the record %+v; want %s, trace %q", g.name, found, g.outcome(), g.saw.Trace)
		}
	}
	if len(log) > 0 {
		t.Errorf("records of nobody who came: %v", log)
	}
}
