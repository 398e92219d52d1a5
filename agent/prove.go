package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// proven asks a directory only once the service has accepted which domain it is: an agent whose settings name the domain controllers of
// another domain spends nobody's attempt there. It is the link's prover and the answerer's validator.
//
//	Prove ──▶ "DC=corp,DC=example (…)" ──▶ service ──accepted──▶ open: Validate asks the directory
//	                                          └──another domain: the service ends the stream and says why
type proven struct {
	inner  directory.Validator
	prover directory.Prover
	log    *slog.Logger
	again  func() // asks for a proof now

	mu     sync.Mutex
	open   bool
	opened chan struct{} // closed when open becomes true
	reason string        // why it is not
}

func newProven(v directory.Validator, p directory.Prover, log *slog.Logger) *proven {
	return &proven{inner: v, prover: p, log: log, opened: make(chan struct{}), reason: "no domain controller was asked yet"}
}

// Validate asks the directory when it is proven, and waits a moment if it is not: a domain controller may just have come back.
func (p *proven) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	if err := p.await(ctx); err != nil {
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnreachable, Cause: err}
	}
	return p.inner.Validate(ctx, c)
}

// Find looks a name up when the directory is proven, as Validate asks: nobody else's directory tells who has a name.
func (p *proven) Find(ctx context.Context, attribute, name string) (*directory.Account, *directory.Error) {
	finder, ok := p.inner.(directory.Finder)
	if !ok {
		return nil, cannotFind()
	}
	if err := p.await(ctx); err != nil {
		return nil, &directory.Error{Code: wire.DirectoryUnreachable, Cause: err}
	}
	return finder.Find(ctx, attribute, name)
}

// cannotFind is the answer where the validator looks nobody up.
func cannotFind() *directory.Error {
	return &directory.Error{Code: wire.NameNotLookedUp, Cause: errors.New("the agent's validator looks nobody up")}
}

func (p *proven) await(ctx context.Context) error {
	p.mu.Lock()
	open, opened := p.open, p.opened
	p.mu.Unlock()
	if open {
		return nil
	}
	p.again()
	timer := time.NewTimer(provenWithin)
	defer timer.Stop()
	select {
	case <-opened:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("the directory is not proven to the service: %s", p.reason)
}

// Prove is for the link.
func (p *proven) Prove(ctx context.Context) *linkpb.Proof {
	d, err := p.prover.Prove(ctx)
	if err != nil {
		p.because(err.Error())
		code := wire.DirectoryUnreachable
		if e := (*directory.Error)(nil); errors.As(err, &e) {
			code = e.Code
		}
		return &linkpb.Proof{Code: uint32(code), Detail: directory.Shown(err.Error())}
	}
	return &linkpb.Proof{NamingContext: d.NamingContext, Forest: d.Forest, DomainGuid: d.GUID, DomainSid: d.SID, Dc: d.DC}
}

// Proven is for the link. A refusal closes nothing: the service ends the stream of an agent that it does not believe, and one that merely
// could not look will be asked again.
func (p *proven) Proven(a *linkpb.Proven) {
	if a != nil && !a.GetAccepted() {
		return
	}
	d := directory.Domain{}
	if a != nil {
		d = directory.Domain{NamingContext: a.GetNamingContext(), Forest: a.GetForest(), GUID: a.GetDomainGuid(), SID: a.GetDomainSid()}
		p.prover.Expect(d)
	}
	p.mu.Lock()
	first := !p.open
	if first {
		p.open, p.reason = true, ""
		close(p.opened)
	}
	p.mu.Unlock()
	if first && a != nil {
		p.log.Info("the directory is proven to the service", "domain", d.String())
	}
}

// because keeps why the directory is not proven, and says so once.
func (p *proven) because(reason string) {
	p.mu.Lock()
	fresh := !p.open && p.reason != reason
	p.reason = reason
	p.mu.Unlock()
	if fresh {
		p.log.Warn("no domain controller says which domain it is; until one does, no password is checked", "err", reason)
	}
}
