package world

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
)

// The machine is one typed password: the service's two rules as they are, queue.Next for each delivery and password.Next between
// them, with a model of agents and of a network that delays what it likes for as long as it likes, and loses the rest. Its search
// visits every state that any order of events can reach.

// message is where one message of a try is.
type message uint8

const (
	unsent message = iota
	onTheWay
	arrived
)

// phase is where the agent of a try stands.
type phase uint8

const (
	waiting  phase = iota // for the envelope
	opened                // has a connection to the directory in hand
	fencing               // has asked for the go
	bound                 // has bound, once
	withheld              // has given up waiting, or been refused: it never binds
)

// attempt is one try with one agent.
type attempt struct {
	state                  queue.State
	granted                bool // the service has given the go token out
	envelope, fence, token message
	answer                 message
	agent                  phase
}

// machine is a comparable state of everything.
type machine struct {
	tries   [3]attempt
	current int8 // which try the service works on
	ended   bool // the person has an answer
	judged  bool
	code    wire.Code
	doubts  int8 // tries lost after the fence, or in trouble after it
	spared  bool // the budget bore a second attempt that may count
}

// rule is that of one delivery: queue.Next, or a planted one.
type rule func(queue.State, queue.Event) (queue.State, error)

// binds is what the directory has counted, and what it may still count is explored.
func (m machine) binds() (n int) {
	for _, a := range m.tries {
		if a.agent == bound {
			n++
		}
	}
	return n
}

// moves returns every state that one event leads to.
func (m machine) moves(delivery rule) (out []machine) {
	for i := range m.tries {
		if int8(i) <= m.current {
			out = append(out, m.agentMoves(i, delivery)...)
		}
	}
	if m.ended {
		return out
	}
	// The service's side of the try under way.
	for _, e := range []queue.Event{queue.Offering, queue.Sealing, queue.Delivering, queue.Refusing, queue.Losing} {
		a := m.tries[m.current]
		if e == queue.Delivering && a.envelope == unsent {
			continue
		}
		next, err := delivery(a.state, e)
		if err != nil {
			continue
		}
		n := m
		n.tries[m.current].state = next
		if e == queue.Sealing {
			n.tries[m.current].envelope = onTheWay
		}
		out = append(out, n.settle(e == queue.Refusing)...)
	}
	if a := m.tries[m.current]; a.answer == onTheWay {
		if next, err := delivery(a.state, queue.Answering); err == nil {
			n := m
			n.tries[m.current].state, n.tries[m.current].answer = next, arrived
			out = append(out, n.settle(false)...)
		}
	}
	return out
}

// agentMoves are the events at an agent and on the way of its messages, whatever the service believes by now.
func (m machine) agentMoves(i int, delivery rule) (out []machine) {
	move := func(change func(a *attempt)) {
		n := m
		change(&n.tries[i])
		out = append(out, n)
	}
	a := m.tries[i]
	if a.envelope == onTheWay {
		move(func(a *attempt) { a.envelope, a.agent = arrived, opened })
	}
	switch a.agent {
	case opened:
		move(func(a *attempt) { a.agent, a.fence = fencing, onTheWay })
		move(func(a *attempt) { a.agent, a.answer = withheld, onTheWay }) // no connection: trouble, nothing sent
	case fencing:
		move(func(a *attempt) { a.agent, a.answer = withheld, onTheWay }) // no go in time, or cancelled
		if a.token == onTheWay {
			move(func(a *attempt) { a.token, a.agent, a.answer = arrived, bound, onTheWay })
		}
	}
	if a.fence == onTheWay {
		// Whenever the fence comes, the rule of the delivery decides; a try that is over grants nothing.
		move(func(a *attempt) {
			a.fence = arrived
			if next, err := delivery(a.state, queue.Fencing); err == nil {
				a.state, a.granted, a.token = next, true, onTheWay
			}
		})
	}
	return out
}

// settle lets the rule of handing over decide once a try has ended, for every budget and clock.
func (m machine) settle(refused bool) []machine {
	a := m.tries[m.current]
	if !a.state.Final() {
		return []machine{m}
	}
	known := password.Known{Tries: int(m.current) + 1}
	switch {
	case a.state == queue.Answered && a.agent == bound && a.granted:
		known.Event = password.Answered
	case a.state == queue.Answered:
		known.Event, known.Code = password.TroubleUnfenced, wire.DirectoryUnreachable
	case refused && !a.granted:
		known.Event, known.Code = password.Refused, wire.AgentRateLimited
	case a.granted:
		known.Event = password.LostAfterFence
	default:
		known.Event = password.LostBeforeFence
	}
	if known.Event == password.LostAfterFence {
		m.doubts++
	}
	known.Binds = int(m.doubts)
	var out []machine
	for _, known.Spare = range []bool{false, true} {
		for _, known.Left = range []time.Duration{0, 10 * time.Second} {
			n := m
			switch step := password.Next(known); step.Do {
			case password.Again:
				n.current++
				n.spared = n.spared || m.doubts > 0 && known.Spare
			case password.Judge:
				n.ended, n.judged = true, true
			default:
				n.ended, n.code = true, step.Code
			}
			out = append(out, n)
		}
	}
	return out
}

// explored counts what a search has visited.
type explored struct{ states, doubles, unknown, late int }

// explore visits every state and returns an error at the first that must not be: a second bind that the account's budget has not
// borne, a third, a verdict without a bind of its own, or "nothing has counted" although something did, then or later.
func explore(delivery rule) (e explored, err error) {
	seen := map[machine]bool{{}: true}
	todo := []machine{{}}
	for len(todo) > 0 {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		binds := m.binds()
		switch {
		case binds > 2, binds > 1 && !m.spared:
			return e, fmt.Errorf("%d binds: %+v", binds, m)
		case m.judged && m.tries[m.current].agent != bound:
			return e, fmt.Errorf("a verdict without a bind: %+v", m)
		case m.ended && !m.judged && m.code != wire.LostAfterFence && binds > 0:
			return e, fmt.Errorf("%d binds, and the person was told %s: %+v", binds, m.code, m)
		}
		switch {
		case binds == 2:
			e.doubles++
		case m.ended && m.code == wire.LostAfterFence:
			e.unknown++
		}
		if m.ended && m.tries[0].agent == fencing {
			e.late++
		}
		for _, n := range m.moves(delivery) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	e.states = len(seen)
	return e, nil
}

// TestNoPathBindsTwice: no order of events breaks what explore holds it to.
func TestNoPathBindsTwice(t *testing.T) {
	e, err := explore(queue.Next)
	if err != nil {
		t.Fatal(err)
	}
	// The search must have been where it matters, or it proves nothing.
	if e.doubles == 0 || e.unknown == 0 || e.late == 0 {
		t.Errorf("%+v: nothing was at stake", e)
	}
	t.Logf("%+v", e)
}

// TestPlantedRulesAreCaught: the search finds what a careless rule would do.
func TestPlantedRulesAreCaught(t *testing.T) {
	for name, planted := range map[string]rule{
		"a fence is granted after the delivery was given up": func(s queue.State, e queue.Event) (queue.State, error) {
			if s == queue.Lost && e == queue.Fencing {
				return s, nil
			}
			return queue.Next(s, e)
		},
		"a fence is granted after a refusal": func(s queue.State, e queue.Event) (queue.State, error) {
			if s == queue.Refused && e == queue.Fencing {
				return s, nil
			}
			return queue.Next(s, e)
		},
	} {
		if e, err := explore(planted); err == nil {
			t.Errorf("%s: not found in %+v", name, e)
		}
	}
}
