package kerberos_test

import (
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// relay stands before a real KDC: connections go to it, and datagrams where answer says.
type relay struct {
	address                       string
	connections, datagrams, proof atomic.Int32 // proof counts the datagrams with one
}

// between starts a relay; nil for answer means that nobody listens for datagrams.
func between(t *testing.T, kdc string, answer func(request []byte) []byte) *relay {
	r := &relay{}
	r.address = rogue(t, func(t *testing.T, request []byte) []byte {
		r.connections.Add(1)
		return forward(t, kdc, request)
	})
	if answer == nil {
		return r
	}
	c, err := net.ListenPacket("udp", r.address)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			r.datagrams.Add(1)
			var request messages.ASReq
			if request.Unmarshal(b[:n]) != nil || request.PAData.Contains(2) {
				r.proof.Add(1)
			}
			if reply := answer(b[:n]); reply != nil {
				_, _ = c.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return r
}

// byDatagram asks a real KDC by UDP.
func byDatagram(t *testing.T, kdc string, request []byte) []byte {
	c, err := net.Dial("udp", net.JoinHostPort(kdc, "88"))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	b := make([]byte, 64<<10)
	if _, err = c.Write(request); err != nil {
		t.Error(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Error(err)
	}
	return b[:n]
}

func (w world) byUDP(t *testing.T, kdc string) *kerberos.Validator {
	return w.validator(t, func(c *kerberos.Config) { c.KDCs, c.UDP = []string{kdc}, true })
}

// The first question goes by UDP, the proof never.
func TestFirstQuestionByUDP(t *testing.T) {
	w := start(t)
	r := between(t, w.dc.Addr, func(request []byte) []byte { return byDatagram(t, w.dc.Addr, request) })
	v := w.byUDP(t, r.address)
	for i, password := range []string{people.RightPassword, people.WrongPassword} {
		result, err := v.Validate(t.Context(), ask("bob@"+w.dc.UPNSuffix, password).Check)
		if err != nil || result.Verdict.Reason != []wire.Reason{wire.Accepted, wire.BadPassword}[i] {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	if n, err := w.dc.BadPwdCount(t.Context(), "bob"); err != nil || n != 1 {
		t.Errorf("counted %d, %v", n, err)
	}
	if r.datagrams.Load() != 2 || r.connections.Load() != 2 || r.proof.Load() != 0 {
		t.Errorf("two checks took %d datagrams (%d with a proof) and %d connections", r.datagrams.Load(), r.proof.Load(), r.connections.Load())
	}
	if s := v.Status()[0]; s.UDPError != "" || s.LastError != "" {
		t.Errorf("%+v", s)
	}
	if l := v.Look(t.Context())[0]; l.Err != nil || l.UDPErr != nil {
		t.Errorf("%+v", l)
	}
}

// What UDP does not bring is asked by TCP, and what is worth nothing by UDP is not believed.
func TestWhereUDPIsOfNoUse(t *testing.T) {
	w := start(t)
	name := "alice@" + w.dc.UPNSuffix
	for what, c := range map[string]struct {
		answer func(request []byte) []byte
		mute   string // why no second datagram is sent; empty if it is
	}{
		"nobody listens":          {nil, "connection refused"},
		"a firewall swallows it":  {func([]byte) []byte { return nil }, "no answer"},
		"too much for a datagram": {func([]byte) []byte { return refusal(t, 52, nil) }, ""},
		"unknown, somebody says":  {func([]byte) []byte { return refusal(t, 6, nil) }, ""},
		"no AES, somebody says":   {func([]byte) []byte { return refusal(t, 25, nil) }, ""},
		"garbage":                 {func([]byte) []byte { return []byte("garbage") }, ""},
		"more than a datagram":    {func([]byte) []byte { return make([]byte, 2000) }, "impossible length"},
	} {
		r := between(t, w.dc.Addr, c.answer)
		v := w.byUDP(t, r.address)
		for range 2 {
			if result, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || result.Verdict.Reason != wire.Accepted {
				t.Errorf("%s: %+v, %v", what, result, err)
			}
		}
		want := int32(2)
		switch {
		case c.answer == nil:
			want = 0
		case c.mute != "":
			want = 1
		}
		if n := r.datagrams.Load(); n != want || r.connections.Load() != 4 {
			t.Errorf("%s: %d datagrams, %d connections", what, n, r.connections.Load())
		}
		if s := v.Status()[0]; s.LastError != "" || (s.UDPError == "") != (c.mute == "") || !strings.Contains(s.UDPError, c.mute) {
			t.Errorf("%s: %+v", what, s)
		}
		if l := v.Look(t.Context())[0]; l.Err != nil || (l.UDPErr == nil) != (c.mute == "" && what != "garbage") {
			t.Errorf("%s: %+v", what, l)
		}
	}
}

// A demand for a proof that was forged does not make a proof's answer of what the KDC tells everybody: that the account is disabled.
func TestForgedDemand(t *testing.T) {
	disabled := append(binary.LittleEndian.AppendUint32(nil, 0xC0000072), 0, 0, 0, 0, 1, 0, 0, 0)
	for first, want := range map[int32]wire.Reason{18: wire.AccountRestricted, 25: wire.AccountDisabled} {
		address := rogue(t, func(t *testing.T, b []byte) []byte {
			var request messages.ASReq
			must(t, request.Unmarshal(b))
			if !request.PAData.Contains(2) && first == 25 {
				return refusal(t, 25, hints(t, etypeInfo{18, salt, nil}))
			}
			return refusal(t, 18, disabled)
		})
		c, err := net.ListenPacket("udp", address)
		must(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for b := make([]byte, 2048); ; {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(refusal(t, 25, hints(t, etypeInfo{18, salt, nil})), from)
			}
		}()
		v, err := kerberos.New(kerberos.Config{KDCs: []string{address}, Realm: realm, Unproven: true, UDP: true})
		must(t, err)
		r, err := v.Validate(t.Context(), ask("alice@corp.example.com", "x").Check)
		if err != nil || r.Verdict.Reason != want {
			t.Errorf("a KDC that says %d at first: %+v, %v", first, r, err)
		}
		c.Close()
		<-done
	}
}

// Whoever forges a datagram can have a right password refused; nobody is told that it is wrong, and the next is asked by TCP.
func TestForgedSalt(t *testing.T) {
	w := start(t)
	name := "bob@" + w.dc.UPNSuffix
	r := between(t, w.dc.Addr, func([]byte) []byte { return refusal(t, 25, hints(t, etypeInfo{18, realm + "mallory", nil})) })
	v := w.byUDP(t, r.address)
	_, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced || !strings.Contains(err.Error(), "another salt") {
		t.Errorf("%v", err)
	}
	if s := v.Status()[0]; !strings.Contains(s.UDPError, "another salt") {
		t.Errorf("%+v", s)
	}
	if result, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || result.Verdict.Reason != wire.Accepted {
		t.Errorf("%+v, %v", result, err)
	}
	if r.datagrams.Load() != 1 || r.proof.Load() != 0 {
		t.Errorf("%d datagrams, %d proofs", r.datagrams.Load(), r.proof.Load())
	}
}
