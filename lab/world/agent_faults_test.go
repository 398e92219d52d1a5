package world

import (
	"fmt"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// fault is what happens to an agent, or to its line. The lab undoes it after the sign-in.
type fault struct {
	name string
	do   func(*Node)
}

var (
	cut = fault{"its line is cut", func(n *Node) { n.Line.Cut() }}
	// What a process has said just before it is killed may arrive or not, as the kernel likes; here it does not.
	kill = fault{"it is killed", func(n *Node) { n.Line.Cut(); n.Kill() }}
)

// spentBudget is how many wrong passwords leave no room for an attempt that may count beside another one: half of the service's
// threshold of four, less the one.
const spentBudget = 1

// TestAgentLost loses an agent at each stop of the path. Before the fence another agent lets the person in, and the directory has
// seen one bind. After it there is a second attempt while the account's budget bears it, never a third; else an honest 90020,
// which counts nowhere.
func TestAgentLost(t *testing.T) {
	t.Parallel()
	w := single(t, 3, crowd("p", 64))
	next := 0
	for _, c := range []struct {
		at   stop
		with fault
		// binds at the directory, with a fresh budget and with a spent one.
		fresh, spent int
		// after says that the service cannot know whether the attempt counted.
		after bool
	}{
		{atCheck, cut, 1, 1, false},
		{atCheck, kill, 1, 1, false},
		{atFence, cut, 1, 1, false},
		{atFence, kill, 1, 1, false},
		{atGo, cut, 1, 0, true},
		{atGo, kill, 1, 0, true},
		{atBind, cut, 2, 1, true},
		{atBind, kill, 2, 1, true},
		{atAnswer, cut, 2, 1, true},
		{atAnswer, kill, 2, 1, true},
	} {
		for _, typed := range []string{people.RightPassword, people.WrongPassword} {
			for _, spent := range []int{0, spentBudget} {
				t.Run(fmt.Sprintf("%s/%s/%s/%d wrong before", c.at, c.with.name, typed, spent), func(t *testing.T) {
					name := upn("p", next)
					next++
					for range spent {
						saw, err := w.SignIn(t.Context(), name, people.WrongPassword)
						wantCode(t, name, saw, err, wire.InvalidPassword)
					}
					caught := trap(t, w, c.at, c.with.do)
					saw, err := w.SignIn(t.Context(), name, typed)
					n := sprung(t, caught)
					untrap(w)

					binds, judged := c.fresh, true
					if spent > 0 {
						binds, judged = c.spent, !c.after
					}
					counted := spent // wrong passwords here
					switch {
					case !judged:
						wantCode(t, name, saw, err, wire.LostAfterFence)
						records, err := w.Records(t.Context(), name)
						if err != nil || len(records) != spent+1 || records[0].Code != wire.LostAfterFence {
							t.Errorf("the log has %+v, %v", records, err)
						}
					case typed == people.RightPassword:
						wantIn(t, name, saw, err)
						counted = 0
					default:
						wantCode(t, name, saw, err, wire.InvalidPassword)
						counted++
					}
					bad := spent + binds
					if typed == people.RightPassword && binds > 0 {
						bad = 0
					}
					wantBinds(t, w, name, spent+binds, bad)
					if got := failures(t, w, name); got != counted {
						t.Errorf("the service counts %d wrong passwords, want %d", got, counted)
					}
					again(t, w, n)
				})
			}
		}
	}
}

// again gives an agent a new life: one whose line was cut would wait longer and longer before it comes back.
func again(t *testing.T, w *World, n *Node) {
	t.Helper()
	n.Kill()
	noError(t, n.Start(t.Context()))
	noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
}

// TestAgentFrozen freezes an agent, or its line, before the fence: another agent lets the person in after the time that a fence
// may take. When the first one thaws it asks for a fence that nobody grants any more, and binds nothing.
func TestAgentFrozen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		at       stop
		do, undo func(*Node) error
	}{
		{"the process before it has the check", atCheck, (*Node).Pause, (*Node).Resume},
		{"the line before the check", atCheck, func(n *Node) error { n.Line.Freeze(true); return nil }, func(n *Node) error { n.Line.Freeze(false); return nil }},
		{"the line before the fence", atFence, func(n *Node) error { n.Line.Freeze(true); return nil }, func(n *Node) error { n.Line.Freeze(false); return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := single(t, 2, crowd("p", 1))
			caught := trap(t, w, c.at, func(n *Node) {
				if err := c.do(n); err != nil {
					t.Error(err)
				}
			})
			in(t, w, upn("p", 0))
			n := sprung(t, caught)
			untrap(w)
			wantBinds(t, w, upn("p", 0), 1, 0)
			noError(t, c.undo(n))
			noError(t, Await(t.Context(), "the late agent has given the check up", func() bool { return n.Logged("may_have_counted=false") > 0 }))
			wantBinds(t, w, upn("p", 0), 1, 0)
		})
	}
}
