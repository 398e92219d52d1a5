package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// The algorithms that tokens are signed with (RFC 7518 §3.1). ES256 is the default: RS256 costs 25 times as much and is for clients
// that know nothing else.
const (
	ES256 = "ES256"
	RS256 = "RS256"
)

// accepted is every algorithm that a token may name. "none" and the symmetric ones are not among them, whatever a token says.
var accepted = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}

// ErrAlgorithm is wrapped by refusals of an algorithm that the ring has no keys for.
var ErrAlgorithm = errors.New("keyring: unknown signature algorithm")

// checkAlgorithm refuses an algorithm that the ring has no keys for: the fault [wire.BadRequest] around [ErrAlgorithm].
func checkAlgorithm(algorithm string) error {
	if !slices.Contains(accepted, jose.SignatureAlgorithm(algorithm)) {
		return fault.Wrap(wire.BadRequest, fmt.Sprintf("algorithm %.20q", algorithm), ErrAlgorithm)
	}
	return nil
}

// minted is a new key, not yet in the store.
type minted struct {
	id, algorithm string
	private       []byte // PKCS #8
	public        string // JWK
}

// mint makes a key. It takes a millisecond for ES256 and some tenths of a second for RS256, so it must be called outside transactions.
func mint(algorithm string) (minted, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		err = checkAlgorithm(algorithm)
	}
	if err != nil {
		return minted{}, fmt.Errorf("keyring: making a key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: algorithm, Use: "sig"}
	// RFC 7638: a key identifier that anybody can compute, and that no two keys share.
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return minted{}, fmt.Errorf("keyring: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	public, err := json.Marshal(jwk)
	if err != nil {
		return minted{}, fmt.Errorf("keyring: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return minted{}, fmt.Errorf("keyring: %w", err)
	}
	return minted{id: jwk.KeyID, algorithm: algorithm, private: private, public: string(public)}, nil
}

// parsePublic reads a JWK that mint wrote.
func parsePublic(s string) (jose.JSONWebKey, error) {
	var jwk jose.JSONWebKey
	if err := json.Unmarshal([]byte(s), &jwk); err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("keyring: reading a public key: %w", err)
	}
	if !jwk.IsPublic() || !jwk.Valid() {
		return jose.JSONWebKey{}, errors.New("keyring: a stored public key is none")
	}
	return jwk, nil
}

// sign makes a compact JWS (RFC 7515 §3.1) with kid and typ in its header.
func sign(key crypto.Signer, kid, algorithm, typ string, payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("keyring: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("keyring: signing: %w", err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("keyring: %w", err)
	}
	return compact, nil
}

// unverified is a token that was read but proves nothing yet.
type unverified struct {
	jws            *jose.JSONWebSignature
	kid, algorithm string
}

// parse reads a compact token's outside: its size, its one signature, its algorithm, its type.
func parse(compact, typ string) (unverified, error) {
	if len(compact) > maxCompact {
		return unverified{}, errors.New("longer than any token of ours")
	}
	jws, err := jose.ParseSignedCompact(compact, accepted)
	if err != nil {
		return unverified{}, err
	}
	if len(jws.Signatures) != 1 {
		return unverified{}, errors.New("not exactly one signature")
	}
	header := jws.Signatures[0].Protected
	if got, _ := header.ExtraHeaders[jose.HeaderType].(string); got != typ {
		return unverified{}, fmt.Errorf("type %.40q where %q is expected", got, typ)
	}
	if header.KeyID == "" {
		return unverified{}, errors.New("no key id")
	}
	return unverified{jws: jws, kid: header.KeyID, algorithm: header.Algorithm}, nil
}
