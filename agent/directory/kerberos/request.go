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

// request is an AS-REQ without proof: for a short ticket for the service, to be given to the account.
func request(a account, realm string, service types.PrincipalName, now time.Time) messages.ASReq {
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	options := types.NewKrbFlags()
	types.SetFlag(&options, flags.Canonicalize)
	return messages.ASReq{KDCReqFields: messages.KDCReqFields{
		PVNO: iana.PVNO, MsgType: msgtype.KRB_AS_REQ, PAData: types.PADataSequence{wantPAC},
		ReqBody: messages.KDCReqBody{
			KDCOptions: options, Realm: realm, SName: service, EType: kinds, Till: now.UTC().Add(ticketLife).Truncate(time.Second),
			CName: types.PrincipalName{NameType: nametype.KRB_NT_ENTERPRISE, NameString: []string{a.enterprise()}},
			Nonce: int(binary.BigEndian.Uint32(nonce[:]) >> 1), // some KDCs take it for a signed number
		},
	}}
}

// prove adds the one proof: the time, under the password's key.
func prove(r messages.ASReq, key types.EncryptionKey, now time.Time) ([]byte, error) {
	now = now.UTC()
	plain, err := asn1.Marshal(types.PAEncTSEnc{PATimestamp: now, PAUSec: now.Nanosecond() / 1000})
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(plain, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, 0)
	if err != nil {
		return nil, err
	}
	value, err := sealed.Marshal()
	if err != nil {
		return nil, err
	}
	r.PAData = types.PADataSequence{{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value}, wantPAC}
	return r.Marshal()
}
