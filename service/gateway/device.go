package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// AskCode returns the handler of [wire.DevicePath]: an agent without a token asks for a code that an administrator approves (RFC 8628
// §3.1). It belongs on the public listener, beside [Gateway.Register].
func (g *Gateway) AskCode() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := g.askCode(w, r)
		if err != nil {
			g.log.Warn("no code given", "address", web.ClientAddress(r), "code", int(fault.CodeOf(err)), "trace", web.TraceID(r.Context()), "err", err)
			web.Problem(w, r, err)
			return
		}
		g.log.Info("a registration waits for an administrator", "user_code", answer.UserCode, "address", web.ClientAddress(r), "trace", web.TraceID(r.Context()))
		writeJSON(w, http.StatusOK, answer)
	})
}

func (g *Gateway) askCode(w http.ResponseWriter, r *http.Request) (wire.DeviceAnswer, error) {
	now := time.Now()
	if !g.callers.allow(web.ClientAddress(r), now) {
		return wire.DeviceAnswer{}, fault.New(wire.TooManyRequests, "registrations from this address")
	}
	if err := isJSON(r); err != nil {
		return wire.DeviceAnswer{}, err
	}
	request, err := wire.DecodeDeviceRequest(http.MaxBytesReader(w, r.Body, wire.MaxRegisterRequest+1))
	if err != nil {
		return wire.DeviceAnswer{}, invalid(err)
	}
	csr, err := parseCSR(request.CSR)
	if err != nil {
		return wire.DeviceAnswer{}, invalid(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), registerWithin)
	defer cancel()
	t, err := g.tenantOf(ctx, request.Tenant)
	if err != nil {
		return wire.DeviceAnswer{}, err
	}
	c, err := g.fleet.AskCode(ctx, t.Scope(), fleet.Enrolment{Name: request.Name, Host: request.Host, OS: request.OS, Version: request.Version, Instance: request.Instance,
		Address: web.ClientAddress(r), Network: web.Network(web.ClientAddress(r)).String(), CSR: csr, EnvelopeSuite: envelope.Suite(request.EnvelopeSuite), EnvelopeKey: request.EnvelopeKey,
		KeyStore: request.KeyStore}, request.Directory, now)
	if err != nil {
		return wire.DeviceAnswer{}, err
	}
	page := g.pages + "/t/" + t.Name + "/register"
	return wire.DeviceAnswer{DeviceCode: c.Secret, UserCode: c.UserCode, VerificationURI: page, VerificationURIComplete: page + "/code/" + c.UserCode,
		ExpiresIn: int(c.Expires.Sub(now).Round(time.Second).Seconds()), Interval: int(c.Interval.Seconds())}, nil
}

// tenantOf finds the tenant that an agent names, or the only one there is.
func (g *Gateway) tenantOf(ctx context.Context, name string) (tenant.Tenant, error) {
	if g.tenants == nil {
		return tenant.Tenant{}, fault.New(wire.TenantUnknown, "this process knows no tenants")
	}
	if name == "" {
		all, err := g.tenants.Tenants(ctx, "", 2)
		if err != nil {
			return tenant.Tenant{}, err
		}
		if len(all) != 1 {
			return tenant.Tenant{}, fault.New(wire.EnrolRequestInvalid, "this service has more than one tenant: name yours with --tenant")
		}
		return all[0], nil
	}
	t, err := g.tenants.TenantByName(ctx, name)
	if fault.Has(err, wire.NotFound) || fault.Has(err, wire.BadRequest) {
		return tenant.Tenant{}, fault.Wrap(wire.TenantUnknown, fmt.Sprintf("no tenant %q", name), err)
	}
	return t, err
}

// PollCode returns the handler of [wire.DevicePollPath]: what became of a code (RFC 8628 §3.4, §3.5). It answers 201 with a
// [wire.RegisterAnswer], 400 with a [wire.DeviceError], or with a problem document.
func (g *Gateway) PollCode() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, refused, err := g.pollCode(w, r)
		switch {
		case err != nil:
			g.log.Warn("poll refused", "address", web.ClientAddress(r), "code", int(fault.CodeOf(err)), "trace", web.TraceID(r.Context()), "err", err)
			web.Problem(w, r, err)
		case refused.Error != "":
			refused.Trace = web.TraceID(r.Context())
			writeJSON(w, http.StatusBadRequest, refused)
		default:
			g.metrics.registrations.WithLabelValues("0").Inc()
			g.log.Info("agent fetched its certificate", "tenant", answer.TenantID, "agent", answer.AgentID, "name", answer.AgentName, "pending", answer.Pending,
				"directory", answer.DirectoryID, "address", web.ClientAddress(r), "trace", web.TraceID(r.Context()))
			writeJSON(w, http.StatusCreated, answer)
		}
	})
}

func (g *Gateway) pollCode(w http.ResponseWriter, r *http.Request) (wire.RegisterAnswer, wire.DeviceError, error) {
	now := time.Now()
	if !g.pollers.allow(web.ClientAddress(r), now) {
		return wire.RegisterAnswer{}, wire.DeviceError{}, fault.New(wire.TooManyRequests, "polls from this address")
	}
	if err := isJSON(r); err != nil {
		return wire.RegisterAnswer{}, wire.DeviceError{}, err
	}
	poll, err := wire.DecodeDevicePoll(http.MaxBytesReader(w, r.Body, wire.MaxDevicePoll+1))
	if err != nil {
		return wire.RegisterAnswer{}, wire.DeviceError{}, invalid(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), registerWithin)
	defer cancel()
	p, err := g.fleet.PollCode(ctx, poll.DeviceCode, now)
	if err != nil {
		return wire.RegisterAnswer{}, wire.DeviceError{}, err
	}
	refused := wire.DeviceError{Error: p.Error}
	switch p.Error {
	case wire.DeviceSlowDown:
		refused.Interval = int(p.Interval.Seconds())
	case wire.DeviceDenied:
		refused.Code = wire.RegistrationDenied
	case wire.DeviceExpired:
		refused.Code = wire.RegistrationExpired
	case "":
		return g.admitted(ctx, p.Scope, p.Agent, p.Chain, p.NotAfter), refused, nil
	}
	return wire.RegisterAnswer{}, refused, nil
}

// writeJSON answers with a document that nobody keeps.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone: nobody to tell
}
