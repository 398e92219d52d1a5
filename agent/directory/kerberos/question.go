package kerberos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// opened is the state right before the fence.
type opened struct {
	kdc   *kdc
	asked messages.ASReq
	armor *armor
	// open says that the KDC wants a proof, made as hint says and sent over link. Else verdict is its last word.
	open    bool
	hint    hint
	byUDP   bool // hint came by UDP
	link    link
	verdict wire.Verdict
}

// first asks without a proof, until a KDC has answered and a connection to it is open, or limited has ended, which is when it is time for the
// fence; ctx is the caller's. With its result comes a slot, which the caller gives back.
func (v *Validator) first(ctx, limited context.Context, who account) (_ opened, e *directory.Error) {
	select {
	case v.slots <- struct{}{}:
	case <-limited.Done():
		return opened{}, unreachable(ctx, errors.New("all slots are busy"))
	}
	kept := false
	defer func() {
		if !kept {
			<-v.slots
		}
	}()
	asked := request(who, v.config.Realm, v.service, time.Now())
	if _, err := asked.Marshal(); err != nil {
		return opened{}, &directory.Error{Code: wire.PasswordUnusable, Cause: fmt.Errorf("%w: the name cannot be written: %w", directory.ErrUnusable, err)}
	}
	kdcs := v.order(time.Now())
	if len(kdcs) == 0 {
		return opened{}, unreachable(ctx, errors.New("no KDC is found yet"))
	}
	var all []error
	var own *ownRefusal
	for _, k := range kdcs {
		f, err := v.ask(limited, k, asked)
		var told *directory.Error
		switch {
		case err == nil:
			k.heard()
			f.kdc, kept = k, true
			return f, nil
		case errors.As(err, &told):
			k.heard()
			told.DC = k.address
			return opened{}, told
		}
		all = append(all, fmt.Errorf("%s: %w", k.address, err))
		if limited.Err() != nil && ctx.Err() != nil || errors.Is(err, errWaited) {
			break // the caller gave up, not the KDC
		}
		_ = errors.As(err, &own)
		k.lost(err, time.Now())
		if limited.Err() != nil {
			break
		}
	}
	if own != nil && ctx.Err() == nil {
		return opened{}, &directory.Error{Code: own.code, Cause: errors.Join(all...)}
	}
	return opened{}, unreachable(ctx, errors.Join(all...))
}

func unreachable(ctx context.Context, err error) *directory.Error {
	if ctx.Err() != nil {
		return &directory.Error{Code: wire.AgentTooSlow, Cause: context.Cause(ctx)}
	}
	return &directory.Error{Code: wire.DirectoryUnreachable, Cause: err}
}

// order is that of the settings and of LDAP's choice, with those that rest at the end.
func (v *Validator) order(now time.Time) []*kdc {
	var ready, resting []*kdc
	for _, k := range v.all() {
		if k.resting(now) {
			resting = append(resting, k)
		} else {
			ready = append(ready, k)
		}
	}
	return append(ready, resting...)
}

// ask asks one KDC. An error that is a *directory.Error is its answer; after any other the next KDC may be asked.
func (v *Validator) ask(ctx context.Context, k *kdc, asked messages.ASReq) (opened, error) {
	f, err := v.askOnce(ctx, k, asked)
	var bare *bareReply
	if errors.As(err, &bare) {
		v.armory.suspect(ctx, f.armor) // the agent's ticket may be what is wrong: keys change, and KDCs are restored
		f, err = v.askOnce(ctx, k, asked)
	}
	return f, err
}

// askOnce asks by the way that is open. With an error that is a *bareReply comes the armour.
func (v *Validator) askOnce(ctx context.Context, k *kdc, asked messages.ASReq) (opened, error) {
	with, err := v.armor(ctx, k)
	if err != nil {
		return opened{}, err
	}
	asked.ReqBody.Nonce = nonce()
	message, err := with.write(asked, types.PADataSequence{wantPAC})
	if err != nil {
		return opened{}, err
	}
	f := opened{armor: with, asked: asked}
	if v.config.UDP && len(message) <= maxDatagram && k.takesDatagrams(time.Now()) {
		return v.askByUDP(ctx, k, f, message)
	}
	l, err := k.dial(ctx, v.config.DialTimeout)
	if err != nil {
		return opened{}, err
	}
	answered, err := v.askByTCP(ctx, k, f, l, message)
	answered.armor = with
	return answered, err
}

