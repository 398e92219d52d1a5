package kerberos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// armory has the agent's own ticket-granting ticket, under which exchanges are armoured, and gets a new one in time. Safe for concurrent use.
type armory struct {
	account string
	realm   string
	keytab  *Keytab
	log     *slog.Logger

	turn     chan struct{} // holds one token: who has it may look at what follows, and ask a KDC
	own      *ownTicket    // nil before the first
	refusals map[string]refusal
}

// refusal is that a KDC, whose address is its key, did not take the keytab's key.
type refusal struct {
	err   error
	until time.Time
}

// ownTicket is for the agent's own account.
type ownTicket struct {
	ticket  messages.Ticket
	session types.EncryptionKey
	client  types.PrincipalName // as the KDC writes it
	// renew is when it is time for the next, ends when this one is of no use.
	renew, ends time.Time
}

func newArmory(account string, k *Keytab, log *slog.Logger) *armory {
	a := &armory{account: account, realm: k.realm, keytab: k, log: log, turn: make(chan struct{}, 1), refusals: map[string]refusal{}}
	a.turn <- struct{}{}
	return a
}

var (
	// errWrongKey is why a KDC refuses the agent's own account when that counts as a wrong password of it.
	errWrongKey = errors.New("the key in the keytab is not that of the account: export it anew")
	// errWaited says nothing about any KDC.
	errWaited = errors.New("others were waiting for the agent's own ticket")
)

// ownRefusal is that a KDC does not give the agent a ticket of its own; code is what becomes of a check if none does. Another KDC may be asked: nobody has proven who said so.
type ownRefusal struct {
	code  wire.Code
	cause error
}

func (o *ownRefusal) Error() string { return "no armour: " + o.cause.Error() }
func (o *ownRefusal) Unwrap() error { return o.cause }

// armor makes one for an exchange with a KDC, and first gets a ticket from it if it is time for that; exchange asks it.
func (a *armory) armor(ctx context.Context, k *kdc, exchange func([]byte) ([]byte, error)) (*armor, error) {
	began := time.Now()
	select {
	case <-a.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errWaited, context.Cause(ctx))
	}
	defer func() { a.turn <- struct{}{} }()
	now := time.Now()
	if a.own == nil || !now.Before(a.own.renew) {
		own, err := a.fetchFrom(k, began, now, exchange)
		switch {
		case err == nil:
			a.own = own
		case a.own == nil || !now.Before(a.own.ends):
			return nil, err
		default:
			a.own.renew = now.Add(renewAgain) // until then the one that there is serves
			a.log.Warn("the agent's own ticket is not renewed yet", "account", a.account, "kdc", k.address, "serves_until", a.own.ends, "err", err)
		}
	}
	return a.own.armor(a.realm, now)
}

// suspect makes it time for the next ticket: a KDC did not take armour of this one.
func (a *armory) suspect(ctx context.Context, used *armor) {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return
	}
	defer func() { a.turn <- struct{}{} }()
	if a.own == used.own {
		a.own.renew = time.Time{}
	}
}

// fetchFrom asks a KDC for a ticket, unless somebody who was ahead since began has found it dead, or the key was refused: that counts as a wrong password of the agent's
// account, so it is tried at few KDCs, and not again for a while.
func (a *armory) fetchFrom(k *kdc, began, now time.Time, exchange func([]byte) ([]byte, error)) (*ownTicket, error) {
	if err := k.lostSince(began); err != nil {
		return nil, err
	}
	maps.DeleteFunc(a.refusals, func(_ string, r refusal) bool { return !now.Before(r.until) })
	for address, r := range a.refusals {
		if address == k.address || len(a.refusals) >= maxRefusals {
			return nil, r.err
		}
	}
	own, err := a.fetch(now, exchange)
	if errors.Is(err, errWrongKey) {
		a.refusals[k.address] = refusal{err, now.Add(refusedFor)}
	}
	return own, err
}

