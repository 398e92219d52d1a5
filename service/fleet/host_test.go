package fleet

import (
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

// TestOneAgentAHost: a second agent of a directory is not let onto a host unless it is given a name of its own there; who comes back, and
// who serves something else, is no second one.
func TestOneAgentAHost(t *testing.T) {
	ctx, f := t.Context(), setUp(t)
	_, secret := f.token(t, f.a, f.dirA, 5, 0)
	on := func(host, instance string) Enrolment {
		e := enrolment(t, host)
		e.Name, e.Instance = "", instance
		return e
	}
	_, first, _, err := f.Enrol(ctx, secret, on("dc1.corp.example", ""), f.now)
	if err != nil || first.Name != "dc1.corp.example" || first.Instance != "" {
		t.Fatalf("%+v, %v", first, err)
	}
	for _, host := range []string{"dc1.corp.example", "DC1.Corp.Example"} {
		_, _, _, err = f.Enrol(ctx, secret, on(host, ""), f.now)
		want(t, host, err, wire.HostTaken)
	}
	tokens, err := f.Tokens(ctx, f.a)
	if err != nil || len(tokens) != 1 || tokens[0].UsesLeft != 4 {
		t.Errorf("a refusal used the token: %+v, %v", tokens, err)
	}
	_, second, _, err := f.Enrol(ctx, secret, on("dc1.corp.example", "second"), f.now)
	if err != nil || second.Name != "dc1.corp.example-second" || second.Instance != "second" {
		t.Fatalf("%+v, %v", second, err)
	}
	if again, err := f.ByID(ctx, f.a, second.ID); err != nil || again.Instance != "second" {
		t.Errorf("%+v, %v", again, err)
	}
	_, _, _, err = f.Enrol(ctx, secret, on("dc1.corp.example", "second"), f.now)
	want(t, "the same instance", err, wire.HostTaken)

	f.enrol(t, f.b, f.dirB, "dc1.corp.example")
	if _, _, _, err := f.Enrol(ctx, secret, on("", ""), f.now); err != nil {
		t.Errorf("a host without a name: %v", err)
	}
	if _, _, _, err := f.Enrol(ctx, secret, on("", ""), f.now); err != nil {
		t.Errorf("another one, which may be anywhere: %v", err)
	}
	if err := f.Revoke(ctx, f.a, first.ID, "", f.now); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := f.Enrol(ctx, secret, on("dc1.corp.example", ""), f.now); err != nil {
		t.Errorf("after a revocation: %v", err)
	}
	_, released, err := f.Release(ctx, f.a, second.ID, Actor{}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, back, _, err := f.Enrol(ctx, released, on("dc1.corp.example", "second"), f.now); err != nil || back.ID != second.ID {
		t.Errorf("one that comes back: %+v, %v", back, err)
	}
}
