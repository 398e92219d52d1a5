package wire

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

func TestSecretNeverShows(t *testing.T) {
	const canary = "correct horse 7"
	s := NewSecret([]byte(canary))
	holder := struct {
		Name     string
		Password Secret
		Pointer  *Secret
	}{"alice", s, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%t", "%T %v"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", &holder)
	}
	fmt.Fprintln(&out, s, &s, holder, []Secret{s}, map[string]Secret{"p": s}, fmt.Errorf("wrapped: %v", s))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("check", "password", s, "holder", holder, "pointer", &s)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary)), "horse", "99 111 114"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret shows as %q in:\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Error("nothing was printed in the secret's place")
	}
}

func TestSecretRefusesEncoders(t *testing.T) {
	s := NewSecret([]byte("correct horse 7"))
	if _, err := json.Marshal(struct{ P Secret }{s}); !errors.Is(err, ErrSecretEncoded) {
		t.Errorf("JSON: %v", err)
	}
	if _, err := json.Marshal(map[string]*Secret{"p": &s}); !errors.Is(err, ErrSecretEncoded) {
		t.Errorf("JSON through a pointer: %v", err)
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(s); err == nil {
		t.Error("gob encoded a secret")
	}
	if _, err := s.MarshalText(); !errors.Is(err, ErrSecretEncoded) {
		t.Errorf("text: %v", err)
	}
}

func TestSecretWipe(t *testing.T) {
	raw := []byte("correct horse 7")
	s := NewSecret(raw)
	kept := s.Clone()
	if s.Wipe(); string(raw) != strings.Repeat("\x00", 15) {
		t.Errorf("after Wipe the bytes are %q", raw)
	}
	if string(kept.Reveal()) != "correct horse 7" {
		t.Error("Wipe reached a clone")
	}
	if (Secret{}).Len() != 0 {
		t.Error("the zero secret is not empty")
	}
	Secret{}.Wipe()
}

func TestReasonRules(t *testing.T) {
	for _, c := range []struct {
		reason               Reason
		right, wrong, proves bool
	}{
		{Accepted, true, false, true}, {BadPassword, false, true, false}, {NoSuchUser, false, true, false},
		{AccountLocked, false, false, false}, {AccountRestricted, false, false, false}, {AccountDisabled, false, false, true},
		{AccountExpired, false, false, true}, {PasswordExpired, false, false, true}, {MustChange, false, false, true},
		{LogonHours, false, false, true}, {Workstation, false, false, true}, {TooManyGroups, false, false, false},
	} {
		if !c.reason.Known() || c.reason.Right() != c.right || c.reason.Wrong() != c.wrong || c.reason.ProvesPassword() != c.proves {
			t.Errorf("%s: known %v right %v wrong %v proves %v", c.reason, c.reason.Known(), c.reason.Right(), c.reason.Wrong(), c.reason.ProvesPassword())
		}
	}
	for _, odd := range []Reason{"", "Accepted", "yes"} {
		if odd.Known() || odd.Right() || odd.Wrong() || odd.ProvesPassword() {
			t.Errorf("the unknown reason %q means something", odd)
		}
	}
}

func TestAgentIdentity(t *testing.T) {
	id := AgentIdentity{TrustDomain: "login.example", Tenant: "0190-a", Agent: "0190-b"}
	if got := id.URI().String(); got != "spiffe://login.example/tenant/0190-a/agent/0190-b" {
		t.Errorf("URI: %s", got)
	}
	back, err := ParseAgentIdentity(id.URI())
	if err != nil || back != id {
		t.Errorf("round trip: %v, %v", back, err)
	}
	for _, bad := range []string{"", "https://login.example/tenant/a/agent/b", "spiffe:///tenant/a/agent/b", "spiffe://login.example:443/tenant/a/agent/b",
		"spiffe://u@login.example/tenant/a/agent/b", "spiffe://login.example/tenant/a/agent/b/c", "spiffe://login.example/tenant/a/agent/",
		"spiffe://login.example/tenant//agent/b", "spiffe://login.example/tenant/a/agent/b?x=1", "spiffe://login.example/tenant/a/agent/b#x",
		"spiffe://login.example/tenant/a%2Fb/agent/c", "spiffe://login.example/tenant/A/agent/b", "spiffe://login.example/agent/a/tenant/b",
		"spiffe://login.example/tenant/../agent/b", "spiffe:login.example/tenant/a/agent/b"} {
		u, err := url.Parse(bad)
		if err != nil {
			continue
		}
		if got, err := ParseAgentIdentity(u); !errors.Is(err, ErrIdentity) {
			t.Errorf("%q was read as %v (%v)", bad, got, err)
		}
	}
	if _, err := ParseAgentIdentity(nil); !errors.Is(err, ErrIdentity) {
		t.Error("no URI was read")
	}
}

func FuzzParseAgentIdentity(f *testing.F) {
	f.Add("spiffe://login.example/tenant/a/agent/b")
	f.Add("spiffe://login.example/tenant/a%2fb/agent/b")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		id, err := ParseAgentIdentity(u)
		if err != nil {
			return
		}
		if again, err := ParseAgentIdentity(id.URI()); err != nil || again != id {
			t.Errorf("%q: %v, then %v (%v)", s, id, again, err)
		}
	})
}

func TestLookup(t *testing.T) {
	if e, ok := Lookup(NoAgent); !ok || e.Name != "no-agent" || NoAgent.String() != "80001" {
		t.Errorf("80001: %v %v", e, ok)
	}
	if _, ok := Lookup(1); ok {
		t.Error("1 is in the catalogue")
	}
	Catalogue()[0].Name = "changed"
	if Catalogue()[0].Name == "changed" {
		t.Error("Catalogue hands out its own memory")
	}
}
