package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

func goodRequest() wire.RegisterRequest {
	return wire.RegisterRequest{Token: "spt_secret", Name: "dc-agent-1", Host: "h1", OS: "linux", Version: "1.0",
		CSR: "-----BEGIN CERTIFICATE REQUEST-----", EnvelopeSuite: 1, EnvelopeKey: []byte{1, 2, 3}}
}

func TestDecodeRegisterRequest(t *testing.T) {
	good, err := json.Marshal(goodRequest())
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.DecodeRegisterRequest(strings.NewReader(string(good)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Token != "spt_secret" || got.EnvelopeSuite != 1 || string(got.EnvelopeKey) != "\x01\x02\x03" {
		t.Fatalf("decoded something else: %v", got)
	}
	change := func(f func(*wire.RegisterRequest)) string {
		r := goodRequest()
		f(&r)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, doc := range map[string]string{
		"empty":           "",
		"null":            "null",
		"array":           "[]",
		"unknown member":  strings.Replace(string(good), "{", `{"admin":true,`, 1),
		"two documents":   string(good) + string(good),
		"trailing":        string(good) + "x",
		"too long":        strings.Repeat(" ", wire.MaxRegisterRequest) + string(good),
		"no token":        change(func(r *wire.RegisterRequest) { r.Token = "" }),
		"long token":      change(func(r *wire.RegisterRequest) { r.Token = strings.Repeat("t", wire.MaxRegisterToken+1) }),
		"no name":         change(func(r *wire.RegisterRequest) { r.Name = "" }),
		"name of control": change(func(r *wire.RegisterRequest) { r.Name = "a\nb" }),
		"long name":       change(func(r *wire.RegisterRequest) { r.Name = strings.Repeat("n", wire.MaxRegisterName+1) }),
		"no csr":          change(func(r *wire.RegisterRequest) { r.CSR = "" }),
		"long csr":        change(func(r *wire.RegisterRequest) { r.CSR = strings.Repeat("c", wire.MaxRegisterCSR+1) }),
		"no key":          change(func(r *wire.RegisterRequest) { r.EnvelopeKey = nil }),
		"suite zero":      change(func(r *wire.RegisterRequest) { r.EnvelopeSuite = 0 }),
		"suite too high":  change(func(r *wire.RegisterRequest) { r.EnvelopeSuite = 1 << 16 }),
		"wrong type":      `{"token":"spt_secret","name":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.DecodeRegisterRequest(strings.NewReader(doc))
			if !errors.Is(err, wire.ErrRegister) {
				t.Fatalf("got %v, want ErrRegister", err)
			}
			if strings.Contains(err.Error(), "spt_secret") {
				t.Fatalf("the error tells the token: %v", err)
			}
		})
	}
}

func TestRegisterRequestNeverPrintsToken(t *testing.T) {
	r := goodRequest()
	for _, s := range []string{fmt.Sprint(r), fmt.Sprintf("%+v %#v %s %x", r, r, r, r), r.LogValue().String()} {
		if strings.Contains(s, "spt_secret") || strings.Contains(s, fmt.Sprintf("%x", "spt_secret")) {
			t.Errorf("printed the token: %s", s)
		}
	}
}

func TestDecodeRegisterAnswer(t *testing.T) {
	good := wire.RegisterAnswer{TenantID: "t1", DirectoryID: "d1", AgentID: "a1", Certificate: "PEM", Gateway: "g:1",
		TrustDomain: "x.example", Expires: time.UnixMilli(5).UTC()}
	b, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(b), "{", `{"later":1,`, 1)
	got, err := wire.DecodeRegisterAnswer(strings.NewReader(newer))
	if err != nil || got != good {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, f := range map[string]func(*wire.RegisterAnswer){
		"no certificate": func(a *wire.RegisterAnswer) { a.Certificate = "" },
		"no gateway":     func(a *wire.RegisterAnswer) { a.Gateway = "" },
		"id with slash":  func(a *wire.RegisterAnswer) { a.AgentID = "../a" },
		"no expiry":      func(a *wire.RegisterAnswer) { a.Expires = time.Time{} },
	} {
		a := good
		f(&a)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.DecodeRegisterAnswer(strings.NewReader(string(b))); !errors.Is(err, wire.ErrRegister) {
			t.Errorf("%s: got %v, want ErrRegister", name, err)
		}
	}
}

func TestProblem(t *testing.T) {
	p, err := wire.DecodeProblem(strings.NewReader(`{"title":"enrol-token-invalid","status":403,"code":90045,"trace":"ab","extra":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Code != wire.EnrolTokenInvalid || p.Error() != "90045 enrol-token-invalid (trace ab)" {
		t.Fatalf("got %q", p.Error())
	}
	if _, err := wire.DecodeProblem(strings.NewReader(`{"title":"` + strings.Repeat("a", wire.MaxProblem) + `"}`)); err == nil {
		t.Fatal("a problem without end was read")
	}
}

func FuzzDecodeRegisterRequest(f *testing.F) {
	b, _ := json.Marshal(goodRequest())
	f.Add(b)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"token":"x"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.DecodeRegisterRequest(strings.NewReader(string(b)))
		if err == nil && r.Validate() != nil {
			t.Fatal("decoded what is not valid")
		}
	})
}

// FuzzDecodeAnswers feeds what a service, or whoever stands in its place, answers to a registration.
func FuzzDecodeAnswers(f *testing.F) {
	f.Add([]byte(`{"title":"enrol-token-invalid","status":403,"code":90045,"detail":"d","remedy":"r","trace":"ab","extra":1}`))
	f.Add([]byte(`{"tenant_id":"t","directory_id":"d","agent_id":"a","certificate":"c","gateway":"g:1","gateway_ca":"x","trust_domain":"s"}`))
	f.Add([]byte(`{}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := wire.DecodeProblem(bytes.NewReader(b)); err == nil {
			_ = p.Error()
			if len(b) > wire.MaxProblem {
				t.Fatalf("read %d bytes", len(b))
			}
		}
		if a, err := wire.DecodeRegisterAnswer(bytes.NewReader(b)); err == nil && a.Validate() != nil {
			t.Fatal("decoded what is not valid")
		}
	})
}
