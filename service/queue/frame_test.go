package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

var sample = Delivery{Request: "r1", Directory: "d1", Agent: "a1", Slot: "S-1_x", Trace: "00-aa-bb-01", Envelope: []byte("sealed")}

func TestDeliveryFrame(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	tenantID, d, err := decodeDelivery(encodeDelivery("t1", sample, 1500*time.Millisecond), now)
	if err != nil {
		t.Fatal(err)
	}
	if tenantID != "t1" || d.Request != "r1" || d.Directory != "d1" || d.Agent != "a1" || d.Slot != "S-1_x" ||
		d.Trace != "00-aa-bb-01" || string(d.Envelope) != "sealed" || !d.Deadline.Equal(now.Add(1500*time.Millisecond)) {
		t.Fatalf("got %q %+v", tenantID, d)
	}
	bad := map[string][]byte{
		"empty":          nil,
		"other version":  append([]byte{9}, encodeDelivery("t1", sample, 0)[1:]...),
		"cut":            encodeDelivery("t1", sample, 0)[:8],
		"no envelope":    encodeDelivery("t1", Delivery{Request: "r", Directory: "d", Agent: "a", Slot: "s"}, 0),
		"wildcard":       encodeDelivery("*", sample, 0),
		"dotted tenant":  encodeDelivery("t1.x", sample, 0),
		"large envelope": encodeDelivery("t1", Delivery{Request: "r", Directory: "d", Agent: "a", Slot: "s", Envelope: make([]byte, MaxEnvelope+1)}, 0),
		"no tenant":      encodeDelivery("", sample, 0),
		"days":           encodeDelivery("t1", sample, 48*time.Hour),
	}
	for name, b := range bad {
		if _, _, err := decodeDelivery(b, now); !errors.Is(err, errFrame) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestOutcomeFrame(t *testing.T) {
	for _, o := range []Outcome{
		{Sealed: []byte{1, 2}},
		{Refused: wire.AgentRateLimited, Detail: "ten a minute"},
		{Lost: true, Detail: "stream ended"},
	} {
		got, err := decodeOutcome(encodeOutcome(o)[1:])
		if err != nil || !bytes.Equal(got.Sealed, o.Sealed) || got.Refused != o.Refused || got.Lost != o.Lost || got.Detail != o.Detail {
			t.Errorf("%+v became %+v, %v", o, got, err)
		}
	}
	got, err := decodeOutcome(encodeOutcome(Outcome{Refused: -1, Detail: "a\nb" + strings.Repeat("é", maxText)})[1:])
	if err != nil || !got.Lost || strings.Contains(got.Detail, "\n") || len(got.Detail) > maxText {
		t.Errorf("a nonsensical outcome must be a loss with a clean detail: %+v, %v", got, err)
	}
	for _, b := range []string{"", "s", "r", "r\x00", "x", "s" + strings.Repeat("x", MaxEnvelope+1)} {
		if _, err := decodeOutcome([]byte(b)); !errors.Is(err, errFrame) {
			t.Errorf("%.10q: got %v, want a refusal", b, err)
		}
	}
}

func TestAskFrames(t *testing.T) {
	if _, err := decodeAsk([]byte(`{"wait_ms":-1}`)); !errors.Is(err, errFrame) {
		t.Error("negative wait was read")
	}
	m, err := decodeAsk([]byte(`{"request":"r","wait_ms":99999999,"age_ms":99999999}`))
	if err != nil || m.WaitMS != AskWithin.Milliseconds() || m.AgeMS != AskWithin.Milliseconds() {
		t.Errorf("got %+v, %v: times must be cut", m, err)
	}
	many, _ := json.Marshal(askMessage{Exclude: make([]string, maxExclude+1)})
	for _, b := range []string{"", "{", string(many), `{"trace":"` + strings.Repeat("x", maxAsk) + `"}`} {
		if _, err := decodeAsk([]byte(b)); !errors.Is(err, errFrame) {
			t.Errorf("%.20q was read", b)
		}
	}
	for _, b := range []string{"", "{}", `{"gateway":"g.x","agent":"a","slot":"s"}`, `{"gateway":"g","agent":">","slot":"s"}`} {
		if _, err := decodeAskReply([]byte(b)); !errors.Is(err, errFrame) {
			t.Errorf("%q was read", b)
		}
	}
}

func TestValidToken(t *testing.T) {
	for s, want := range map[string]bool{"a": true, "0190-ab_C": true, strings.Repeat("a", 64): true, "": false,
		strings.Repeat("a", 65): false, "a.b": false, "*": false, ">": false, "a b": false, "é": false, "a\n": false} {
		if validToken(s) != want {
			t.Errorf("validToken(%q) = %v", s, !want)
		}
	}
}

func FuzzDecodeDelivery(f *testing.F) {
	f.Add(encodeDelivery("t1", sample, time.Second))
	f.Add([]byte{frameVersion, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.UnixMilli(0)
		tenantID, d, err := decodeDelivery(b, now)
		if err != nil {
			return
		}
		again, e, err := decodeDelivery(encodeDelivery(tenantID, d, d.Deadline.Sub(now)), now)
		if err != nil || again != tenantID || e.Slot != d.Slot || !bytes.Equal(e.Envelope, d.Envelope) || !e.Deadline.Equal(d.Deadline) {
			t.Fatalf("%+v did not survive: %+v, %v", d, e, err)
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	f.Add([]byte("sX"))
	f.Add([]byte("r\x05why"))
	f.Add([]byte("lwhy"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOutcome(b)
		if err != nil {
			return
		}
		set := 0
		for _, is := range []bool{len(o.Sealed) > 0, o.Refused != 0, o.Lost} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Fatalf("%d members set in %+v", set, o)
		}
	})
}

func FuzzDecodeAsk(f *testing.F) {
	f.Add([]byte(`{"request":"r","wait_ms":5}`))
	f.Add([]byte(`{"gateway":"g","agent":"a","slot":"s"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeAsk(b); err == nil && (m.WaitMS < 0 || m.WaitMS > AskWithin.Milliseconds()) {
			t.Fatalf("wait out of bounds: %+v", m)
		}
		if r, err := decodeAskReply(b); err == nil && r.Agent != "" && !validToken(r.Slot) {
			t.Fatalf("offer with a slot that is no id: %+v", r)
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	f.Add([]byte(`{"tenant":"t","agent":"a"}`))
	f.Add([]byte(`{"tenant":"t.>"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChange(b)
		if err != nil {
			if c != (Change{}) {
				t.Fatalf("an error and %+v", c)
			}
			return
		}
		if strings.ContainsAny(c.Tenant+c.Agent, ".*> \x00") || c.Tenant == "" {
			t.Fatalf("names that are more than a part of a subject: %+v", c)
		}
	})
}
