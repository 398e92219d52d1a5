package locate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

// told is a connection to a name server that has made up its mind: whatever the question, its answers are these bytes, so many by its own count.
type told struct {
	net.Conn
	count  uint16
	bytes  []byte
	answer bytes.Reader
}

func (c *told) Write(query []byte) (int, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query[2:])
	if err != nil {
		return 0, err
	}
	header.Response, header.RecursionAvailable = true, true
	questions, err := p.AllQuestions()
	if err != nil {
		return 0, err
	}
	b := dnsmessage.NewBuilder(make([]byte, 2), header)
	if err := b.StartQuestions(); err != nil {
		return 0, err
	}
	for _, q := range questions {
		if err := b.Question(q); err != nil {
			return 0, err
		}
	}
	message, err := b.Finish()
	if err != nil {
		return 0, err
	}
	message = append(message, c.bytes...)
	binary.BigEndian.PutUint16(message, uint16(len(message)-2))
	binary.BigEndian.PutUint16(message[2+6:], c.count)
	c.answer.Reset(message)
	return len(query), nil
}

func (c *told) Read(b []byte) (int, error)      { return c.answer.Read(b) }
func (c *told) Close() error                    { return nil }
func (c *told) SetDeadline(time.Time) error     { return nil }
func (c *told) SetReadDeadline(time.Time) error { return nil }

// record encodes an SRV record of the name that was asked for.
func record(priority, weight, port uint16, target string) []byte {
	b := []byte{0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 0} // a pointer to the question's name, SRV, IN, a minute
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, priority), weight), port)
	for label := range strings.SplitSeq(target, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	binary.BigEndian.PutUint16(b[10:], uint16(len(b)-12))
	return b
}

// FuzzRecords feeds what anybody between this host and its name server may say. What is taken of it are a few hosts of the domain, each once, the
// better ones first.
func FuzzRecords(f *testing.F) {
	good := record(0, 100, 389, "dc1.corp.example.")
	f.Add(uint16(2), append(good, record(10, 0, 3268, "DC2.corp.example.")...))
	f.Add(uint16(3), append(append(good, record(0, 1, 389, "dc1.evil.example.")...), record(0, 0, 0, ".")...))
	f.Add(uint16(1), record(0, 0, 389, "a b.corp.example."))
	f.Add(uint16(9), good)
	f.Add(uint16(1), good[:20])
	f.Add(uint16(12), bytes.Repeat(record(1, 0, 389, "x.corp.example."), 12))
	f.Fuzz(func(t *testing.T, count uint16, answer []byte) {
		if len(answer) > 60_000 {
			return // more than a message
		}
		resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return &told{count: count, bytes: answer}, nil
		}}
		found, err := locate.Find(t.Context(), resolver, locate.Query{Domain: "corp.example", Site: "Berlin"}, []string{"dc2.corp.example"})
		if err == nil && len(found.Targets) == 0 || len(found.Targets) > locate.MaxTargets || len(found.Foreign) > 3 {
			t.Fatalf("%+v, %v", found, err)
		}
		seen := map[string]bool{}
		for i, target := range found.Targets {
			if seen[target.Host] || target.Port == 0 || target.Host != strings.ToLower(target.Host) || !strings.HasSuffix(target.Host, ".corp.example") ||
				(locate.Query{Domain: target.Host}).Check() != nil {
				t.Fatalf("%+v", found.Targets)
			}
			seen[target.Host] = true
			if i > 0 && found.Targets[i-1].Near == target.Near && found.Targets[i-1].Priority > target.Priority {
				t.Fatalf("%+v", found.Targets)
			}
		}
		for _, foreign := range found.Foreign {
			if len(foreign) > 253 {
				t.Fatalf("%q", foreign)
			}
		}
	})
}
