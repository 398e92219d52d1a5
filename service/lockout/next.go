package lockout

import "time"

// Policy says how many wrong passwords lock an account, and for how long. Zero fields stand for the defaults.
type Policy struct {
	// Threshold is the number of the wrong password that locks.
	Threshold int
	// Duration is the length of the first lock, doubled with each further one up to MaxDuration.
	Duration, MaxDuration time.Duration
	// Window is how long after the last wrong password the count lasts.
	Window time.Duration
	// Forget is how long after the end of a lock a single wrong password locks again.
	Forget time.Duration
}

// withDefaults fills the zero fields.
func (p Policy) withDefaults() Policy {
	if p.Threshold <= 0 {
		p.Threshold = defaultThreshold
	}
	if p.Duration <= 0 {
		p.Duration = defaultDuration
	}
	if p.MaxDuration <= 0 {
		p.MaxDuration = max(defaultMaxDuration, p.Duration)
	}
	if p.Window <= 0 {
		p.Window = defaultWindow
	}
	if p.Forget <= 0 {
		p.Forget = max(defaultForget, p.MaxDuration)
	}
	return p
}

// State is what is remembered of an account. The zero State is that of an account that nobody guesses at.
type State struct {
	// Failures is the number of wrong passwords since the last right one.
	Failures int
	// Lockouts is the number of locks since the last right one.
	Lockouts    int
	LastFailure time.Time
	LockedUntil time.Time
}

// Phase is where an account is in the drawing of the package comment.
type Phase string

// The phases.
const (
	Clear     Phase = "clear"
	Counting  Phase = "counting"
	Locked    Phase = "locked"
	Probation Phase = "probation"
)

// Phase returns where the account is at a time.
func (s State) Phase(p Policy, now time.Time) Phase {
	p = p.withDefaults()
	switch {
	case now.Before(s.LockedUntil):
		return Locked
	case s.Lockouts > 0 && now.Before(s.LockedUntil.Add(p.Forget)):
		return Probation
	case s.Lockouts == 0 && s.Failures > 0 && now.Before(s.LastFailure.Add(p.Window)):
		return Counting
	default:
		return Clear
	}
}

// Event is what happens to an account.
type Event uint8

// The events. There is none for "don't know".
const (
	// Asked: somebody wants a password to be checked.
	Asked Event = iota
	// Wrong: the password was judged, and it, or the name, is wrong (wire.Reason.Wrong).
	Wrong
	// Right: the password was judged to be right.
	Right
)

// String returns the word of the drawing.
func (e Event) String() string {
	switch e {
	case Asked:
		return "asked"
	case Wrong:
		return "wrong"
	case Right:
		return "right"
	}
	return "unknown"
}

// Decision says whether a password may be checked.
type Decision struct {
	Locked bool
	// Until is the end of the lock, zero when there is none.
	Until time.Time
}

// Next is the rule: the state after an event, and whether a password may be checked from now on.
func Next(s State, e Event, p Policy, now time.Time) (State, Decision) {
	p = p.withDefaults()
	phase := s.Phase(p, now)
	if phase == Clear || e == Right {
		s = State{}
	}
	if e == Wrong {
		s.Failures++
		s.LastFailure = now
		// The lock falls with the wrong password that reaches the threshold, and with every one on probation.
		if phase != Locked && (s.Lockouts > 0 || s.Failures >= p.Threshold) {
			s.LockedUntil = now.Add(p.lock(s.Lockouts))
			s.Lockouts++
		}
	}
	if now.Before(s.LockedUntil) {
		return s, Decision{Locked: true, Until: s.LockedUntil}
	}
	return s, Decision{}
}

// lock returns how long the next lock lasts after so many.
func (p Policy) lock(lockouts int) time.Duration {
	d := p.Duration
	for range lockouts {
		if d >= p.MaxDuration/2 {
			return p.MaxDuration
		}
		d *= 2
	}
	return min(d, p.MaxDuration)
}

// left returns how many passwords may be wrong, the last of which locks; 0 while locked.
func left(s State, p Policy, now time.Time) int {
	p = p.withDefaults()
	switch s.Phase(p, now) {
	case Locked:
		return 0
	case Probation:
		return 1
	case Counting:
		return p.Threshold - s.Failures
	default:
		return p.Threshold
	}
}
