package gateway

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// renew answers an agent that asks for its next certificate. Who asks is proven by the stream; nothing changes for checks until the agent
// comes with the new certificate.
func (g *Gateway) renew(ctx context.Context, a *attached, m *linkpb.Renew) {
	ctx, cancel := context.WithTimeout(ctx, registerWithin)
	defer cancel()
	answer := &linkpb.Renewed{Id: clip(m.GetId(), maxWords)}
	chain, err := g.certify(ctx, a, m)
	code := fault.CodeOf(err)
	g.metrics.renewals.WithLabelValues(code.String()).Inc()
	if err != nil {
		g.log.Warn("renewal refused", "tenant", a.scope.String(), "agent", a.id, "code", int(code), "err", err)
		entry := fault.Entry(err)
		answer.Code, answer.Text = uint32(code), entry.Meaning+" "+entry.Remedy
	} else {
		g.log.Info("agent's next certificate signed", "tenant", a.scope.String(), "agent", a.id)
		answer.Chain = chain
	}
	a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Renewed{Renewed: answer}})
}

func (g *Gateway) certify(ctx context.Context, a *attached, m *linkpb.Renew) ([][]byte, error) {
	if len(m.GetCsr()) > wire.MaxRegisterCSR {
		return nil, fault.New(wire.EnrolRequestInvalid, "the certificate request is too long")
	}
	csr, err := x509.ParseCertificateRequest(m.GetCsr())
	if err != nil {
		return nil, fault.Wrap(wire.EnrolRequestInvalid, "the certificate request", err)
	}
	if s := m.GetEnvelopeSuite(); s == 0 || s > 0xffff {
		return nil, fault.New(wire.EnrolRequestInvalid, fmt.Sprintf("envelope suite %d", s))
	}
	certificate, err := g.fleet.Renew(ctx, a.scope, a.id, fleet.Renewal{Connection: a.stream, CSR: csr,
		EnvelopeSuite: envelope.Suite(m.GetEnvelopeSuite()), EnvelopeKey: m.GetEnvelopeKey(), KeyStore: m.GetKeyStore()}, time.Now())
	if err != nil {
		return nil, err
	}
	return certificate.Chain, nil
}
