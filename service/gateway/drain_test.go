package gateway_test

import (
	"fmt"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/link"
)

// TestDrainLeavesNobodyAlone: a gateway that holds all agents of a directory ends, and at no moment is there nobody to ask: half of
// them are at the other gateway before the rest go. The door is shut at once, so that nobody comes back to it.
func TestDrainLeavesNobodyAlone(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	one, two := w.gateway(w.queue(url), nil), w.gateway(w.queue(url), nil)
	service := w.queue(url)
	var agents []*link.Link
	for i := range 3 {
		m := w.register(one, fmt.Sprint("a", i))
		a := w.attach(m, 4, yes)
		agents = append(agents, a.Link)
		m.gateway = two.address // where it goes from its next connection on
		until(t, "attached to the first", func() bool { return a.Status().Gateway == one.ID() })
	}
	stopped := make(chan error, 1)
	go func() { stopped <- one.stop() }()
	checks := 0
	for ended := false; !ended; checks++ {
		select {
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
			ended = true
		default:
		}
		if r := w.check(t.Context(), service, fmt.Sprint("r", checks)); string(r.outcome.Sealed) != "yes sealed" {
			t.Fatalf("check %d while the gateway ends: %s", checks, r)
		}
	}
	t.Logf("%d checks meanwhile", checks)
	until(t, "all attached elsewhere", func() bool {
		for _, a := range agents {
			if st := a.Status(); st.State != link.Attached || st.Gateway != two.ID() {
				return false
			}
		}
		return true
	})
}
