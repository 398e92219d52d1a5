package gateway

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Register returns the handler of [wire.RegisterPath]: a token, a CSR and an envelope key in, a certificate out. It belongs on
// the public listener: it is what a new agent can reach before it has a certificate.
func (g *Gateway) Register() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "registration is a POST", http.StatusMethodNotAllowed)
			return
		}
		answer, err := g.register(w, r)
		var body []byte
		if err == nil {
			body, err = json.Marshal(answer)
		}
		code, address, trace := fault.CodeOf(err), web.ClientAddress(r), web.TraceID(r.Context())
		g.metrics.registrations.WithLabelValues(code.String()).Inc()
		if err != nil {
			g.log.Warn("registration refused", "address", address, "code", int(code), "trace", trace, "err", err)
			web.Problem(w, r, err)
			return
		}
		g.log.Info("agent registered", "tenant", answer.TenantID, "agent", answer.AgentID, "name", answer.AgentName, "pending", answer.Pending,
			"directory", answer.DirectoryID, "address", address, "trace", trace)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body) // the caller has gone: nobody to tell
	})
}

// invalid is a refusal whose reason the caller is told: it speaks of what the caller sent, and never repeats the token.
func invalid(err error) error { return fault.New(wire.EnrolRequestInvalid, err.Error()) }

func (g *Gateway) register(w http.ResponseWriter, r *http.Request) (wire.RegisterAnswer, error) {
	now := time.Now()
	if !g.callers.allow(web.ClientAddress(r), now) {
		return wire.RegisterAnswer{}, fault.New(wire.TooManyRequests, "registrations from this address")
	}
	if err := isJSON(r); err != nil {
		return wire.RegisterAnswer{}, err
	}
	request, err := wire.DecodeRegisterRequest(http.MaxBytesReader(w, r.Body, wire.MaxRegisterRequest+1))
	if err != nil {
		return wire.RegisterAnswer{}, invalid(err)
	}
	csr, err := parseCSR(request.CSR)
	if err != nil {
		return wire.RegisterAnswer{}, invalid(err)
	}
	suite := envelope.Suite(request.EnvelopeSuite)
	if _, err := envelope.ParsePublicKey(suite, request.EnvelopeKey); err != nil {
		return wire.RegisterAnswer{}, invalid(fmt.Errorf("envelope key: %w", err))
	}
	former, err := parseFormer(request.Former)
	if err != nil {
		return wire.RegisterAnswer{}, invalid(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), registerWithin)
	defer cancel()
	scope, agent, certificate, err := g.fleet.Enrol(ctx, request.Token, fleet.Enrolment{
		Name: request.Name, Host: request.Host, OS: request.OS, Version: request.Version, Instance: request.Instance, Address: web.ClientAddress(r),
		CSR: csr, EnvelopeSuite: suite, EnvelopeKey: request.EnvelopeKey, KeyStore: request.KeyStore, Former: former,
	}, now)
	if err != nil {
		return wire.RegisterAnswer{}, err
	}
	return g.admitted(ctx, scope, agent, string(certificate.PEM()), certificate.NotAfter), nil
}

// admitted tells an agent who it is now.
func (g *Gateway) admitted(ctx context.Context, scope tenant.Scope, agent fleet.Agent, chain string, notAfter time.Time) wire.RegisterAnswer {
	answer := wire.RegisterAnswer{
		TenantID: scope.String(), DirectoryID: agent.DirectoryID, AgentID: agent.ID, AgentName: agent.Name,
		Certificate: chain, Gateway: g.public, GatewayCA: string(g.serverCA),
		TrustDomain: g.ca.TrustDomain(), Expires: notAfter, Pending: agent.State == fleet.Pending,
	}
	if g.tenants != nil {
		// The agent is a member by now: names that cannot be read are no reason to let the token's use be lost.
		if t, err := g.tenants.TenantByID(ctx, answer.TenantID); err == nil {
			answer.TenantName = t.Name
		}
		if d, err := g.tenants.Directory(ctx, scope, agent.DirectoryID); err == nil {
			answer.DirectoryName = d.Name
		}
	}
	return answer
}

// isJSON refuses what no agent sends.
func isJSON(r *http.Request) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return fault.New(wire.EnrolRequestInvalid, "registration is application/json")
	}
	return nil
}

// parseCSR reads one PKCS #10 request (RFC 2986) and checks that its maker holds the key.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("%w: csr is not one PEM block CERTIFICATE REQUEST", wire.ErrRegister)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: csr: %w", wire.ErrRegister, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: csr: %w", wire.ErrRegister, err)
	}
	return csr, nil
}

// parseFormer reads the proof of an agent that comes back; nil for none.
func parseFormer(f *wire.RegisterFormer) (*fleet.Former, error) {
	if f == nil {
		return nil, nil
	}
	out := &fleet.Former{Signature: f.Signature}
	for rest := []byte(f.Certificate); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: former.certificate is not PEM of certificates", wire.ErrRegister)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: former.certificate: %w", wire.ErrRegister, err)
		}
		out.Chain = append(out.Chain, cert)
	}
	return out, nil
}

// addresses limits registrations by address, in bounded memory: when the younger generation is full the older is forgotten,
// which at worst gives a rarely seen address its burst again.
type addresses struct {
	mu         sync.Mutex
	young, old map[netip.Prefix]*rate.Limiter // by network: one host has all of an IPv6 one
	every      time.Duration
	burst      int
}

func newAddresses(every time.Duration, burst int) *addresses {
	return &addresses{young: map[netip.Prefix]*rate.Limiter{}, every: every, burst: burst}
}

func (a *addresses) allow(address string, now time.Time) bool {
	network := web.Network(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.young[network]
	if l == nil {
		if l = a.old[network]; l == nil {
			l = rate.NewLimiter(rate.Every(a.every), a.burst)
		}
		if len(a.young) >= maxAddresses {
			a.old, a.young = a.young, map[netip.Prefix]*rate.Limiter{}
		}
		a.young[network] = l
	}
	return l.AllowN(now, 1)
}
