package gateway

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
)

// Register returns the handler of [wire.RegisterPath]: a token, a CSR and an envelope key in, a certificate out. It belongs on
// the public listener: it is what a new agent can reach before it has a certificate.
func (g *Gateway) Register() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		answer, err := g.register(w, r)
		code := fault.CodeOf(err)
		g.metrics.registrations.WithLabelValues(code.String()).Inc()
		if err != nil {
			g.log.Warn("registration refused", "address", hostOf(r.RemoteAddr), "code", int(code), "err", err)
			problem(w, r, err)
			return
		}
		g.log.Info("agent registered", "tenant", answer.TenantID, "agent", answer.AgentID, "name", answer.AgentName,
			"directory", answer.DirectoryID, "address", hostOf(r.RemoteAddr))
		respond(w, "application/json", http.StatusCreated, answer)
	})
}

// The refusals of the request's outside, each with its own HTTP status.
var (
	errMethod = fault.New(wire.EnrolRequestInvalid, "registration is a POST")
	errMedia  = fault.New(wire.EnrolRequestInvalid, "registration is application/json")
)

func (g *Gateway) register(w http.ResponseWriter, r *http.Request) (wire.RegisterAnswer, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return wire.RegisterAnswer{}, errMethod
	}
	now := time.Now()
	if !g.callers.allow(hostOf(r.RemoteAddr), now) {
		w.Header().Set("Retry-After", fmt.Sprint(int(registerEvery/time.Second)))
		return wire.RegisterAnswer{}, fault.New(wire.TooManyRequests, "registrations from this address")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return wire.RegisterAnswer{}, errMedia
	}
	request, err := wire.DecodeRegisterRequest(http.MaxBytesReader(w, r.Body, wire.MaxRegisterRequest+1))
	if err != nil {
		return wire.RegisterAnswer{}, fault.Wrap(wire.EnrolRequestInvalid, "", err)
	}
	csr, err := parseCSR(request.CSR)
	if err != nil {
		return wire.RegisterAnswer{}, fault.Wrap(wire.EnrolRequestInvalid, "", err)
	}
	suite := envelope.Suite(request.EnvelopeSuite)
	if _, err := envelope.ParsePublicKey(suite, request.EnvelopeKey); err != nil {
		return wire.RegisterAnswer{}, fault.Wrap(wire.EnrolRequestInvalid, "", fmt.Errorf("%w: envelope key: %w", wire.ErrRegister, err))
	}
	ctx, cancel := context.WithTimeout(r.Context(), registerWithin)
	defer cancel()
	scope, agent, certificate, err := g.fleet.Enrol(ctx, request.Token, fleet.Enrolment{
		Name: request.Name, Host: request.Host, OS: request.OS, Version: request.Version, Address: hostOf(r.RemoteAddr),
		CSR: csr, EnvelopeSuite: suite, EnvelopeKey: request.EnvelopeKey,
	}, now)
	if err != nil {
		return wire.RegisterAnswer{}, err
	}
	answer := wire.RegisterAnswer{
		TenantID: scope.String(), DirectoryID: agent.DirectoryID, AgentID: agent.ID, AgentName: agent.Name,
		Certificate: string(certificate.PEM()), Gateway: g.public, GatewayCA: string(g.serverCA),
		TrustDomain: g.ca.TrustDomain(), Expires: certificate.NotAfter,
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
	return answer, nil
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

// problem answers with an RFC 9457 document. What is wrong with the request is told, what is wrong with us is not.
func problem(w http.ResponseWriter, r *http.Request, err error) {
	entry := fault.Entry(err)
	p := wire.Problem{Title: entry.Public, Status: http.StatusInternalServerError, Instance: r.URL.Path, Code: entry.Code, Remedy: entry.Remedy}
	var f *fault.Error
	if errors.As(err, &f) && f.Code == wire.EnrolRequestInvalid {
		p.Detail = f.Detail
		if f.Cause != nil {
			p.Detail = f.Cause.Error()
		}
	}
	switch {
	case f == errMethod:
		p.Status = http.StatusMethodNotAllowed
	case f == errMedia:
		p.Status = http.StatusUnsupportedMediaType
	case entry.Code == wire.EnrolRequestInvalid, entry.Code == wire.BadRequest:
		p.Status = http.StatusBadRequest
	case entry.Code == wire.EnrolTokenInvalid:
		p.Status = http.StatusForbidden
	case entry.Code == wire.TooManyRequests:
		p.Status = http.StatusTooManyRequests
	case entry.Code == wire.Conflict:
		p.Status = http.StatusConflict
	}
	respond(w, wire.ProblemType, p.Status, p)
}

// respond writes a document. A caller that has gone is nobody to tell.
func respond(w http.ResponseWriter, media string, status int, document any) {
	b, err := json.Marshal(document)
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// addresses limits registrations by address, in bounded memory: when the younger generation is full the older is forgotten,
// which at worst gives a rarely seen address its burst again.
type addresses struct {
	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newAddresses() *addresses { return &addresses{young: map[string]*rate.Limiter{}} }

func (a *addresses) allow(address string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.young[address]
	if l == nil {
		if l = a.old[address]; l == nil {
			l = rate.NewLimiter(rate.Every(registerEvery), registerBurst)
		}
		if len(a.young) >= maxAddresses {
			a.old, a.young = a.young, map[string]*rate.Limiter{}
		}
		a.young[address] = l
	}
	return l.AllowN(now, 1)
}
