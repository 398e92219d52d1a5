package world

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestServiceLost kills the service, all of it in one process, while a check is under way. The page breaks off, and the agents come
// back to the new process by themselves. What was typed once is bound once at most.
func TestServiceLost(t *testing.T) {
	t.Parallel()
	w := single(t, 2, crowd("p", 8))
	service := w.Signins[0]
	for i, c := range []struct {
		at    stop
		binds int
	}{{atCheck, 0}, {atFence, 0}, {atGo, 0}, {atBind, 1}, {atAnswer, 1}} {
		t.Run(string(c.at), func(t *testing.T) {
			name := upn("p", i)
			caught := trap(t, w, c.at, func(n *Node) {
				n.Line.Cut() // what the process has said just before is lost
				service.Kill()
			})
			saw, err := w.SignIn(t.Context(), name, people.RightPassword)
			sprung(t, caught)
			untrap(w)
			if err == nil || !saw.Posted {
				t.Errorf("the service was killed, and the browser saw %+v", saw)
			}
			noError(t, service.Start(t.Context()))
			for _, n := range w.Agents {
				n.Kill()
				noError(t, n.Start(t.Context()))
			}
			noError(t, w.AwaitAgents(t.Context(), 2))
			noError(t, Await(t.Context(), "the directory has judged", func() bool { return w.Directory.Binds(name) == c.binds }))
			if n := failures(t, w, name); n != 0 {
				t.Errorf("%d wrong passwords are counted for an outage", n)
			}
			in(t, w, name)
			wantBinds(t, w, name, c.binds+1, 0)
		})
	}
}

// gatewayFault happens to the gateway that holds the agent at work.
type gatewayFault struct {
	at     stop
	do     func(agent, gateway *Node)
	before int // wrong passwords typed before: they spend the budget
	binds  int // at the directory, of the one password typed then
	code   wire.Code
}

// TestGatewayKilled kills the gateway that holds the agent at work. The other gateway's agents take over before the fence; after
// it, as far as the budget goes.
func TestGatewayKilled(t *testing.T) {
	t.Parallel()
	loseGateways(t, []gatewayFault{
		{atCheck, killGateway, 0, 1, 0},
		{atFence, killGateway, spentBudget, 1, 0},
		{atGo, killGateway, 0, 1, 0},
		{atGo, killGateway, spentBudget, 0, wire.LostAfterFence},
		{atBind, killGateway, 0, 2, 0},
		{atAnswer, killGateway, spentBudget, 1, wire.LostAfterFence},
	})
}

// TestGatewayWithoutBroker cuts that gateway off from the broker, or freezes its line there.
func TestGatewayWithoutBroker(t *testing.T) {
	t.Parallel()
	loseGateways(t, []gatewayFault{
		{atFence, cutOff, spentBudget, 1, 0},
		{atCheck, freezeBroker, 0, 1, 0},
		{atBind, freezeBroker, 0, 2, 0},
		{atBind, freezeBroker, spentBudget, 1, wire.LostAfterFence},
	})
}

func loseGateways(t *testing.T, faults []gatewayFault) {
	w := split(t, 4, crowd("p", len(faults)))
	for i, c := range faults {
		t.Run(fmt.Sprintf("%s/%d wrong before", c.at, c.before), func(t *testing.T) {
			name := upn("p", i)
			for range c.before {
				saw, err := w.SignIn(t.Context(), name, people.WrongPassword)
				wantCode(t, name, saw, err, wire.InvalidPassword)
			}
			caught := trap(t, w, c.at, func(n *Node) { c.do(n, gatewayOf(w, n)) })
			saw, err := w.SignIn(t.Context(), name, people.RightPassword)
			n := sprung(t, caught)
			untrap(w)
			counted := c.before
			if c.code != 0 {
				wantCode(t, name, saw, err, c.code)
			} else {
				wantIn(t, name, saw, err)
				counted = 0
			}
			if n := failures(t, w, name); n != counted {
				t.Errorf("the service counts %d wrong passwords, want %d", n, counted)
			}
			binds := c.before + c.binds
			noError(t, Await(t.Context(), "the directory has judged", func() bool { return w.Directory.Binds(name) >= binds }))
			gateway := gatewayOf(w, n)
			gateway.Line.Freeze(false)
			if !gateway.Alive() {
				noError(t, gateway.Start(t.Context()))
			}
			for _, n := range w.Agents {
				n.Kill()
				noError(t, n.Start(t.Context()))
			}
			noError(t, w.AwaitAgents(t.Context(), len(w.Agents)))
			// Also when all is back, nothing more happens.
			if got := w.Directory.Binds(name); got != binds {
				t.Errorf("the directory counted %d binds, want %d", got, binds)
			}
		})
	}
}

// gatewayOf is the gateway to which an agent's line leads first.
func gatewayOf(w *World, agent *Node) *Node {
	return w.Gateways[slices.Index(w.Agents, agent)%len(w.Gateways)]
}

func killGateway(agent, gateway *Node) {
	agent.Line.Cut() // what the gateway has said just before is lost
	gateway.Kill()
}

func cutOff(_, gateway *Node) { gateway.Line.Cut() }

func freezeBroker(_, gateway *Node) { gateway.Line.Freeze(true) }

// TestSigninLost kills one of two sign-in processes while a check is under way: the browser, led to the other one, begins again.
func TestSigninLost(t *testing.T) {
	t.Parallel()
	w := split(t, 2, crowd("p", 8))
	first, second := w.Signins[0], w.Signins[1]
	for i, c := range []struct {
		at    stop
		binds int
	}{{atCheck, 0}, {atBind, 1}} {
		t.Run(string(c.at), func(t *testing.T) {
			name := upn("p", i)
			w.Welcome(first)
			caught := trap(t, w, c.at, func(*Node) { first.Kill() })
			saw, err := w.SignIn(t.Context(), name, people.RightPassword)
			sprung(t, caught)
			untrap(w)
			if err == nil || !saw.Posted {
				t.Errorf("the process was killed, and the browser saw %+v", saw)
			}
			w.Welcome(second)
			in(t, w, name)
			noError(t, Await(t.Context(), "the directory has judged", func() bool { return w.Directory.Binds(name) == c.binds+1 }))
			noError(t, first.Start(t.Context()))
			wantBinds(t, w, name, c.binds+1, 0)
		})
	}
	// The broker stands still between the sign-in process and the gateways, and comes back once the process has noticed.
	t.Run("broker", func(t *testing.T) {
		name := upn("p", 7)
		w.Welcome(first)
		caught := trap(t, w, atCheck, func(*Node) { first.Line.Freeze(true) })
		done := make(chan visitor.Outcome, 1)
		go func() {
			saw, err := w.SignIn(t.Context(), name, people.RightPassword)
			if err != nil {
				t.Error(err)
			}
			done <- saw
		}()
		sprung(t, caught)
		untrap(w)
		noError(t, Await(t.Context(), "the check is handed over", func() bool { return first.Logged("check handed over to another agent") > 0 }))
		first.Line.Freeze(false)
		wantIn(t, name, <-done, nil)
		wantBinds(t, w, name, 1, 0)
	})
}
