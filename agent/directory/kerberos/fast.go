package kerberos

import (
	"crypto/aes"
	"crypto/sha1"
	"crypto/subtle"
	stdasn1 "encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

// Elements of an armoured exchange (RFC 6113 §7.1).
const (
	paCookie             = 133
	paFAST               = 136
	paError              = 137
	paEncryptedChallenge = 138
)

// armor encloses one exchange with a KDC (FAST, RFC 6113 §5.4), so that whoever is on the network between reads nothing but who asks, not the proof either, and
// can change nothing in it; and nobody but a KDC can answer. nil is none: messages go as they are. It serves one exchange at a time.
type armor struct {
	own *ownTicket
	// request is an AP-REQ with the agent's own ticket, from which a KDC learns the key.
	request []byte
	key     types.EncryptionKey
	// cookie is what the KDC wants to be told again with the next message (§5.2).
	cookie []byte
}

// wipe clears the key, with which recorded messages could be read.
func (a *armor) wipe() {
	if a != nil {
		clear(a.key.KeyValue)
	}
}

// fastArmored is KrbFastArmoredReq, with KrbFastArmor within.
type fastArmored struct {
	Armor    fastArmor           `asn1:"explicit,tag:0"`
	Checksum types.Checksum      `asn1:"explicit,tag:1"`
	Sealed   types.EncryptedData `asn1:"explicit,tag:2"`
}

type fastArmor struct {
	Kind  int32  `asn1:"explicit,tag:0"`
	Value []byte `asn1:"explicit,tag:1"`
}

// armorAPRequest is FX_FAST_ARMOR_AP_REQUEST.
const armorAPRequest = 1

// fastRequest is KrbFastReq; Body is explicit(2, …).
type fastRequest struct {
	Options asn1.BitString       `asn1:"explicit,tag:0"`
	PAData  types.PADataSequence `asn1:"explicit,tag:1"`
	Body    asn1.RawValue
}

// fastResponse is KrbFastResponse, with KrbFastFinished within.
type fastResponse struct {
	PAData     types.PADataSequence `asn1:"explicit,tag:0"`
	Strengthen types.EncryptionKey  `asn1:"explicit,optional,tag:1"`
	Finished   fastFinished         `asn1:"explicit,optional,tag:2"`
	Nonce      int                  `asn1:"explicit,tag:3"`
}

type fastFinished struct {
	Time     time.Time           `asn1:"generalized,explicit,tag:0"`
	Usec     int                 `asn1:"explicit,tag:1"`
	CRealm   string              `asn1:"generalstring,explicit,tag:2"`
	CName    types.PrincipalName `asn1:"explicit,tag:3"`
	Checksum types.Checksum      `asn1:"explicit,tag:4"`
}

// explicit puts content behind a tag.
func explicit(tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content}
}

// write makes the message of a request with these elements.
func (a *armor) write(asked messages.ASReq, elements types.PADataSequence) ([]byte, error) {
	if a == nil {
		asked.PAData = elements
		return asked.Marshal()
	}
	if a.cookie != nil {
		elements = append(types.PADataSequence{{PADataType: paCookie, PADataValue: a.cookie}}, elements...)
	}
	e, err := crypto.GetEtype(a.key.KeyType)
	if err != nil {
		return nil, err
	}
	// The request that counts is the one within; that around it is the same, and a checksum ties them together.
	body, err := asked.ReqBody.Marshal()
	if err != nil {
		return nil, err
	}
	plain, err := asn1.Marshal(fastRequest{types.NewKrbFlags(), elements, explicit(2, body)})
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(plain, a.key, keyusage.KEY_USAGE_FAST_ENC, 0)
	if err != nil {
		return nil, err
	}
	sum, err := e.GetChecksumHash(a.key.KeyValue, body, keyusage.KEY_USAGE_FAST_REQ_CHKSUM)
	if err != nil {
		return nil, err
	}
	armored, err := asn1.Marshal(fastArmored{fastArmor{armorAPRequest, a.request}, types.Checksum{CksumType: e.GetHashID(), Checksum: sum}, sealed})
	if err != nil {
		return nil, err
	}
	value, err := asn1.Marshal(explicit(0, armored))
	if err != nil {
		return nil, err
	}
	asked.PAData = types.PADataSequence{{PADataType: paFAST, PADataValue: value}}
	return asked.Marshal()
}

// bareReply is an answer without armour to a message with it. Anybody may have sent it, so that it says nothing about any password.
type bareReply struct{ number int }

func (b *bareReply) Error() string {
	if b.number == 0 {
		return "the KDC answered without armour"
	}
	return "the KDC answered without armour: " + directory.KDCWords(b.number, 0)
}

// errArmor is in every refusal of an answer that only looks armoured.
var errArmor = errors.New("the armour of the KDC's answer is not in order")

