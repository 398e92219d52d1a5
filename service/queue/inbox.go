package queue

import (
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// inbox receives every reply to this process through one wildcard subscription and hands it to the call that waits for it:
// a subscription for each check would double the broker's work. What nobody waits for any more is answered on the spot: a late
// fence with "no", a late offer with a release.
type inbox struct {
	q      *Queue
	prefix string // ends in a dot

	mu      sync.Mutex // guards the two below; held for a map access only
	last    uint64
	waiting map[string]chan *nats.Msg
}

func openInbox(q *Queue) (*inbox, error) {
	in := &inbox{q: q, prefix: "sallyport." + nats.NewInbox() + ".", waiting: map[string]chan *nats.Msg{}}
	if _, err := q.conn.Subscribe(in.prefix+"*", in.dispatch); err != nil {
		return nil, err
	}
	q.settle()
	return in, nil
}

// open returns a fresh reply subject and the channel of what arrives there.
func (in *inbox) open(buffer int) (subject string, events <-chan *nats.Msg) {
	c := make(chan *nats.Msg, buffer)
	in.mu.Lock()
	in.last++
	token := strconv.FormatUint(in.last, 36)
	in.waiting[token] = c
	in.mu.Unlock()
	return in.prefix + token, c
}

// close forgets a reply subject. Messages that had come but were not read are treated like those that come later, so after
// close no fence of this subject can be granted.
func (in *inbox) close(subject string) {
	token := strings.TrimPrefix(subject, in.prefix)
	in.mu.Lock()
	c := in.waiting[token]
	delete(in.waiting, token)
	in.mu.Unlock()
	for {
		select {
		case m := <-c:
			in.unclaimed(m)
		default:
			return
		}
	}
}

// dispatch runs on the subscription's goroutine and never blocks: a channel that is full loses the message, which its reader
// sees as silence.
func (in *inbox) dispatch(m *nats.Msg) {
	token := strings.TrimPrefix(m.Subject, in.prefix)
	in.mu.Lock()
	c, ok := in.waiting[token]
	if ok {
		select {
		case c <- m:
			in.mu.Unlock()
			return
		default:
		}
	}
	in.mu.Unlock()
	in.unclaimed(m)
}

// unclaimed answers a message that no call will read.
func (in *inbox) unclaimed(m *nats.Msg) {
	if len(m.Data) == 0 {
		return
	}
	switch m.Data[0] {
	case frameFence:
		in.q.denyFence(m)
	case frameAskReply:
		if r, err := decodeAskReply(m.Data[1:]); err == nil && r.Agent != "" {
			in.q.Release(r.Gateway, r.Slot)
		}
	}
}

// noResponders reports whether m is the broker's word that nobody has subscribed to where the request went.
func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}
