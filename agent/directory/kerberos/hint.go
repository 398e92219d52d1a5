package kerberos

import (
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jcmturner/gofork/x/crypto/pbkdf2"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/types"
)

// kinds of encryption that are asked for, the best first. AD's accounts have no others that are AES.
var kinds = []int32{etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96}

// offered reports whether a kind is one of those.
func offered(kind int32) bool { return slices.Contains(kinds, kind) }

// isAES also knows the newer kinds, which the agent's own key may be of.
func isAES(kind int32) bool {
	return kind == etypeID.AES256_CTS_HMAC_SHA1_96 || kind == etypeID.AES128_CTS_HMAC_SHA1_96 ||
		kind == etypeID.AES256_CTS_HMAC_SHA384_192 || kind == etypeID.AES128_CTS_HMAC_SHA256_128
}

// hint is what a KDC says about how a password becomes a key.
type hint struct {
	kind   int32
	salt   []byte
	rounds int
}

// paETypeInfo2 is the type of the element that holds hints (RFC 4120 §5.2.7.5).
const paETypeInfo2 = 19

// etypeInfo2Entry is ETYPE-INFO2-ENTRY; the salt is a KerberosString, whose bytes are taken as they are.
type etypeInfo2Entry struct {
	Kind   int32         `asn1:"explicit,tag:0"`
	Salt   asn1.RawValue `asn1:"explicit,tag:1,optional"`
	Params []byte        `asn1:"explicit,tag:2,optional"`
}

var errNoHint = errors.New("the KDC offers no AES key for this account")

// hintsIn are the elements in the e-data of an error: of METHOD-DATA, or the one that Samba sends bare with a refused proof.
func hintsIn(edata []byte) []typed {
	if all := elements(edata); all != nil {
		return all
	}
	var bare []etypeInfo2Entry
	if rest, err := asn1.Unmarshal(edata, &bare); err != nil || len(rest) > 0 || len(bare) == 0 {
		return nil
	}
	return []typed{{paETypeInfo2, edata}}
}

// errFalseHint is why a proof says nothing about the password.
var errFalseHint = errors.New("the KDC takes another salt than the one that was told at first, so that a right password counts as wrong")

// contradicts reports whether a KDC that refused a proof says that the key is made in another way. Without a word about it there is no contradiction.
func (h hint) contradicts(all []typed) bool {
	told, err := hintOf(all)
	return err == nil && (told.kind != h.kind || told.rounds != h.rounds || string(told.salt) != string(h.salt))
}

// hintOf chooses the best kind that both sides know from the elements that a KDC sends. Nothing of it is authenticated, so everything is bounded.
func hintOf(all []typed) (hint, error) {
	for _, kind := range kinds {
		for _, e := range all {
			if e.Type != paETypeInfo2 {
				continue
			}
			var entries []etypeInfo2Entry
			if rest, err := asn1.Unmarshal(e.Value, &entries); err != nil || len(rest) > 0 || len(entries) > maxHints {
				return hint{}, errors.New("the KDC's list of encryption types cannot be read")
			}
			for _, entry := range entries {
				if entry.Kind == kind {
					return entry.hint()
				}
			}
		}
	}
	return hint{}, errNoHint
}

func (e etypeInfo2Entry) hint() (hint, error) {
	h := hint{kind: e.Kind, rounds: leastRounds}
	if len(e.Salt.Bytes) > 0 { // the element within the tag
		var salt asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Salt.Bytes, &salt); err != nil || len(rest) > 0 {
			return hint{}, errors.New("the KDC's salt cannot be read")
		}
		h.salt = salt.Bytes
	}
	if len(e.Params) > 0 {
		if len(e.Params) != 4 {
			return hint{}, errors.New("the KDC's parameters for the key cannot be read")
		}
		h.rounds = int(binary.BigEndian.Uint32(e.Params))
	}
	switch {
	case h.rounds < leastRounds || h.rounds > mostRounds:
		return hint{}, fmt.Errorf("the KDC wants the key made in %d rounds; %d to %d are allowed", h.rounds, leastRounds, mostRounds)
	case len(h.salt) == 0:
		return hint{}, errors.New("the KDC tells no salt for the key")
	case len(h.salt) > maxSalt:
		return hint{}, errors.New("the KDC's salt is too long")
	}
	return h, nil
}

// key makes the key of a password (RFC 3962 §4). The caller clears it.
func (h hint) key(password []byte) (types.EncryptionKey, error) {
	e, err := crypto.GetEtype(h.kind)
	if err != nil {
		return types.EncryptionKey{}, err
	}
	// The function above this one, and the standard library's, take the password as a string, which could not be wiped.
	raw := pbkdf2.Key64(password, h.salt, int64(h.rounds), int64(e.GetKeyByteSize()), e.GetHashFunc())
	defer clear(raw)
	value, err := e.DeriveKey(e.RandomToKey(raw), []byte("kerberos"))
	return types.EncryptionKey{KeyType: h.kind, KeyValue: value}, err
}
