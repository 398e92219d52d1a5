package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestRegistrationPolicy(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso"
	if p := read[Registration](t, w.want(200, w.contoso, "GET", below+"/registration", "")); p.Approval != "none" {
		t.Errorf("a tenant begins with %q", p.Approval)
	}
	w.want(400, w.contoso, "PUT", below+"/registration", `{"approval":"perhaps"}`)
	w.want(200, w.contoso, "PUT", below+"/registration", `{"approval":"second"}`)
	if p := read[Registration](t, w.want(200, w.contoso, "GET", below+"/registration", "")); p.Approval != "second" {
		t.Errorf("stored %q", p.Approval)
	}

	// A token's descendants are no second administrator: the installation's token makes a child, which makes another.
	child := read[AdminToken](t, w.want(201, w.root, "POST", "/admin-tokens", `{}`)).Secret
	grandchild := read[AdminToken](t, w.want(201, child, "POST", "/admin-tokens", `{"tenant":"contoso"}`)).Secret
	lab := func(token, host string) Agent {
		secret := read[AgentToken](t, w.want(201, token, "POST", below+"/agent-tokens", `{"directory":"corp","host":"lab*","networks":["192.0.2.0/24"]}`))
		if secret.Host != "lab*" || fmt.Sprint(secret.Networks) != "[192.0.2.0/24]" {
			t.Errorf("%+v", secret)
		}
		_, a, _, err := w.cfg.Fleet.Enrol(t.Context(), secret.Secret, w.enrolment(host), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return read[Agent](t, w.want(200, token, "GET", below+"/agents/"+a.ID, ""))
	}
	a := lab(w.root, "lab1")
	if a.State != string(fleet.Pending) {
		t.Fatalf("%+v", a)
	}
	for _, token := range []string{w.root, child, grandchild} {
		if got := w.want(403, token, "POST", below+"/agents/lab1/approve", ""); got.problem.Code != wire.SecondNeeded {
			t.Errorf("%+v", got.problem)
		}
	}
	w.want(404, w.fabrikam, "POST", below+"/agents/lab1/approve", "")
	w.want(409, w.contoso, "POST", below+"/agents/lab1/approve", `{"fingerprint":"of other keys"}`)
	w.want(400, w.contoso, "POST", below+"/agents/lab1/approve", `{"finger":"of other keys"}`)
	if got := read[Agent](t, w.want(200, w.contoso, "POST", below+"/agents/lab1/approve", `{"fingerprint":"`+a.Fingerprint+`"}`)); got.State != string(fleet.Active) {
		t.Errorf("%+v", got)
	}
	w.want(409, w.contoso, "POST", below+"/agents/lab1/deny", "")
	lab(grandchild, "lab2")
	w.want(403, w.root, "POST", below+"/agents/lab2/approve", "") // and no ancestor either
	if got := read[Agent](t, w.want(200, w.contoso, "POST", below+"/agents/lab2/deny", "")); got.State != string(fleet.Revoked) {
		t.Errorf("%+v", got)
	}
	w.want(400, w.contoso, "POST", below+"/agent-tokens", `{"directory":"corp","networks":["10.0.0.0/40"]}`)
}

// enrolment is what a host of this name sends.
func (w *world) enrolment(host string) fleet.Enrolment {
	w.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)
	csr := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(w.t)))(w.t)
	public := must(envelope.GenerateKey())(w.t).Public()
	return fleet.Enrolment{Host: host, Address: "192.0.2.7", CSR: csr, EnvelopeSuite: public.Suite(), EnvelopeKey: public.Bytes()}
}