// fetch gets a ticket-granting ticket by one AS exchange. The key need not be asked for: it lies in the keytab.
func (a *armory) fetch(now time.Time, exchange func([]byte) ([]byte, error)) (*ownTicket, error) {
	key, err := a.keytab.key(kinds...)
	if err != nil {
		return nil, err
	}
	asked := requestBy(types.PrincipalName{NameType: nametype.KRB_NT_PRINCIPAL, NameString: []string{a.account}}, a.realm, krbtgt(a.realm), now.Add(armorLife))
	asked.ReqBody.EType = a.keytab.kinds()
	proof, err := timestamp(key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, now)
	if err != nil {
		return nil, err
	}
	message, err := (*armor)(nil).write(asked, types.PADataSequence{{PADataType: paEncTimestamp, PADataValue: proof}})
	if err != nil {
		return nil, err
	}
	answer, err := exchange(message)
	if err != nil {
		return nil, err
	}
	r, err := parseReply(answer)
	switch {
	case err != nil:
		return nil, err
	case r.number == unavailable:
		return nil, errors.New(directory.KDCWords(r.number, r.status))
	case r.number == preauthFailed:
		return nil, &ownRefusal{wire.DirectoryUnusable, fmt.Errorf("%w (%s@%s)", errWrongKey, a.account, a.realm)}
	case r.ticket == nil && time.Until(r.clock).Abs() > clockSkew:
		return nil, &ownRefusal{wire.ClockSkew, tooFarAhead(r.clock).Cause}
	case r.ticket == nil:
		return nil, &ownRefusal{wire.DirectoryUnusable, fmt.Errorf("the KDC refuses %s@%s: %s", a.account, a.realm, directory.KDCWords(r.number, r.status))}
	}
	if key, err = a.keytab.key(r.ticket.EncPart.EType); err != nil {
		return nil, &ownRefusal{wire.DirectoryUnusable, err}
	}
	part, err := replyPart(r.ticket, key, asked, now)
	switch {
	case err != nil:
		return nil, err
	// The request was not protected. Were it changed to ask for a service of whoever is between, that one would know the key of all that is armoured with the ticket.
	case !part.SName.Equal(krbtgt(a.realm)) || !r.ticket.Ticket.SName.Equal(krbtgt(a.realm)) || r.ticket.Ticket.Realm != a.realm:
		return nil, fmt.Errorf("%w: the ticket for %s is no ticket-granting one", errNotGenuine, a.account)
	case !offered(part.Key.KeyType):
		return nil, fmt.Errorf("%w: its ticket for %s has a key of another kind", errNotGenuine, a.account)
	}
	life := max(part.EndTime.Sub(part.AuthTime), 0)
	return &ownTicket{r.ticket.Ticket, part.Key, r.ticket.CName, now.Add(life / 2), now.Add(life)}, nil
}

// armor makes the key of one exchange, and the request that tells it to a KDC (RFC 6113 §5.4.1.1).
func (o *ownTicket) armor(realm string, now time.Time) (*armor, error) {
	e, err := crypto.GetEtype(o.session.KeyType)
	if err != nil {
		return nil, err
	}
	subkey, err := types.GenerateEncryptionKey(e)
	if err != nil {
		return nil, err
	}
	defer clear(subkey.KeyValue)
	now = now.UTC()
	plain, err := (&types.Authenticator{AVNO: iana.PVNO, CRealm: realm, CName: o.client, Cusec: now.Nanosecond() / 1000, CTime: now, SubKey: subkey}).Marshal()
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(plain, o.session, keyusage.AP_REQ_AUTHENTICATOR, 0)
	if err != nil {
		return nil, err
	}
	request, err := (&messages.APReq{PVNO: iana.PVNO, MsgType: msgtype.KRB_AP_REQ, APOptions: types.NewKrbFlags(), Ticket: o.ticket, EncryptedAuthenticator: sealed}).Marshal()
	if err != nil {
		return nil, err
	}
	key, err := combine(subkey, o.session, "subkeyarmor", "ticketarmor")
	return &armor{own: o, request: request, key: key}, err
}