// armor makes the armour of one exchange, if there is to be one.
func (v *Validator) armor(ctx context.Context, k *kdc) (*armor, error) {
	if v.armory == nil {
		return nil, nil
	}
	return v.armory.armor(ctx, k, func(message []byte) ([]byte, error) {
		limited, cancel := context.WithTimeout(ctx, v.config.DialTimeout)
		defer cancel()
		l, err := k.dial(limited, v.config.DialTimeout)
		if err != nil {
			return nil, err
		}
		return l.exchange(limited, message)
	})
}

// askByUDP asks by UDP while the connection for the proof is made. A datagram is forged more easily than a connection is taken over, so all that is taken from it is
// the demand for a proof with its hint, which the answer to the proof is held against. Whatever else it says is asked again on the connection.
func (v *Validator) askByUDP(ctx context.Context, k *kdc, f opened, message []byte) (opened, error) {
	limited, cancel := context.WithTimeout(ctx, datagramFor)
	defer cancel()
	var answer []byte
	answered := make(chan error, 1)
	go func() {
		var err error
		answer, err = k.datagram(limited, message)
		answered <- err
	}()
	l, err := k.dial(ctx, v.config.DialTimeout)
	if err != nil {
		cancel()
		<-answered
		return opened{}, err
	}
	err = <-answered
	if ctx.Err() == nil { // else it had no time
		k.muted(err, time.Now())
	}
	if err == nil {
		var ok bool
		if f.hint, ok = demanded(answer); ok {
			f.open, f.byUDP, f.link = true, true, l
			return f, nil
		}
	}
	return v.askByTCP(ctx, k, f, l, message)
}

// demanded reads the hint in a demand for a proof, if that is what it is.
func demanded(answer []byte) (hint, bool) {
	r, err := parseReply(answer)
	if err != nil || r.number != preauthRequired || time.Until(r.clock).Abs() > clockSkew {
		return hint{}, false
	}
	h, err := hintOf(r.hints)
	return h, err == nil
}

// askByTCP asks on a connection, which it closes, and makes another for the proof.
func (v *Validator) askByTCP(ctx context.Context, k *kdc, f opened, l link, message []byte) (opened, error) {
	limited, cancel := context.WithTimeout(ctx, v.config.DialTimeout)
	defer cancel()
	answer, err := l.exchange(limited, message)
	if err != nil {
		return opened{}, err
	}
	r, err := f.armor.read(answer, f.asked.ReqBody.Nonce)
	if err != nil {
		return opened{}, err
	}
	if r.number == unavailable {
		return opened{}, errors.New(directory.KDCWords(r.number, r.status))
	}
	if r.number != preauthRequired && r.ticket == nil {
		verdict, ok := directory.FromKDC(r.number, r.status)
		if !ok {
			return opened{}, &directory.Error{Code: directory.KDCTroubleCode(r.number, r.status), Cause: errors.New(directory.KDCWords(r.number, r.status))}
		}
		f.verdict = unproven(verdict)
		return f, nil
	}
	// A ticket without proof, for an account that needs none, has the hint too; the proof is asked for all the same.
	if r.ticket == nil && time.Until(r.clock).Abs() > clockSkew {
		return opened{}, tooFarAhead(r.clock)
	}
	if f.hint, err = hintOf(r.hints); err != nil {
		return opened{}, &directory.Error{Code: wire.DirectoryUnusable, Cause: err}
	}
	if f.link, err = k.dial(ctx, v.config.DialTimeout); err != nil {
		return opened{}, err
	}
	f.open = true
	return f, nil
}

// demands reports whether the KDC demands a proof before it says anything of the account: what it refused a proof with was then said to the proof. By UDP somebody else may have
// demanded it.
func (v *Validator) demands(ctx context.Context, f opened) bool {
	message, err := f.armor.write(f.asked, types.PADataSequence{wantPAC})
	if err != nil {
		return false
	}
	l, err := f.kdc.dial(ctx, v.config.DialTimeout)
	if err != nil {
		return false
	}
	answer, err := l.exchange(ctx, message)
	if err != nil {
		return false
	}
	r, err := parseReply(answer)
	return err == nil && r.number == preauthRequired
}

func tooFarAhead(clock time.Time) *directory.Error {
	return &directory.Error{Code: wire.ClockSkew, Cause: fmt.Errorf("the KDC's clock is %s ahead", time.Until(clock).Round(time.Second))}
}

// unproven takes from a verdict that was given without a proof what only the password's owner may be told: a KDC that looks at the
// account first says "disabled" to everybody.
func unproven(v wire.Verdict) wire.Verdict {
	if v.Reason.ProvesPassword() {
		v.Reason = wire.AccountRestricted
	}
	v.Diagnostic += ", before any password was judged"
	return v
}
