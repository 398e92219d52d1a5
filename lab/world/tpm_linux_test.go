package world

import (
	"net/http"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/hardware/hardwaretest"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestSignInsThroughATPM has passwords opened, right and wrong ones, by an agent with its keys in a TPM; before it has renewed them there, as
// the tenant demands, and after.
func TestSignInsThroughATPM(t *testing.T) {
	w := start(t, Options{Agents: 1, People: crowd("t", 4), TPM: hardwaretest.Start(t).Device})
	fleet := admin.Path("tenants", tenantName, "agents")
	shown := func() admin.Agent {
		t.Helper()
		agents, err := admin.All[admin.Agent](t.Context(), w.API, fleet)
		noError(t, err)
		if len(agents) != 1 || agents[0].KeyStore != wire.KeyStoreTPM || agents[0].KeyStoreRefused {
			t.Fatalf("%+v", agents)
		}
		return agents[0]
	}
	noError(t, w.API.Do(t.Context(), http.MethodPut, admin.Path("tenants", tenantName, "agent-keys"), admin.AgentKeys{Require: "hardware"}, nil))
	before := shown()
	in(t, w, upn("t", 0))
	saw, err := w.SignIn(t.Context(), upn("t", 1), people.RightPassword+"x")
	wantCode(t, upn("t", 1), saw, err, wire.InvalidPassword)
	wantBinds(t, w, upn("t", 1), 1, 1)

	noError(t, w.API.Do(t.Context(), http.MethodPost, admin.Path("tenants", tenantName, "agents", "renew"), admin.RenewInput{}, nil))
	awaitFor(t, "the renewal", time.Minute, func() bool { return w.Agents[0].Logged("certificate renewed") > 0 })
	if after := shown(); after.KeyID == before.KeyID || after.CertificateSerial == before.CertificateSerial {
		t.Errorf("after the renewal: %+v", after)
	}
	in(t, w, upn("t", 2))
}
