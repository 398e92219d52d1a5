package kerberos

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Keytab holds the key of the agent's own service. Make it with [ReadKeytab]. It is read-only.
type Keytab struct {
	realm   string
	service types.PrincipalName
	keys    *keytab.Keytab
}

// ReadKeytab reads a keytab file. Its first principal with an AES key is the agent's service: "host/agent1.corp.example@CORP.EXAMPLE"
// or any other account whose key nobody else holds.
func ReadKeytab(path string) (*Keytab, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeytab+1))
	if err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	k, err := parseKeytab(b)
	if err != nil {
		return nil, fmt.Errorf("keytab %s: %w", path, err)
	}
	return k, nil
}

func parseKeytab(b []byte) (_ *Keytab, err error) {
	// The library's parser slices by lengths that it finds in the file.
	defer func() {
		if recover() != nil {
			err = errors.New("not a keytab")
		}
	}()
	if len(b) > maxKeytab {
		return nil, fmt.Errorf("larger than %d bytes", maxKeytab)
	}
	keys := keytab.New()
	if err := keys.Unmarshal(b); err != nil {
		return nil, err
	}
	for _, e := range keys.Entries {
		if isAES(e.Key.KeyType) && len(e.Principal.Components) > 0 && e.Principal.Realm != "" {
			return &Keytab{realm: e.Principal.Realm, keys: keys,
				service: types.PrincipalName{NameType: nametype.KRB_NT_PRINCIPAL, NameString: e.Principal.Components}}, nil
		}
	}
	return nil, errors.New("no principal in it has an AES key: export it with aes256-cts-hmac-sha1-96")
}

// key is the newest key of the service of the first of these kinds that it has one of.
func (k *Keytab) key(kinds ...int32) (types.EncryptionKey, error) {
	for _, kind := range kinds {
		newest := -1
		for i, e := range k.keys.Entries {
			if e.Key.KeyType == kind && e.Principal.Realm == k.realm && slices.Equal(e.Principal.Components, k.service.NameString) && (newest < 0 || e.KVNO > k.keys.Entries[newest].KVNO) {
				newest = i
			}
		}
		if newest >= 0 {
			return k.keys.Entries[newest].Key, nil
		}
	}
	return types.EncryptionKey{}, fmt.Errorf("the keytab has no AES key of %s", k.Service())
}

// kinds are those of AD of which it has a key.
func (k *Keytab) kinds() []int32 {
	return slices.DeleteFunc(slices.Clone(kinds), func(kind int32) bool { _, err := k.key(kind); return err != nil })
}

// Realm is that of the service.
func (k *Keytab) Realm() string { return k.realm }

// Service is the principal that tickets are asked for.
func (k *Keytab) Service() string { return strings.Join(k.service.NameString, "/") + "@" + k.realm }
