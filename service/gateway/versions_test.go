package gateway_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// TestAgentsOfOtherVersions: an agent of the first protocol, which counts, proves and reports nothing, and one of a later version than the
// service's, which says things that this service has never heard of, both answer checks.
func TestAgentsOfOtherVersions(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	for version := uint32(wire.OldestVersion); version <= wire.Version+2; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := w.near(w.register(d, fmt.Sprint("a", version)))
			hello := &linkpb.Hello{ProtocolVersion: version, AgentVersion: fmt.Sprintf("0.%d.0", version), Slots: 2, Host: "h", Os: "plan9/mips"}
			if version > wire.Version {
				hello.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "of tomorrow"))
			}
			n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: hello}})
			if got := n.recv().GetWelcome(); got.GetProtocolVersion() != min(version, wire.Version) {
				t.Fatalf("got %v", got)
			}
			tomorrow := new(linkpb.FromAgent)
			if version > wire.Version {
				tomorrow.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 901, protowire.BytesType), "another kind of message"))
			}
			n.send(tomorrow)
			n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: &linkpb.Heartbeat{InFlight: 1}}})
			done := make(chan result, 1)
			go func() { done <- w.check(t.Context(), d.queue, "r") }()
			if c := n.recv().GetCheck(); c.GetRequestId() != "r" {
				t.Fatalf("got %v", c)
			}
			n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Fence{Fence: &linkpb.Fence{RequestId: "r", Nonce: nonce}}})
			if g := n.recv().GetGo(); string(g.GetToken()) != "go r" {
				t.Fatalf("got %v", g)
			}
			n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: "r", Sealed: []byte("yes")}}})
			if r := <-done; string(r.outcome.Sealed) != "yes" {
				t.Errorf("%s", r)
			}
			_ = n.conn.Close()
			until(t, "the agent is gone", func() bool { return len(d.Attached(w.scope)) == 0 })
		})
	}
}
