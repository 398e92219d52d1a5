package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/hardware"
	"github.com/sallyport-auth/sallyport/agent/hardware/hardwaretest"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// works has both keys of an identity do what they are for: a handshake with each version of TLS, and an envelope.
func works(t *testing.T, id *Identity) {
	t.Helper()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := handshake(t, id, version); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	if err := id.CheckKeys(); err != nil {
		t.Error(err)
	}
	public := id.EnvelopeKey().Public()
	read, err := envelope.ParsePublicKey(public.Suite(), public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b := envelope.Binding{Tenant: id.Tenant(), Directory: id.Directory(), Agent: id.Agent(), Request: "1", Expires: now.Add(time.Minute)}
	sealed, _, err := envelope.Seal(read, b, envelope.Check{Name: "sam", Password: wire.NewSecret([]byte("hunter2"))})
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err := envelope.Open(id.EnvelopeKey(), b, sealed, now); err != nil || string(c.Password.Reveal()) != "hunter2" {
		t.Errorf("the envelope: %v", err)
	}
}

// handshake has the identity show its certificate to a server that asks for one.
func handshake(t *testing.T, id *Identity, version uint16) error {
	t.Helper()
	ca, key := newAuthority(t), newKey(t)
	server := tls.Certificate{PrivateKey: key, Certificate: [][]byte{ca.issue(t, key.Public(), func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"gateway.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}).Raw}}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(far, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, MinVersion: version, MaxVersion: version}).
			HandshakeContext(t.Context())
	}()
	client := tls.Client(near, &tls.Config{Certificates: []tls.Certificate{id.TLSCertificate()}, RootCAs: roots, ServerName: "gateway.example", MinVersion: version})
	if err := client.HandshakeContext(t.Context()); err != nil {
		return err
	}
	go func() { _, _ = client.Read(make([]byte, 1)) }() // with TLS 1.3 the server speaks last
	return <-done
}

// copyOf copies a state folder, protected as the original.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestRegisterWithTPM(t *testing.T) {
	s, soft := newFakeService(t), hardwaretest.Start(t)
	o := s.options(t)
	o.KeyStore, o.KeyDevice = KindTPM, soft.Device
	id, err := Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	works(t, id)
	if asked := s.asked[0]; asked.KeyStore != KindTPM || asked.EnvelopeSuite != int(envelope.SuiteMLKEM768P256) {
		t.Errorf("registered store %q, suite %d", asked.KeyStore, asked.EnvelopeSuite)
	}
	soft.Restart(t)
	back, err := Open(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if back.KeyStore() != KindTPM || back.KeyDevice() != soft.Device || back.EnvelopeKey().Public().ID() != id.EnvelopeKey().Public().ID() {
		t.Errorf("opened store %q at %q, key %s", back.KeyStore(), back.KeyDevice(), back.EnvelopeKey().Public().ID())
	}
	works(t, back)
}

// TestCopiedFolderIsUseless is what a TPM is for: whoever has the folder alone, on a host with a TPM of its own, has nothing.
func TestCopiedFolderIsUseless(t *testing.T) {
	s, here, there := newFakeService(t), hardwaretest.Start(t), hardwaretest.Start(t)
	o := s.options(t)
	o.KeyStore, o.KeyDevice = KindTPM, here.Device
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	stolen := copyOf(t, o.Dir)
	facts := filepath.Join(stolen, factsFile)
	text, err := os.ReadFile(facts)
	if err != nil {
		t.Fatal(err)
	}
	moved := bytes.ReplaceAll(text, []byte(here.Device), []byte(there.Device)) // each host has its TPM at the same place
	if bytes.Equal(moved, text) {
		t.Fatal("the folder does not say which TPM it is of")
	}
	if err := os.WriteFile(facts, moved, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(stolen)
	var e *Error
	if !errors.Is(err, ErrKeysLost) || !errors.Is(err, hardware.ErrForeign) || !errors.As(err, &e) || !strings.Contains(e.Remedy, "register --again") {
		t.Errorf("opened elsewhere: %v", err)
	}
	if _, err := OpenKeeper(stolen); !errors.Is(err, hardware.ErrForeign) {
		t.Errorf("kept elsewhere: %v", err)
	}
	if id, err := Open(o.Dir); err != nil {
		t.Errorf("opened at home: %v", err)
	} else {
		works(t, id)
	}
}

// TestAgainMovesBetweenStores: to the TPM, with fresh keys there, and away when told; not by leaving something out.
func TestAgainMovesBetweenStores(t *testing.T) {
	s, soft := newFakeService(t), hardwaretest.Start(t)
	o := s.options(t)
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Again = true
	var before *Identity
	for _, step := range []struct{ ask, device, get string }{{KindTPM, soft.Device, KindTPM}, {"", "", KindTPM}, {KindFile, "", KindFile}, {"", "", KindFile}} {
		o.KeyStore, o.KeyDevice = step.ask, step.device
		id, err := Register(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if id.KeyStore() != step.get || s.asked[len(s.asked)-1].Former == nil {
			t.Errorf("asked for %q: kept in %q", step.ask, id.KeyStore())
		}
		if before != nil && samePublic(before.key, id.key.Public()) {
			t.Error("the key was used again")
		}
		before = id
		if back, err := Open(o.Dir); err != nil {
			t.Fatal(err)
		} else {
			works(t, back)
		}
	}

	// Keys that are lost do not make weaker ones.
	o.KeyStore, o.KeyDevice = KindTPM, soft.Device
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, tlsKeyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.KeyStore, o.KeyDevice = "", ""
	if id, err := Register(t.Context(), o); err != nil || id.KeyStore() != KindTPM || s.asked[len(s.asked)-1].Former != nil {
		t.Errorf("after a loss: %v", err)
	}
}

func TestNoTPMSpendsNoToken(t *testing.T) {
	s := newFakeService(t)
	o := s.options(t)
	o.KeyStore, o.KeyDevice = KindTPM, filepath.Join(t.TempDir(), "none")
	_, err := Register(t.Context(), o)
	if !errors.Is(err, ErrKeyStore) || !errors.Is(err, hardware.ErrAbsent) || len(s.asked) != 0 {
		t.Errorf("%v after %d requests", err, len(s.asked))
	}
	o.KeyStore = KindFile
	if _, err := Register(t.Context(), o); !errors.Is(err, ErrOptions) || len(s.asked) != 0 {
		t.Errorf("files at a device: %v", err)
	}
}

// TestRenewalStaysInTheTPM goes through a renewal, and dies at each of its moments.
func TestRenewalStaysInTheTPM(t *testing.T) {
	s, soft := newFakeService(t), hardwaretest.Start(t)
	o := s.options(t)
	o.KeyStore, o.KeyDevice = KindTPM, soft.Device
	first, err := Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	k, err := OpenKeeper(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := k.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	if fresh.KeyStore() != KindTPM {
		t.Errorf("renewed in %q", fresh.KeyStore())
	}
	cert := s.ca.issue(t, fresh.keys.TLS.Public(), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) })
	if err := k.Accept(fresh, [][]byte{cert.Raw, s.ca.cert.Raw}, time.Now()); err != nil {
		t.Fatal(err)
	}
	k.Close()
	soft.Restart(t)

	if k, err = OpenKeeper(o.Dir); err != nil { // died before the service confirmed
		t.Fatal(err)
	}
	if k.Current().Serial() != first.Serial() || k.Pending() == nil || k.Pending().KeyStore() != KindTPM {
		t.Fatal("the renewal was forgotten")
	}
	works(t, k.Current())
	works(t, k.Pending())
	k.Close()

	// While the TPM is away, nothing is thrown away.
	away := soft.Device + ".away"
	if err := os.Rename(soft.Device, away); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeeper(o.Dir); !errors.Is(err, ErrKeyStore) {
		t.Errorf("without the TPM: %v", err)
	}
	if err := os.Rename(away, soft.Device); err != nil {
		t.Fatal(err)
	}

	// Died while the files were changed over, after each of them.
	for n := range files {
		dir := copyOf(t, o.Dir)
		if err := os.Remove(filepath.Join(dir, factsFile)); err != nil {
			t.Fatal(err)
		}
		for _, name := range files[:n] {
			text, err := os.ReadFile(filepath.Join(dir, nextFolder, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := WriteFile(filepath.Join(dir, name), text, false); err != nil {
				t.Fatal(err)
			}
		}
		k, err := OpenKeeper(dir)
		if err != nil {
			t.Fatalf("after %d files: %v", n, err)
		}
		if k.Current().Serial() != cert.SerialNumber.Text(16) || k.Pending() != nil {
			t.Errorf("after %d files: certificate %s", n, k.Current().Serial())
		}
		works(t, k.Current())
		k.Close()
	}

	if k, err = OpenKeeper(o.Dir); err != nil {
		t.Fatal(err)
	}
	if renewed, err := k.Confirmed(cert.SerialNumber.Text(16), time.Now()); !renewed || err != nil {
		t.Fatal(renewed, err)
	}
	k.Close()
	id, err := Open(o.Dir)
	if err != nil || id.KeyStore() != KindTPM || id.KeyDevice() != soft.Device {
		t.Fatalf("after the renewal: %v", err)
	}
	works(t, id)
}
