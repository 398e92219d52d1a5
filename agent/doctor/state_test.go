package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// registered is an identity whose certificate holds between two times.
func registered(t *testing.T, notBefore, notAfter time.Time) *identity.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opener, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: notBefore, NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{wire.AgentIdentity{TrustDomain: "localhost", Tenant: "t1", Agent: "a1"}.URI()}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(identity.Facts{Service: "https://s.example", Gateway: "gw.example:8444", TenantID: "t1", TenantName: "contoso", DirectoryID: "d1",
		DirectoryName: "corp", AgentID: "a1", AgentName: "host1", TrustDomain: "localhost"}, key, []*x509.Certificate{certificate}, opener)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestState(t *testing.T) {
	const day = 24 * time.Hour
	unregistered := &identity.Error{Kind: identity.ErrNotRegistered, What: "no identity in /x", Remedy: "register"}
	for what, c := range map[string]struct {
		begins, ends time.Duration // from now; both zero: no identity
		err          error
		service      string
		want         one
	}{
		"well":                               {begins: -day, ends: 29 * day, want: one{OK, "valid until", false}},
		"well, and whose":                    {begins: -day, ends: 29 * day, want: one{OK, "agent host1 (a1) of tenant contoso, directory corp", false}},
		"near its end":                       {begins: -26 * day, ends: 4 * day, want: one{Warning, "ends in 96h", true}},
		"over":                               {begins: -31 * day, ends: -day, want: one{Error, "expired at", true}},
		"not begun":                          {begins: day, ends: 31 * day, want: one{Error, "not valid before", true}},
		"not registered":                     {err: unregistered, want: one{Error, "not registered", true}},
		"not registered, and going to be":    {err: unregistered, service: "https://s.example", want: one{Note, "not registered yet", true}},
		"open to others, and going to be":    {err: &identity.Error{Kind: identity.ErrPermissions, What: "mode 0755", Remedy: "chmod"}, service: "https://s.example", want: one{Error, "mode 0755", true}},
		"something that nobody has foreseen": {err: errors.New("i/o error"), want: one{Error, "i/o error", true}},
	} {
		var id *identity.Identity
		if c.err == nil {
			id = registered(t, now.Add(c.begins), now.Add(c.ends))
		}
		wants(t, what, judgeState("/x", id, c.err, c.service, now), c.want)
	}
}

func TestKeys(t *testing.T) {
	away := &identity.Error{Kind: identity.ErrKeyStore, What: "no TPM", Remedy: "switch it on"}
	for what, c := range map[string]struct {
		store, device string
		err           error
		want          one
	}{
		"files":         {store: identity.KindFile, want: one{OK, "files that the agent's user alone may read", false}},
		"TPM":           {store: identity.KindTPM, want: one{OK, "in this host's TPM", false}},
		"another TPM":   {store: identity.KindTPM, device: "/run/tpm", want: one{OK, "/run/tpm", false}},
		"TPM away":      {store: identity.KindTPM, err: away, want: one{Error, "no TPM", true}},
		"anything else": {store: identity.KindTPM, err: errors.New("i/o error"), want: one{Error, "i/o error", true}},
	} {
		wants(t, what, []Finding{judgeKeys(c.store, c.device, c.err)}, c.want)
	}
	id := registered(t, now, now.Add(time.Hour))
	wants(t, "an identity", []Finding{judgeKeys(id.KeyStore(), id.KeyDevice(), id.CheckKeys())}, one{OK, "files", false})
}
