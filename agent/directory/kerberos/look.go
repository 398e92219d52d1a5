package kerberos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/types"
)

// Look is what one KDC answers to a question that concerns nobody.
type Look struct {
	Address string
	// Err says why it cannot be used; nil if it can.
	Err error
	// Took is the time for the answer; ClockSkew how far its clock is ahead, to about a second.
	Took, ClockSkew time.Duration
	// UDPTook is the time for the answer by UDP, and UDPErr says why there is none; both zero unless [Config.UDP] wants that.
	UDPTook time.Duration
	UDPErr  error
}

// Look asks every KDC once, without a proof, about the KDC's own account. It counts nowhere. Whether the keytab's key is still the right one
// shows only with a password, or with armour, where a wrong one counts for the agent's own account.
func (v *Validator) Look(ctx context.Context) []Look {
	kdcs := v.all()
	all := make([]Look, len(kdcs))
	var wg sync.WaitGroup
	for i, k := range kdcs {
		wg.Go(func() { all[i] = v.look(ctx, k) })
	}
	wg.Wait()
	return all
}

func (v *Validator) look(ctx context.Context, k *kdc) Look {
	l := Look{Address: k.address}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	began := time.Now()
	asked := request(account{"krbtgt", v.config.Realm}, v.config.Realm, v.service, began)
	with, err := v.armor(ctx, k)
	if err != nil {
		l.Err = err
		return l
	}
	message, err := with.write(asked, types.PADataSequence{wantPAC})
	if err != nil {
		l.Err = err
		return l
	}
	if v.config.UDP && len(message) <= maxDatagram {
		began = time.Now()
		quick, cancel := context.WithTimeout(ctx, datagramFor)
		var answer []byte
		if answer, l.UDPErr = k.datagram(quick, message); l.UDPErr == nil {
			_, l.UDPErr = with.read(answer, asked.ReqBody.Nonce)
		}
		cancel()
		l.UDPTook = time.Since(began)
	}
	began = time.Now()
	c, err := k.dial(ctx, lookFor)
	if err != nil {
		l.Err = err
		return l
	}
	answer, err := c.exchange(ctx, message)
	if err != nil {
		l.Err = err
		return l
	}
	r, err := with.read(answer, asked.ReqBody.Nonce)
	l.Took = time.Since(began)
	switch {
	case err != nil:
		l.Err = err
	case r.number == wrongRealm || r.number == clientUnknown: // every realm has the account that was asked about
		l.Err = fmt.Errorf("it does not serve the realm %s", v.config.Realm)
	}
	if r.ticket == nil && err == nil {
		l.ClockSkew = time.Until(r.clock)
	}
	return l
}
