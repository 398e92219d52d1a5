package signin

import (
	"errors"
	"fmt"
	"time"
)

// state is where a journey stands. The values are stored.
type state string

// The states. The drawing stands in the package comment.
const (
	atName     state = "name"     // waits for a name
	atPassword state = "password" // waits for a password
	done       state = "done"     // has a result that waits to be taken
	finished   state = "finished" // the result was taken
	failed     state = "failed"   // too many wrong passwords: nothing more can come of it
)

// event is what happens to a journey.
type event string

const (
	named    event = "named"    // a possible name was typed
	misnamed event = "misnamed" // an impossible name was typed
	posted   event = "posted"   // a password came and is about to be checked
	right    event = "right"    // it was right
	wrong    event = "wrong"    // it was judged, and not right
	unjudged event = "unjudged" // nobody could judge it
	taken    event = "taken"    // the door took the result
)

// position is what the rule looks at.
type position struct {
	state    state
	attempts int // passwords posted so far
	expires  time.Time
}

// errEnded is returned for journeys whose time is over or that are in a last state.
var errEnded = errors.New("the journey has ended")

// errIllegal is returned for events that a journey's state does not allow.
var errIllegal = errors.New("the journey does not allow this now")

// moves are all legal moves.
var moves = map[state]map[event]state{
	atName:     {named: atPassword, misnamed: atName},
	atPassword: {named: atPassword, misnamed: atName, posted: atPassword, right: done, wrong: atPassword, unjudged: atPassword},
	done:       {taken: finished},
}

// next returns the state after e. An outage never ends a journey: only wrong passwords are counted against it.
func next(p position, e event, now time.Time) (state, error) {
	if !now.Before(p.expires) {
		return p.state, fmt.Errorf("%w: its time was over at %s", errEnded, p.expires.UTC().Format(time.RFC3339))
	}
	from, ok := moves[p.state]
	if !ok {
		return p.state, fmt.Errorf("%w: it is %s", errEnded, p.state)
	}
	to, ok := from[e]
	if !ok {
		return p.state, fmt.Errorf("%w: %s while at %s", errIllegal, e, p.state)
	}
	if e == wrong && p.attempts >= maxAttempts {
		return failed, nil
	}
	return to, nil
}

// page is the last part of the address of the page that shows a state.
type page string

const (
	namePage     page = ""
	passwordPage page = "/password"
	continuePage page = "/continue"
)

// pageOf returns the page on which a journey goes on, or errEnded when there is none.
func pageOf(p position, now time.Time) (page, error) {
	if !now.Before(p.expires) {
		return "", fmt.Errorf("%w: its time is over", errEnded)
	}
	switch p.state {
	case atName:
		return namePage, nil
	case atPassword:
		return passwordPage, nil
	case done:
		return continuePage, nil
	}
	return "", fmt.Errorf("%w: it is %s", errEnded, p.state)
}

// verdict is what a post of a password form is.
type verdict string

const (
	fresh    verdict = "fresh"    // a new attempt
	waiting  verdict = "waiting"  // a repetition of the attempt that is being checked
	repeated verdict = "repeated" // a repetition of the attempt that was just settled
	forged   verdict = "forged"   // a number that no page of ours ever showed
)

// judgePost tells what a post is, from the attempt number in its form (-1: none, as from a program), the number of attempts
// so far and when the last of them was settled (zero: it is under way, or there was none).
func judgePost(form, attempts int, settled, now time.Time) verdict {
	switch {
	case form < 0 || form == attempts:
		return fresh
	case form > attempts:
		return forged
	case settled.IsZero():
		return waiting
	case now.Sub(settled) < repeatWithin:
		return repeated
	}
	return fresh
}
