package kerberos

import (
	"crypto/subtle"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Numbers of KRB-ERROR that steer the exchange (RFC 4120 §7.5.9).
const (
	clientUnknown   = 6
	preauthFailed   = 24
	preauthRequired = 25
	unavailable     = 29
	wrongRealm      = 68
)

// reply is what a KDC said: a refusal, or a ticket.
type reply struct {
	// number of the refusal, 0 for a ticket; status is the NTSTATUS with it, if any.
	number int
	status uint32
	// clock is the KDC's time, in refusals alone.
	clock time.Time
	// hints tell how to make the key.
	hints []typed
	// ticket is set when number is 0.
	ticket *messages.ASRep
	// strengthen is a key that goes into that of the ticket's reply, if KeyType is not 0; only armour brings one (RFC 6113 §5.4.3).
	strengthen types.EncryptionKey
}

// parseReply reads a KDC's answer to an AS-REQ.
func parseReply(b []byte) (r reply, err error) {
	// The library's parsers are not made for liars: what makes one of them panic is no answer.
	defer func() {
		if recover() != nil {
			r, err = reply{}, errors.New("the KDC's answer cannot be read")
		}
	}()
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(b, &outer); err != nil || len(rest) > 0 || outer.Class != asn1.ClassApplication {
		return reply{}, errors.New("the KDC's answer is no Kerberos message")
	}
	switch outer.Tag {
	case asnAppTag.KRBError:
		var e messages.KRBError
		if err := e.Unmarshal(b); err != nil {
			return reply{}, errors.New("the KDC's error cannot be read")
		}
		if e.ErrorCode <= 0 || len(e.EData) > maxEData {
			return reply{}, fmt.Errorf("the KDC's error %d has no meaning", e.ErrorCode)
		}
		return reply{number: int(e.ErrorCode), status: statusOf(e.EData), clock: e.STime, hints: hintsIn(e.EData)}, nil
	case asnAppTag.ASREP:
		rep := new(messages.ASRep)
		if err := rep.Unmarshal(b); err != nil {
			return reply{}, errors.New("the KDC's ticket cannot be read")
		}
		if len(rep.PAData) > maxHints {
			return reply{}, errors.New("the KDC's ticket has too many elements")
		}
		return reply{ticket: rep, hints: typedOf(rep.PAData)}, nil
	}
	return reply{}, errors.New("the KDC answered with another kind of message")
}

// errNotGenuine is in every refusal of a ticket that does not prove what it should.
var errNotGenuine = errors.New("the KDC said yes and has not proven that it may")

// verify holds a ticket against everything that was asked, and returns whom it was given to; zero without a keytab. keytab is nil where nobody wants the KDC proven; then only the password's
// key is (and whoever chose the password has that).
func verify(rep *messages.ASRep, asked messages.ASReq, a account, key types.EncryptionKey, keytab *Keytab, now time.Time) (of owner, err error) {
	defer func() {
		if p := recover(); p != nil { // see parseReply; also in the PAC
			of, err = owner{}, fmt.Errorf("%w: its ticket cannot be read", errNotGenuine)
		}
	}()
	fail := func(why string) (owner, error) { return owner{}, fmt.Errorf("%w: %s", errNotGenuine, why) }
	part, err := replyPart(rep, key, asked, now)
	if err != nil || keytab == nil {
		return owner{}, err
	}
	realm := asked.ReqBody.Realm
	ticket := rep.Ticket
	if ticket.Realm != realm {
		return fail("its ticket is of another realm")
	}
	service, _, err := keytab.keys.GetEncryptionKey(keytab.service, ticket.Realm, ticket.EncPart.KVNO, ticket.EncPart.EType)
	if err != nil {
		return owner{}, fmt.Errorf("the keytab has no key of number %d and kind %d for %s; export it anew: %w", ticket.EncPart.KVNO, ticket.EncPart.EType, keytab.Service(), errNotGenuine)
	}
	plain, err := open(ticket.EncPart, service, keyusage.KDC_REP_TICKET)
	if err != nil {
		return fail("its ticket is not sealed with the key of " + keytab.Service())
	}
	if err := ticket.DecryptedEncPart.Unmarshal(plain); err != nil {
		return fail("its ticket cannot be read")
	}
	inner := ticket.DecryptedEncPart
	switch {
	// A ticket seen elsewhere can be shown again; what is in it cannot be known.
	case inner.Key.KeyType != part.Key.KeyType || subtle.ConstantTimeCompare(inner.Key.KeyValue, part.Key.KeyValue) != 1:
		return fail("its ticket was made for somebody else")
	case inner.CRealm != realm || rep.CRealm != inner.CRealm || !rep.CName.Equal(inner.CName) || len(inner.CName.NameString) != 1:
		return fail("its ticket and its answer name different people")
	case inner.AuthTime.Sub(now).Abs() > clockSkew:
		return fail("its ticket is of another time")
	}
	o := owner{user: inner.CName.NameString[0], realm: inner.CRealm}
	present, pac, err := ticket.GetPACType(keytab.keys, &keytab.service, log.New(io.Discard, "", 0))
	if err != nil {
		return fail("the description of the person in its ticket is not in order")
	}
	if present {
		o.short = pac.KerbValidationInfo.LogonDomainName.Value
		o.upn = upnOf(pac)
	}
	if !o.owns(a) {
		return fail("its ticket is for another person than was asked about")
	}
	return o, nil
}

// replyPart opens what a KDC's yes says to whoever asked, and holds it against the question.
func replyPart(rep *messages.ASRep, key types.EncryptionKey, asked messages.ASReq, now time.Time) (part messages.EncKDCRepPart, err error) {
	fail := func(why string) (messages.EncKDCRepPart, error) {
		return messages.EncKDCRepPart{}, fmt.Errorf("%w: %s", errNotGenuine, why)
	}
	plain, err := open(rep.EncPart, key, keyusage.AS_REP_ENCPART)
	if err != nil {
		return fail("its answer is not sealed with the password's key")
	}
	if err := part.Unmarshal(plain); err != nil {
		return fail("its answer cannot be read")
	}
	switch realm := asked.ReqBody.Realm; {
	case part.Nonce != asked.ReqBody.Nonce:
		return fail("its answer is to another question")
	case rep.CRealm != realm || part.SRealm != realm:
		return fail("its answer is about another realm")
	case part.AuthTime.Sub(now).Abs() > clockSkew:
		return fail("its answer is of another time")
	}
	return part, nil
}

// open decrypts and checks. The library slices before it looks at the length.
func open(sealed types.EncryptedData, key types.EncryptionKey, usage uint32) ([]byte, error) {
	e, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	if sealed.EType != key.KeyType || !isAES(key.KeyType) || len(sealed.Cipher) <= e.GetConfounderByteSize()+e.GetHMACBitLength()/8 {
		return nil, errors.New("sealed in another way")
	}
	return e.DecryptMessage(key.KeyValue, sealed.Cipher, usage)
}
