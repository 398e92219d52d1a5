package fleet

import (
	"testing"

	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestKeysInHardwareAreDemanded: registrations, returns and renewals with keys in files are refused and use up nothing; agents that are
// there go on, and move with fresh keys.
func TestKeysInHardwareAreDemanded(t *testing.T) {
	ctx, f := t.Context(), setUp(t)
	h := f.host(t, "before")
	demand := func(k tenant.AgentKeys) {
		t.Helper()
		if _, err := tenant.NewStore(f.db).SetAgentKeys(ctx, f.a, k, f.now); err != nil {
			t.Fatal(err)
		}
	}
	demand(tenant.KeysInHardware)
	old := serial(h)
	if _, err := f.Connect(ctx, f.a, h.agent.ID, Connection{Stream: "s", Serial: old, Counter: 1}, f.now); err != nil {
		t.Errorf("an agent that was there before: %v", err)
	}
	renew := func(kind string) error {
		e := h.enrolment(t, "before")
		_, err := f.Renew(ctx, f.a, h.agent.ID, Renewal{Connection: Connection{Stream: "s", Serial: old}, CSR: e.CSR, EnvelopeSuite: e.EnvelopeSuite,
			EnvelopeKey: e.EnvelopeKey, KeyStore: kind}, f.now)
		return err
	}
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	enrol := func(e Enrolment, kind string) error {
		e.KeyStore = kind
		_, _, _, err := f.Enrol(ctx, secret, e, f.now)
		return err
	}
	registered := h.key
	again := func() Enrolment {
		h.key = registered
		return h.again(t, secret)
	}
	for _, kind := range []string{"", "file", "vault"} {
		want(t, "a registration with "+kind, enrol(enrolment(t, "new"), kind), wire.KeyStoreRefused)
		want(t, "a return with "+kind, enrol(again(), kind), wire.KeyStoreRefused)
		want(t, "a renewal with "+kind, renew(kind), wire.KeyStoreRefused)
	}
	if a, err := f.ByID(ctx, f.a, h.agent.ID); err != nil || a.Renewing || a.CertificateSerial != old {
		t.Errorf("after refusals: %+v, %v", a, err)
	}
	if err := renew("tpm"); err != nil {
		t.Errorf("a renewal in hardware: %v", err)
	}
	if err := enrol(again(), "tpm"); err != nil { // with the token that was refused before
		t.Errorf("moving to hardware: %v", err)
	}
	if a, err := f.ByID(ctx, f.a, h.agent.ID); err != nil || a.KeyStore != "tpm" || a.CertificateSerial == old {
		t.Errorf("moved: %+v, %v", a, err)
	}
	f.enrol(t, f.b, f.dirB, "another tenant's")
	demand(tenant.KeysInFiles)
	f.enrol(t, f.a, f.dirA, "after")
}
