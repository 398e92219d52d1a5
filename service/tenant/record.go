package tenant

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
)

// Recorder writes down, in the transaction that makes it, a change of who is believed: service/reglog does. A change whose record
// fails does not happen. Implementations are safe for concurrent use and keep nothing outside tx, which may be run again.
type Recorder interface {
	Record(ctx context.Context, tx db.Querier, scope Scope, e Event, now time.Time) error
}

// Event is one change, for a [Recorder]. What does not apply stays empty.
type Event struct {
	// What happened: a noun, a dot and a verb, such as "agent.register".
	What string
	// Agent, AgentName and Directory say of whom.
	Agent, AgentName, Directory string
	// Serial and Certificate are number and SHA-256 (of the DER, in hexadecimal) of a certificate that was issued or taken up.
	Serial, Certificate string
	// KeyID is the envelope key's, which is made of its hash.
	KeyID string
	// Token is the id of an enrolment or administrator's token that was made, used or ended.
	Token string
	// Detail is the rest, for people: a reason, the new name, a policy in words.
	Detail string
}

// Actor is who made a change.
type Actor struct {
	// Kind is "admin-token", "user", "enrolment-token", "agent" or, where nobody asked, "service".
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
	// Name is for people: a token's note, an agent's name.
	Name string `json:"name,omitempty"`
}

type actorKey struct{}

// WithActor says who makes the changes of this context. Doors call it, once they know their caller.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns who was named last; without anybody it is the service itself: a command on its host, or a rule of its own.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Kind: "service"}
}

// record is nil-safe for tests of this package's own rules; the wiring always sets Log.
func (s *Store) record(ctx context.Context, tx db.Querier, tenantID string, e Event, now time.Time) error {
	if s.Log == nil {
		return nil
	}
	return s.Log.Record(ctx, tx, ScopeOf(tenantID), e, now)
}
