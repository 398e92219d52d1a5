package signin

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Of two requests that have read a journey one moves it, whatever the other one wants; and no other tenant's or browser's does.
func TestOneRequestMovesAJourney(t *testing.T) {
	w := newWorld(t)
	ctx, now := t.Context(), w.clock.now()
	scope := w.acme.Scope()
	begun := journey{id: db.NewID(), browserHash: hashOf("b"), appID: "app-1", appName: "Payroll", returnTo: "/x", state: atPassword, typedName: "anna@acme.example",
		trace: "t", attempts: 1, created: now.UTC(), expires: now.Add(time.Hour).UTC()}
	err := w.db.Write(ctx, func(tx db.Querier) error { return insertJourney(ctx, tx, scope, begun) })
	if err != nil {
		t.Fatal(err)
	}
	second := begun
	second.attempts, second.lastCode, second.settled = 2, wire.InvalidPassword, now.UTC()
	if err := w.svc.move(ctx, w.other.Scope(), begun, second); !errors.Is(err, errMoved) {
		t.Errorf("another tenant: %v", err)
	}
	if err := w.svc.move(ctx, scope, begun, second); err != nil {
		t.Fatal(err)
	}
	over := second
	over.state, over.sessionID = done, "s"
	if err := w.svc.move(ctx, scope, begun, over); !errors.Is(err, errMoved) {
		t.Errorf("with an attempt that is over: %v", err)
	}
	otherState := second
	otherState.state = atName
	if err := w.svc.move(ctx, scope, otherState, over); !errors.Is(err, errMoved) {
		t.Errorf("from another state: %v", err)
	}
	got, err := findJourney(ctx, w.db.Reader(), scope, begun.id, hashOf("b"))
	if err != nil || got.position() != second.position() || got.lastCode != second.lastCode || !got.settled.Equal(now) {
		t.Errorf("%+v, %v", got, err)
	}
	for what, find := range map[string]func() (journey, error){
		"another browser": func() (journey, error) { return findJourney(ctx, w.db.Reader(), scope, begun.id, hashOf("c")) },
		"another tenant": func() (journey, error) {
			return findJourney(ctx, w.db.Reader(), w.other.Scope(), begun.id, hashOf("b"))
		},
		"another journey": func() (journey, error) { return findJourney(ctx, w.db.Reader(), scope, db.NewID(), hashOf("b")) },
	} {
		if j, err := find(); !fault.Has(err, wire.JourneyUnknown) {
			t.Errorf("%s: %+v, %v", what, j, err)
		}
	}
}
