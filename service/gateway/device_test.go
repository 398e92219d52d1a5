package gateway_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// send posts a document.
func send(h http.Handler, path string, document any) *httptest.ResponseRecorder {
	b, _ := json.Marshal(document)
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	tenants := tenant.NewStore(w.db)
	name := fatal(tenants.TenantByID(t.Context(), w.scope.String()))(t).Name
	d := w.gateway(w.queue(""), func(c *gateway.Config) { c.Tenants, c.PublicURL = tenants, "https://login.example" })
	plain, _, _ := request(t, "", "dc1")
	ask := func(tenant string) *httptest.ResponseRecorder {
		return send(d.AskCode(), wire.DevicePath, wire.DeviceRequest{RegisterRequest: plain, Tenant: tenant})
	}
	got := ask(name)
	if got.Code != http.StatusOK || got.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	code := fatal(wire.DecodeDeviceAnswer(got.Body))(t)
	if code.VerificationURIComplete != "https://login.example/t/"+name+"/register/code/"+code.UserCode || code.Interval != 5 || code.ExpiresIn != 900 {
		t.Errorf("%+v", code)
	}
	if p := problemOf(t, ask("nobody")); p.Code != wire.TenantUnknown {
		t.Errorf("%+v", p)
	}
	poll := func() (int, wire.DeviceError) {
		got := send(d.PollCode(), wire.DevicePollPath, wire.DevicePoll{DeviceCode: code.DeviceCode})
		if got.Code == http.StatusCreated {
			return got.Code, wire.DeviceError{}
		}
		return got.Code, fatal(wire.DecodeDeviceError(got.Body))(t)
	}
	if status, said := poll(); status != http.StatusBadRequest || said.Error != wire.DevicePending || said.Code != 0 {
		t.Errorf("%d %+v", status, said)
	}
	if status, said := poll(); status != http.StatusBadRequest || said.Error != wire.DeviceSlowDown || said.Interval != 10 {
		t.Errorf("%d %+v", status, said)
	}
	known := fatal(w.fleet.CodeByUserCode(t.Context(), w.scope, code.UserCode, time.Now()))(t)
	if err := w.fleet.DenyCode(t.Context(), w.scope, known.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if status, said := poll(); status != http.StatusBadRequest || said.Error != wire.DeviceDenied || said.Code != wire.RegistrationDenied {
		t.Errorf("%d %+v", status, said)
	}
	code.DeviceCode = "sallyport-device-of-long-ago"
	if status, said := poll(); status != http.StatusBadRequest || said.Error != wire.DeviceExpired || said.Code != wire.RegistrationExpired {
		t.Errorf("%d %+v", status, said)
	}

	// Approved: the answer is that of a registration with a token.
	code = fatal(wire.DecodeDeviceAnswer(ask(name).Body))(t)
	known = fatal(w.fleet.CodeByUserCode(t.Context(), w.scope, code.UserCode, time.Now()))(t)
	a := fatal(w.fleet.ApproveCode(t.Context(), w.scope, known.ID, w.directory, fleet.Actor{User: "ada"}, time.Now()))(t)
	got = send(d.PollCode(), wire.DevicePollPath, wire.DevicePoll{DeviceCode: code.DeviceCode})
	if got.Code != http.StatusCreated {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if answer := fatal(wire.DecodeRegisterAnswer(got.Body))(t); answer.AgentID != a.ID || answer.TenantName != name || answer.Pending {
		t.Errorf("%+v", answer)
	}

	with := plain
	with.Token = "x"
	for what, bad := range map[string]any{"a token": wire.DeviceRequest{RegisterRequest: with, Tenant: name}, "nothing": struct{}{}, "a list": []int{1}} {
		if p := problemOf(t, send(d.AskCode(), wire.DevicePath, bad)); p.Code != wire.EnrolRequestInvalid {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if p := problemOf(t, send(d.PollCode(), wire.DevicePollPath, wire.DevicePoll{})); p.Code != wire.EnrolRequestInvalid {
		t.Errorf("%+v", p)
	}
	// The only tenant need not be named; of two, one must.
	if got := ask(""); (got.Code == http.StatusOK) != (len(fatal(tenants.Tenants(t.Context(), "", 2))(t)) == 1) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	fatal(tenants.CreateTenant(t.Context(), tenant.NewTenant{Name: "second", DisplayName: "Second"}, time.Now()))(t)
	if p := problemOf(t, ask("")); p.Code != wire.EnrolRequestInvalid || !strings.Contains(p.Detail, "--tenant") {
		t.Errorf("%+v", p)
	}
}
