package fleet

import (
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// TestLimit: a tenant has so many agents and no more; a registration above that uses up nothing, and neither revoked agents nor those that
// come back count.
func TestLimit(t *testing.T) {
	ctx, f := t.Context(), setUp(t)
	f.Limit = 2
	one, _ := f.enrol(t, f.a, f.dirA, "one")
	f.enrol(t, f.a, f.dirA, "two")
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	for range 2 {
		_, _, _, err := f.Enrol(ctx, secret, enrolment(t, "three"), f.now)
		want(t, "a third of two", err, wire.AgentLimit)
	}
	f.enrol(t, f.b, f.dirB, "another tenant's")

	_, released, err := f.Release(ctx, f.a, one.ID, Actor{}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, back, _, err := f.Enrol(ctx, released, enrolment(t, "one"), f.now); err != nil || back.ID != one.ID {
		t.Errorf("an agent that comes back: %v, %v", back.ID, err)
	}
	if err := f.Revoke(ctx, f.a, one.ID, "", f.now); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := f.Enrol(ctx, secret, enrolment(t, "three"), f.now); err != nil {
		t.Errorf("after a revocation, with the token that was refused before: %v", err)
	}
}
