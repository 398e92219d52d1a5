package keyring

import "time"

// State is where in its life a key is.
type State uint8

// The states, in the order in which a key goes through them; drawn in the package comment.
const (
	Waiting State = iota + 1 // published, signs nothing yet
	Active                   // published, signs
	Retired                  // published, signs nothing any more
	Removed                  // forgotten; the row may be deleted
)

// String returns the state's word.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Active:
		return "active"
	case Retired:
		return "retired"
	case Removed:
		return "removed"
	}
	return "unknown"
}

// Times are what a key's life is made of. Retire and Remove are zero as long as no successor is known.
type Times struct{ Created, Active, Retire, Remove time.Time }

// State returns the state at now.
func (t Times) State(now time.Time) State {
	switch {
	case !t.Remove.IsZero() && !now.Before(t.Remove):
		return Removed
	case !t.Retire.IsZero() && !now.Before(t.Retire):
		return Retired
	case now.Before(t.Active):
		return Waiting
	}
	return Active
}

// Published reports whether the JWKS shows the key at now.
func (t Times) Published(now time.Time) bool { return t.State(now) != Removed }

// Signer returns the index of the key that signs at now, -1 if there is none: of the active ones the latest.
func Signer(line []Times, now time.Time) int {
	best := -1
	for i, t := range line {
		if t.State(now) == Active && (best < 0 || t.Active.After(line[best].Active)) {
			best = i
		}
	}
	return best
}

// first returns the times of a key that nobody waits for: active at once, and a little before, for replicas whose clocks are
// behind the one that makes it.
func first(now time.Time) Times { return Times{Created: now, Active: now.Add(-clocks)} }

// Step is what [Plan] wants done to a line of keys. The zero Step is nothing.
type Step struct {
	// Make asks for a new key with the times New.
	Make bool
	New  Times
	// Retire is the index of the key that the new one succeeds, to be given RetireAt and RemoveAt; -1 for none.
	Retire             int
	RetireAt, RemoveAt time.Time
	// Forget are the indices of keys whose rows can go.
	Forget []int
}

// Plan is the rule of rotation for one line (one tenant, one algorithm). It makes a successor once the newest key has at most
// publishAhead left of its period, or at once when early is set and no successor waits yet. A plan that comes late (the
// service was down) shortens nothing: the old key goes on signing until the new one has been published long enough.
func Plan(line []Times, early bool, now time.Time) Step {
	step := Step{Retire: -1}
	newest := -1
	for i, t := range line {
		if t.State(now) == Removed {
			step.Forget = append(step.Forget, i)
			continue
		}
		if t.Retire.IsZero() && (newest < 0 || t.Active.After(line[newest].Active)) {
			newest = i
		}
	}
	if newest < 0 {
		// The first key, or the first after all were forgotten: nobody can have cached anything to verify with.
		step.Make, step.New = true, first(now)
		return step
	}
	current := line[newest]
	if current.State(now) == Waiting {
		return step // the successor is under way
	}
	due := current.Active.Add(period - publishAhead)
	if !early && now.Before(due) {
		return step
	}
	from := now.Add(publishAhead)
	step.Make, step.New = true, Times{Created: now, Active: from}
	step.Retire, step.RetireAt, step.RemoveAt = newest, from, from.Add(stayPublished)
	return step
}
