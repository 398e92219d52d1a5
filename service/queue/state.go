package queue

import (
	"errors"
	"fmt"
)

// State is where one check stands.
type State int

// The states, in the order of a good check. The last three are final.
const (
	Asked     State = iota // an agent is being looked for; there is no envelope yet
	Offered                // an agent's slot is reserved
	Sealed                 // the envelope exists and is on its way to the gateway
	Delivered              // the gateway has acknowledged it; nothing has been bound
	Fenced                 // the agent has the Go token: the attempt may count at the directory
	Answered               // the sealed answer is here
	Refused                // turned down before the fence: asking elsewhere is safe
	Lost                   // nobody will answer; whether it was fenced is known
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Asked:
		return "asked"
	case Offered:
		return "offered"
	case Sealed:
		return "sealed"
	case Delivered:
		return "delivered"
	case Fenced:
		return "fenced"
	case Answered:
		return "answered"
	case Refused:
		return "refused"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("state(%d)", int(s))
}

// Final reports whether nothing can happen any more.
func (s State) Final() bool { return s == Answered || s == Refused || s == Lost }

// Event is what can happen to a check.
type Event int

// The events.
const (
	Offering   Event = iota // a gateway offers an agent
	Sealing                 // the envelope is made
	Delivering              // the gateway acknowledges the envelope
	Fencing                 // the agent asks for the Go token
	Answering               // the agent's sealed answer arrives
	Refusing                // agent or gateway turn the check down
	Losing                  // a deadline passes, a stream or a gateway ends, or the caller gives up
)

// String returns the event's name.
func (e Event) String() string {
	switch e {
	case Offering:
		return "offer"
	case Sealing:
		return "seal"
	case Delivering:
		return "deliver"
	case Fencing:
		return "fence"
	case Answering:
		return "answer"
	case Refusing:
		return "refuse"
	case Losing:
		return "lose"
	}
	return fmt.Sprintf("event(%d)", int(e))
}

// ErrIllegalMove is wrapped by every refusal of [Next].
var ErrIllegalMove = errors.New("queue: illegal move")

// Next says where an event leads. An illegal move leaves the state as it is and must have no effect: above all, a fence that
// is illegal is answered with "no".
//
// A refusal after the fence leads to Lost, not to Refused: unlike a sealed answer, a refusal carries no proof that the agent
// made it, so it cannot take back that the attempt may have counted.
func Next(s State, e Event) (State, error) {
	switch {
	case s == Asked && e == Offering:
		return Offered, nil
	case s == Offered && e == Sealing:
		return Sealed, nil
	case s == Sealed && e == Delivering:
		return Delivered, nil
	case s == Delivered && e == Fencing:
		return Fenced, nil
	case (s == Delivered || s == Fenced) && e == Answering:
		return Answered, nil
	case (s == Sealed || s == Delivered) && e == Refusing:
		return Refused, nil
	case s == Fenced && e == Refusing:
		return Lost, nil
	case !s.Final() && e == Losing:
		return Lost, nil
	}
	return s, fmt.Errorf("%w: %s in state %s", ErrIllegalMove, e, s)
}
