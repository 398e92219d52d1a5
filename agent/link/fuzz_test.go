package link

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// recorded is a stream on which a gateway has already said all that it will ever say.
type recorded struct {
	grpc.ClientStream
	said *strings.Reader

	mu   sync.Mutex
	sent []*linkpb.FromAgent
}

func (r *recorded) RecvMsg(m any) error { return protodelim.UnmarshalFrom(r.said, m.(proto.Message)) }

func (r *recorded) Context() context.Context { return context.Background() }

func (r *recorded) SendMsg(m any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, m.(*linkpb.FromAgent))
	return nil
}

// echo fences every check and gives back the token.
type echo struct{}

func (echo) Check(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) Reply {
	token, err := fence(ctx, []byte("nonce"))
	if err != nil {
		return Reply{Refused: wire.TransientNetwork, Detail: err.Error()}
	}
	return Reply{Sealed: append([]byte("sealed"), token...)}
}

// FuzzToAgent is a gateway that says anything at all after its Welcome. The agent never works on more checks than it has slots,
// ends every check that it took with one word, and is done when the stream is.
func FuzzToAgent(f *testing.F) {
	say := func(all ...*linkpb.ToAgent) string {
		var b strings.Builder
		for _, m := range all {
			if _, err := protodelim.MarshalTo(&b, m); err != nil {
				f.Fatal(err)
			}
		}
		return b.String()
	}
	sends := func(id string) *linkpb.ToAgent {
		return &linkpb.ToAgent{Message: &linkpb.ToAgent_Check{Check: &linkpb.Check{RequestId: id, DirectoryId: "d", Envelope: []byte("e")}}}
	}
	goes := &linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: "1", Token: []byte("t")}}}
	f.Add(say(sends("1"), goes, goes))
	f.Add(say(sends("1"), sends("1"), sends("2"), sends("3"), &linkpb.ToAgent{Message: &linkpb.ToAgent_Cancel{Cancel: &linkpb.Cancel{RequestId: "1"}}}))
	f.Add(say(&linkpb.ToAgent{Message: &linkpb.ToAgent_Drain{Drain: &linkpb.Drain{ComeBackMs: 1 << 31, Reason: "r"}}},
		&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: &linkpb.Goodbye{Code: 90048, Text: "\x1b", Permanent: true}}}))
	f.Fuzz(func(t *testing.T, said string) {
		synctest.Test(t, func(t *testing.T) {
			l, err := New(Config{Identity: identity{gateway: "g:1"}, Handler: echo{}, Slots: 2})
			if err != nil {
				t.Fatal(err)
			}
			stream := &recorded{said: strings.NewReader(said)}
			s := &session{l: l, stream: stream, checks: map[string]*check{}}
			e := s.read(make(chan struct{}, 1))
			s.abandon()
			l.tasks.Wait()
			var refused *Refused
			if e.err == nil || errors.As(e.err, &refused) && strings.ContainsAny(refused.Text, "\x00\n\x1b") || e.comeBack > maxComeBack {
				t.Errorf("%+v", e)
			}
			ends := 0
			for _, m := range stream.sent {
				if m.GetAnswer() != nil || m.GetRefusal() != nil {
					ends++
				}
			}
			if st := l.Status(); st.InFlight != 0 || uint64(ends) < st.Checks {
				t.Errorf("%d checks, %d ends, %d in flight", st.Checks, ends, st.InFlight)
			}
		})
	})
}