// read parses the answer to a message that [armor.write] made. An error that is a *bareReply is an answer without armour.
func (a *armor) read(answer []byte, nonce int) (r reply, err error) {
	outer, err := parseReply(answer)
	if a == nil || err != nil {
		return outer, err
	}
	defer func() {
		if recover() != nil { // see parseReply
			r, err = reply{}, errArmor
		}
	}()
	fail := func(why string) (reply, error) { return reply{}, fmt.Errorf("%w: %s", errArmor, why) }
	value := valueOf(outer.hints, paFAST)
	if len(value) == 0 { // an empty one only says that the KDC knows armour
		return reply{}, &bareReply{outer.number}
	}
	var choice stdasn1.RawValue
	var sealed struct {
		Reply types.EncryptedData `asn1:"explicit,tag:0"`
	}
	if rest, err := stdasn1.Unmarshal(value, &choice); err != nil || len(rest) > 0 || choice.Class != stdasn1.ClassContextSpecific || choice.Tag != 0 {
		return fail("it cannot be read")
	}
	if rest, err := asn1.Unmarshal(choice.Bytes, &sealed); err != nil || len(rest) > 0 {
		return fail("it cannot be read")
	}
	plain, err := open(sealed.Reply, a.key, keyusage.KEY_USAGE_FAST_REP)
	if err != nil {
		return fail("it is not sealed with the armour's key")
	}
	var inner fastResponse
	if rest, err := asn1.Unmarshal(plain, &inner); err != nil || len(rest) > 0 || len(inner.PAData) > maxHints {
		return fail("what is within cannot be read")
	}
	if inner.Nonce != nonce {
		return fail("it is to another question")
	}
	hints := typedOf(inner.PAData)
	a.cookie = valueOf(hints, paCookie)
	if outer.ticket == nil {
		return refusalWithin(hints)
	}
	if why := a.finished(inner, outer.ticket, answer); why != "" {
		return fail(why)
	}
	return reply{ticket: outer.ticket, hints: hints, strengthen: inner.Strengthen}, nil
}

// refusalWithin reads the KRB-ERROR that counts; the one around it is written by whoever likes (§5.4.4).
func refusalWithin(elements []typed) (reply, error) {
	var e messages.KRBError
	if value := valueOf(elements, paError); value == nil || e.Unmarshal(value) != nil || e.ErrorCode <= 0 || len(e.EData) > maxEData {
		return reply{}, fmt.Errorf("%w: there is no error within", errArmor)
	}
	r := reply{number: int(e.ErrorCode), status: statusOf(e.EData), clock: e.STime, hints: append(elements, hintsIn(e.EData)...)}
	for _, element := range elements {
		if r.status == 0 {
			r.status = element.status()
		}
	}
	return r, nil
}

// finished holds a ticket, and the name with it, against what the KDC says of them within the armour (§5.4.3); "" if they agree.
func (a *armor) finished(inner fastResponse, rep *messages.ASRep, answer []byte) string {
	f := inner.Finished
	e, err := crypto.GetEtype(a.key.KeyType)
	if err != nil {
		return err.Error()
	}
	switch ticket := ticketIn(answer); {
	case len(f.Checksum.Checksum) == 0:
		return "it does not say for whom the ticket is"
	case f.CRealm != rep.CRealm || !f.CName.Equal(rep.CName):
		return "the ticket is for another person"
	case ticket == nil || f.Checksum.CksumType != e.GetHashID() || !e.VerifyChecksum(a.key.KeyValue, ticket, f.Checksum.Checksum, keyusage.KEY_USAGE_FAST_FINISHED):
		return "the ticket is another one"
	}
	return ""
}

// ticketIn finds the ticket's bytes in an AS-REP (RFC 4120 §5.4.2); nil if there is none.
func ticketIn(answer []byte) []byte {
	var message, fields, field stdasn1.RawValue
	if _, err := stdasn1.Unmarshal(answer, &message); err != nil {
		return nil
	}
	if _, err := stdasn1.Unmarshal(message.Bytes, &fields); err != nil {
		return nil
	}
	for rest := fields.Bytes; len(rest) > 0; {
		var err error
		if rest, err = stdasn1.Unmarshal(rest, &field); err != nil {
			return nil
		}
		if field.Class == stdasn1.ClassContextSpecific && field.Tag == 5 {
			return field.Bytes
		}
	}
	return nil
}

// typedOf are the library's elements as ours.
func typedOf(all types.PADataSequence) []typed {
	var out []typed
	for _, p := range all {
		out = append(out, typed{int(p.PADataType), p.PADataValue})
	}
	return out
}

// valueOf finds the first element of a type; nil if there is none.
func valueOf(all []typed, kind int) []byte {
	for _, t := range all {
		if t.Type == kind {
			return t.Value
		}
	}
	return nil
}

// combine makes one key of two (KRB-FX-CF2, §5.1), of the first one's kind. The caller clears it.
func combine(one, two types.EncryptionKey, pepper1, pepper2 string) (types.EncryptionKey, error) {
	e, err := crypto.GetEtype(one.KeyType)
	if err != nil {
		return types.EncryptionKey{}, err
	}
	value, err := pseudoRandom(one, pepper1, e.GetKeyByteSize())
	if err != nil {
		return types.EncryptionKey{}, err
	}
	other, err := pseudoRandom(two, pepper2, e.GetKeyByteSize())
	if err != nil {
		clear(value)
		return types.EncryptionKey{}, err
	}
	subtle.XORBytes(value, value, other)
	clear(other)
	return types.EncryptionKey{KeyType: one.KeyType, KeyValue: e.RandomToKey(value)}, nil
}

// pseudoRandom is PRF+ (§5.1) with the function of the two AES kinds that AD has (RFC 3961 §5.3: the first block of a hash, encrypted with a key made from the key).
func pseudoRandom(key types.EncryptionKey, pepper string, n int) ([]byte, error) {
	if !offered(key.KeyType) {
		return nil, fmt.Errorf("keys of kind %d make no armour", key.KeyType)
	}
	e, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	derived, err := e.DeriveKey(key.KeyValue, []byte("prf"))
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i := byte(1); len(out) < n; i++ {
		sum := sha1.Sum(append([]byte{i}, pepper...))
		out = append(out, make([]byte, aes.BlockSize)...)
		block.Encrypt(out[len(out)-aes.BlockSize:], sum[:aes.BlockSize])
	}
	return out[:n], nil
}
