package kerberos

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// wantPAC is KERB-PA-PAC-REQUEST with include-pac (MS-KILE 2.2.3).
var wantPAC = types.PAData{PADataType: patype.PA_PAC_REQUEST, PADataValue: []byte{0x30, 5, 0xa0, 3, 1, 1, 0xff}}

// paEncTimestamp is the type of a proof without armour.
const paEncTimestamp = 2

// krbtgt is the service of ticket-granting tickets.
func krbtgt(realm string) types.PrincipalName {
	return types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", realm}}
}

// request is an AS-REQ for a short ticket for the service, to be given to the account.
func request(a account, realm string, service types.PrincipalName, now time.Time) messages.ASReq {
	r := requestBy(types.PrincipalName{NameType: nametype.KRB_NT_ENTERPRISE, NameString: []string{a.enterprise()}}, realm, service, now.Add(ticketLife))
	types.SetFlag(&r.ReqBody.KDCOptions, flags.Canonicalize)
	return r
}

// requestBy is an AS-REQ by the name that a KDC knows.
func requestBy(client types.PrincipalName, realm string, service types.PrincipalName, till time.Time) messages.ASReq {
	return messages.ASReq{KDCReqFields: messages.KDCReqFields{
		PVNO: iana.PVNO, MsgType: msgtype.KRB_AS_REQ,
		ReqBody: messages.KDCReqBody{
			KDCOptions: types.NewKrbFlags(), Realm: realm, SName: service, EType: kinds, Till: till.UTC().Truncate(time.Second), CName: client,
			Nonce: nonce(),
		},
	}}
}

// nonce is a random number that an answer has to repeat.
func nonce() int {
	var b [4]byte
	_, _ = rand.Read(b[:])                         // never fails
	return int(binary.BigEndian.Uint32(b[:]) >> 1) // some KDCs take it for a signed number
}

// prove makes the message with the one proof: the time, under the password's key, or within armour under one of both (RFC 6113 §5.4.6).
func (a *armor) prove(asked messages.ASReq, key types.EncryptionKey, now time.Time) ([]byte, error) {
	kind, usage := int32(paEncTimestamp), uint32(keyusage.AS_REQ_PA_ENC_TIMESTAMP)
	if a != nil {
		var err error
		if key, err = combine(a.key, key, "clientchallengearmor", "challengelongterm"); err != nil {
			return nil, err
		}
		defer clear(key.KeyValue)
		kind, usage = paEncryptedChallenge, keyusage.KEY_USAGE_ENC_CHALLENGE_CLIENT
	}
	value, err := timestamp(key, usage, now)
	if err != nil {
		return nil, err
	}
	return a.write(asked, types.PADataSequence{{PADataType: kind, PADataValue: value}, wantPAC})
}

// timestamp is the time under a key (PA-ENC-TS-ENC, RFC 4120 §5.2.7.2).
func timestamp(key types.EncryptionKey, usage uint32, now time.Time) ([]byte, error) {
	now = now.UTC()
	plain, err := asn1.Marshal(types.PAEncTSEnc{PATimestamp: now, PAUSec: now.Nanosecond() / 1000})
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(plain, key, usage, 0)
	if err != nil {
		return nil, err
	}
	return sealed.Marshal()
}
