package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// FuzzFromAgent feeds messages of an agent to what reads them: the delivery that is under way, and what its end becomes.
func FuzzFromAgent(f *testing.F) {
	for _, m := range []*linkpb.FromAgent{
		{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 1, Slots: 1 << 31, Host: "h\x1b", AgentVersion: "1"}}},
		{Message: &linkpb.FromAgent_Fence{Fence: &linkpb.Fence{RequestId: "r", Nonce: []byte("n")}}},
		{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: "r", Sealed: []byte("s")}}},
		{Message: &linkpb.FromAgent_Refusal{Refusal: &linkpb.Refusal{RequestId: "r", Code: 80001, Detail: "why\x00"}}},
		{Message: &linkpb.FromAgent_Refusal{Refusal: &linkpb.Refusal{RequestId: "other", Code: 7}}},
		{Message: &linkpb.FromAgent_Leaving{Leaving: &linkpb.Leaving{Reason: "shutdown"}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(linkpb.FromAgent)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		for _, word := range []string{m.GetHello().GetHost(), m.GetHello().GetAgentVersion(), m.GetHello().GetOs(), m.GetLeaving().GetReason()} {
			if s := clip(word, maxWords); !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxWords || strings.ContainsAny(s, "\x00\n\r\x1b") {
				t.Errorf("%q", s)
			}
		}
		a := &attached{deliveries: map[string]*delivery{}}
		d, _ := a.begin("r")
		for range 2 * cap(d.events) { // an agent that repeats itself blocks nobody
			a.event(m.GetAnswer().GetRequestId()+m.GetRefusal().GetRequestId()+m.GetFence().GetRequestId(), m)
		}
		if len(d.events) == 0 || m.GetFence() != nil {
			return
		}
		o, _ := final(<-d.events)
		if ends := []bool{len(o.Sealed) > 0, o.Refused != 0, o.Lost}; !oneOf(ends) {
			t.Errorf("%v set in %+v", ends, o)
		}
		if _, known := wire.Lookup(o.Refused); o.Refused != 0 && !known || len(o.Sealed) > queue.MaxEnvelope || utf8.RuneCountInString(o.Detail) > maxDetail {
			t.Errorf("%+v", o)
		}
	})
}

func oneOf(all []bool) bool {
	n := 0
	for _, is := range all {
		if is {
			n++
		}
	}
	return n == 1
}

// FuzzCSR feeds what registrations bring as their request for a certificate.
func FuzzCSR(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		f.Fatal(err)
	}
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	f.Add(good)
	f.Add(good + good)
	f.Add(strings.Replace(good, "M", "N", 1))
	f.Fuzz(func(t *testing.T, text string) {
		csr, err := parseCSR(text)
		switch {
		case err != nil && !errors.Is(err, wire.ErrRegister):
			t.Errorf("an error that the caller is not told: %v", err)
		case err == nil && csr.CheckSignature() != nil:
			t.Error("a request whose maker does not hold the key")
		}
	})
}
