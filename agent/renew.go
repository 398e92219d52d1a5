package agent

import (
	"context"
	crand "crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// passports shows the keeper's identity to the link.
type passports struct{ a *Agent }

func (p passports) Gateway() string              { return p.a.keeper.Current().Gateway() }
func (p passports) GatewayRoots() *x509.CertPool { return p.a.keeper.Current().GatewayRoots() }

func (p passports) Passport() link.Passport {
	id, counter, err := p.a.keeper.Show()
	if err != nil {
		p.a.log.Warn("the state folder cannot be written", "err", err)
	}
	return link.Passport{Certificate: id.TLSCertificate(), EnvelopeKeyID: id.EnvelopeKey().Public().ID(), Counter: counter}
}

func (p passports) Welcomed(shown link.Passport) {
	renewed, err := p.a.keeper.Confirmed(serialOf(shown), time.Now())
	if err != nil {
		p.a.log.Warn("the renewed certificate is in use, and could not be put into its place on the disk", "err", err)
	}
	if renewed {
		p.a.log.Info("certificate renewed", "until", p.a.keeper.Current().NotAfter())
		select {
		case p.a.confirmed <- struct{}{}:
		default:
		}
	}
}

func (p passports) Refused(shown link.Passport, code wire.Code) bool {
	return refusesCertificate(code) && p.a.keeper.Rejected(serialOf(shown))
}

// refusesCertificate reports whether a refusal is of the certificate, so that another one may fare better, or of the agent.
func refusesCertificate(code wire.Code) bool {
	switch code {
	case wire.CertificateForeign, wire.CertificateSuperseded, wire.CertificateExpired, wire.EnvelopeUnreadable:
		return true
	}
	return false
}

func serialOf(p link.Passport) string { return p.Certificate.Leaf.SerialNumber.Text(16) }

// renewals renews the certificate when its time has come or the service orders it, until ctx ends.
func (a *Agent) renewals(ctx context.Context) {
	var failures int
	for {
		id := a.keeper.Current()
		at := identity.RenewAt(id.NotBefore(), id.NotAfter(), id.Serial())
		wait := time.Until(at)
		switch {
		case failures > 0:
			wait = renewPause(failures, time.Until(id.NotAfter()), rand.Float64())
		case a.keeper.Pending() != nil:
			wait = 0
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.link.Ordered():
			a.log.Info("the service orders a renewal")
		case <-a.confirmed: // by a connection that came about anyway
			timer.Stop()
			failures = 0
			continue
		case <-timer.C:
		}
		timer.Stop()
		if err := a.renew(ctx); err != nil && ctx.Err() == nil {
			failures++
			level := a.log.Warn
			if errors.Is(err, link.ErrNoRenewal) {
				level = a.log.Info // not attached, or an older service: the reminder speaks when it matters
			}
			level("the certificate was not renewed; the agent goes on with the one it has", "err", err, "until", id.NotAfter(), "failures", failures)
			continue
		}
		failures = 0
	}
}

// renew makes fresh keys, has them certified, stores them, and goes over to them.
func (a *Agent) renew(ctx context.Context) error {
	if a.keeper.Pending() == nil {
		fresh, err := a.keeper.Fresh()
		if err != nil {
			return err
		}
		public := fresh.EnvelopeKey()
		request := &linkpb.Renew{Id: crand.Text(), Csr: fresh.CSR, EnvelopeSuite: uint32(public.Suite()), EnvelopeKey: public.Bytes(), KeyStore: fresh.KeyStore()}
		answer, err := a.link.Renew(ctx, request)
		if err != nil {
			return err
		}
		if answer.GetCode() != 0 {
			return fmt.Errorf("the service refuses: %d %s", answer.GetCode(), line(answer.GetText(), maxDetail))
		}
		if err := a.keeper.Accept(fresh, answer.GetChain(), time.Now()); err != nil {
			return err
		}
	}
	a.link.Rejoin()
	limit := time.NewTimer(changeOverWithin)
	defer limit.Stop()
	select {
	case <-a.confirmed:
		return nil
	case <-limit.C:
		return errors.New("the service has not welcomed the renewed certificate yet")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewPause is the rule of trying again: sooner the less is left, spread, between a second and five minutes.
func renewPause(failures int, left time.Duration, u float64) time.Duration {
	bound := min(renewPauseMax, max(left/20, renewPauseMin), renewPauseMin<<min(failures, 12))
	return renewPauseMin + time.Duration(u*float64(bound))
}
