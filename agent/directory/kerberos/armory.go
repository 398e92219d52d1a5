package kerberos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

// armory has the agent's own ticket-granting ticket, under which exchanges are armoured, and gets a new one in time. Safe for concurrent use.
type armory struct {
	account string
	realm   string
	keytab  *Keytab

	turn    chan struct{} // holds one token: who has it may look at what follows, and ask a KDC
	own     *ownTicket
	refused error // why there is none, until then
	until   time.Time
}

// ownTicket is for the agent's own account.
type ownTicket struct {
	ticket  messages.Ticket
	session types.EncryptionKey
	until   time.Time // when it is time for the next
}

func newArmory(account string, k *Keytab) *armory {
	a := &armory{account: account, realm: k.realm, keytab: k, turn: make(chan struct{}, 1)}
	a.turn <- struct{}{}
	return a
}

// errOwnAccount is in the error when a KDC refuses the agent's own account; errWrongKey when that is because of the key.
var (
	errOwnAccount = errors.New("no armour")
	errWrongKey   = fmt.Errorf("%w: the key in the keytab is not that of the account: export it anew", errOwnAccount)
)

// armor makes one for an exchange, and gets a ticket first if there is none; exchange asks a KDC. A wrong key, [errWrongKey], stands for a while, since it
// counts as a wrong password of the agent's account.
func (a *armory) armor(ctx context.Context, exchange func([]byte) ([]byte, error)) (*armor, error) {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { a.turn <- struct{}{} }()
	now := time.Now()
	if a.own == nil || now.After(a.own.until) {
		if now.Before(a.until) {
			return nil, a.refused
		}
		own, err := a.fetch(now, exchange)
		if errors.Is(err, errWrongKey) {
			a.refused, a.until = err, now.Add(refusedFor)
		}
		if err != nil {
			return nil, err
		}
		a.own = own
	}
	return a.own.armor(types.PrincipalName{NameType: nametype.KRB_NT_PRINCIPAL, NameString: []string{a.account}}, a.realm, now)
}

// forget makes the next armour come from a new ticket: a KDC did not take this one.
func (a *armory) forget() {
	<-a.turn
	a.own = nil
	a.turn <- struct{}{}
}

// fetch gets a ticket-granting ticket by one AS exchange. The key need not be asked for: it lies in the keytab.
func (a *armory) fetch(now time.Time, exchange func([]byte) ([]byte, error)) (*ownTicket, error) {
	key, err := a.keytab.key(kinds...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOwnAccount, err)
	}
	asked := requestBy(types.PrincipalName{NameType: nametype.KRB_NT_PRINCIPAL, NameString: []string{a.account}}, a.realm, krbtgt(a.realm), now.Add(armorLife))
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
		return nil, fmt.Errorf("%w (%s@%s)", errWrongKey, a.account, a.realm)
	case r.ticket == nil && time.Until(r.clock).Abs() > clockSkew:
		return nil, tooFarAhead(r.clock)
	case r.ticket == nil:
		return nil, fmt.Errorf("%w: the KDC refuses %s@%s: %s", errOwnAccount, a.account, a.realm, directory.KDCWords(r.number, r.status))
	}
	if key, err = a.keytab.key(r.ticket.EncPart.EType); err != nil {
		return nil, fmt.Errorf("%w: %w", errOwnAccount, err)
	}
	part, err := replyPart(r.ticket, key, asked, now)
	if err != nil {
		return nil, err
	}
	if !offered(part.Key.KeyType) || r.ticket.Ticket.Realm != a.realm {
		return nil, fmt.Errorf("%w: its ticket for %s is not the one that was asked for", errNotGenuine, a.account)
	}
	return &ownTicket{r.ticket.Ticket, part.Key, now.Add(max(part.EndTime.Sub(part.AuthTime), 0) / 2)}, nil
}

// armor makes the key of one exchange, and the request that tells it to a KDC (RFC 6113 §5.4.1.1).
func (o *ownTicket) armor(account types.PrincipalName, realm string, now time.Time) (*armor, error) {
	e, err := crypto.GetEtype(o.session.KeyType)
	if err != nil {
		return nil, err
	}
	subkey, err := types.GenerateEncryptionKey(e)
	if err != nil {
		return nil, err
	}
	now = now.UTC()
	plain, err := (&types.Authenticator{AVNO: iana.PVNO, CRealm: realm, CName: account, Cusec: now.Nanosecond() / 1000, CTime: now, SubKey: subkey}).Marshal()
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
	return &armor{request: request, key: key}, err
}
