package hardware

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sallyport-auth/sallyport/agent/hardware/hardwaretest"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantKind holds an error to its kind, and to having a remedy.
func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	var e *Error
	if !errors.Is(err, kind) || !errors.As(err, &e) || e.Remedy == "" || e.What == "" {
		t.Errorf("%v, want %q with a remedy", err, kind)
	}
}

func signsRight(t *testing.T, s *Signer) {
	t.Helper()
	for range 8 { // leading zeros of r and s
		digest := make([]byte, 32)
		_, _ = rand.Read(digest)
		signature, err := s.Sign(nil, digest, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest, signature) {
			t.Fatal("the signature does not hold")
		}
	}
}

func agreesRight(t *testing.T, x *Exchanger) {
	t.Helper()
	for range 8 {
		peer := must(ecdh.P256().GenerateKey(rand.Reader))(t)
		ours, err := x.ECDH(peer.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		if theirs := must(peer.ECDH(x.PublicKey()))(t); !bytes.Equal(ours, theirs) {
			t.Fatal("the two sides do not agree")
		}
	}
}

func TestKeysWorkInTheTPM(t *testing.T) {
	m := At(hardwaretest.Start(t).Device)
	s, x := must(m.CreateSigner())(t), must(m.CreateExchanger())(t)
	signsRight(t, s)
	agreesRight(t, x)

	again := must(m.LoadSigner(s.Blob()))(t)
	if !again.public.Equal(s.public) {
		t.Error("loaded, it is another key")
	}
	signsRight(t, again)
	agreesRight(t, must(m.LoadExchanger(x.Blob()))(t))

	_, err := m.LoadSigner(x.Blob())
	wantKind(t, err, ErrBlob)
	_, err = m.LoadExchanger(s.Blob())
	wantKind(t, err, ErrBlob)
	long := sha512.Sum512([]byte("x"))
	if _, err := s.Sign(nil, long[:], crypto.SHA512); err == nil {
		t.Error("it signs SHA-512")
	}
	montgomery := must(ecdh.X25519().GenerateKey(rand.Reader))(t)
	if _, err := x.ECDH(montgomery.PublicKey()); err == nil {
		t.Error("it multiplies a point of X25519")
	}
}

// TestManyKeysAtOnce has more keys in use than a TPM has room for.
func TestManyKeysAtOnce(t *testing.T) {
	m := At(hardwaretest.Start(t).Device)
	var all sync.WaitGroup
	for range 4 {
		s, x := must(m.CreateSigner())(t), must(m.CreateExchanger())(t)
		all.Go(func() { signsRight(t, s) })
		all.Go(func() { agreesRight(t, x) })
	}
	all.Wait()
}

// TestLastingConnection holds a connection as one to a device is held: with more keys than are kept loaded, and a TPM that forgets all
// that was.
func TestLastingConnection(t *testing.T) {
	soft := hardwaretest.Start(t)
	b := &tpm{device: soft.Device}
	m := &Module{b: b}
	lasting := func() {
		t.Helper()
		b.c = must(dial(soft.Device))(t)
		b.c.lasting = true
	}
	lasting()
	var signers []*Signer
	for range maxLoaded + 2 {
		signers = append(signers, must(m.CreateSigner())(t))
	}
	for range 2 {
		for _, s := range signers {
			signsRight(t, s)
		}
	}
	if len(b.c.loaded) != maxLoaded {
		t.Errorf("%d keys are loaded", len(b.c.loaded))
	}
	b.c.end()
	lasting()
	signsRight(t, signers[0])
	soft.Restart(t)
	signsRight(t, signers[0]) // the broken connection is replaced
}

func TestKeysOfAnotherTPM(t *testing.T) {
	here, there := hardwaretest.Start(t), hardwaretest.Start(t)
	s := must(At(here.Device).CreateSigner())(t)
	_, err := At(there.Device).LoadSigner(s.Blob())
	wantKind(t, err, ErrForeign)

	// Whoever edits the name of the storage key away gains nothing: the TPM itself refuses.
	p := must(parseParts(s.Blob()))(t)
	foreign := must(parseParts(must(At(there.Device).CreateSigner())(t).Blob()))(t)
	p.root, p.endorsement = foreign.root, foreign.endorsement
	_, err = At(there.Device).LoadSigner(p.encode())
	wantKind(t, err, ErrBlob)

	here.Restart(t)
	signsRight(t, must(At(here.Device).LoadSigner(s.Blob()))(t))

	c := must(dial(here.Device))(t)
	_, err = tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(c)
	c.end()
	if err != nil {
		t.Fatal(err)
	}
	_, err = At(here.Device).LoadSigner(s.Blob())
	wantKind(t, err, ErrCleared)
}

// TestNoPartInLockouts locks the TPM out: keys without a password are none of its business.
func TestNoPartInLockouts(t *testing.T) {
	soft := hardwaretest.Start(t)
	s := must(At(soft.Device).CreateSigner())(t)
	c := must(dial(soft.Device))(t)
	guarded := template(signs)
	guarded.ObjectAttributes.NoDA = false
	r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(guarded),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte("right")}}}}.Execute(c)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	const enough = 100 // wrong passwords; swtpm begins with a limit of a few
	for range enough {
		_, err = tpm2.Sign{KeyHandle: tpm2.AuthHandle{Handle: r.ObjectHandle, Name: r.Name, Auth: tpm2.PasswordAuth([]byte("wrong"))},
			Digest: tpm2.TPM2BDigest{Buffer: digest[:]}, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(c)
		if errors.Is(err, tpm2.TPMRCLockout) {
			break
		}
	}
	wantKind(t, (&tpm{}).explain(err), ErrLocked)
	c.srk.Handle, c.flush = r.ObjectHandle, true
	c.end()
	signsRight(t, s)
}

// TestOwnerWithPassword: nothing can be made, unless the storage root key was put in its place.
func TestOwnerWithPassword(t *testing.T) {
	soft := hardwaretest.Start(t)
	before := must(At(soft.Device).CreateSigner())(t)
	own := func(evict bool) {
		t.Helper()
		c := must(dial(soft.Device))(t)
		defer c.end()
		if evict {
			if err := c.root(nil); err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &c.srk, PersistentHandle: srkHandle}).Execute(c); err != nil {
				t.Fatal(err)
			}
			return
		}
		if _, err := (tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")}}).Execute(c); err != nil {
			t.Fatal(err)
		}
	}
	own(true)
	signsRight(t, must(At(soft.Device).LoadSigner(before.Blob()))(t))
	own(false)
	signsRight(t, must(At(soft.Device).CreateSigner())(t))
	signsRight(t, before)

	bare := hardwaretest.Start(t)
	soft = bare
	own(false)
	_, err := At(bare.Device).CreateSigner()
	wantKind(t, err, ErrOwned)
}

func TestNoTPM(t *testing.T) {
	_, err := At(filepath.Join(t.TempDir(), "none")).CreateSigner()
	wantKind(t, err, ErrAbsent)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = At(file).CreateSigner()
	wantKind(t, err, ErrAbsent)
	_, err = At("/dev/null").CreateSigner() // takes everything, and answers nothing
	wantKind(t, err, ErrFailed)
	for cause, kind := range map[error]error{
		&fs.PathError{Op: "open", Path: "/dev/tpmrm0", Err: syscall.EACCES}: ErrDenied,
		&fs.PathError{Op: "open", Path: "/dev/tpm0", Err: syscall.EBUSY}:    ErrFailed,
		tpm2.TPMRCInitialize: ErrFailed, tpm2.TPMRCLockout: ErrLocked, errors.New("else"): ErrFailed,
	} {
		wantKind(t, (&tpm{device: "/dev/tpmrm0"}).explain(fmt.Errorf("wrapped: %w", cause)), kind)
	}
}

// TestChangedBlobs: every byte of what is kept counts.
func TestChangedBlobs(t *testing.T) {
	m := At(hardwaretest.Start(t).Device)
	s := must(m.CreateSigner())(t)
	blob := s.Blob()
	for i := 0; i < len(blob); i += 7 {
		changed := s.Blob()
		changed[i] ^= 1
		got, err := m.LoadSigner(changed)
		if err == nil && !bytes.Equal(must(parseParts(changed))(t).endorsement, must(parseParts(blob))(t).endorsement) {
			continue // that name only serves to word an error
		}
		var e *Error
		if err == nil || !errors.As(err, &e) || got != nil {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, b := range [][]byte{nil, blob[:len(blob)-1], append(s.Blob(), 0), []byte(strings.Repeat("x", maxBlob+1))} {
		_, err := m.LoadSigner(b)
		wantKind(t, err, ErrBlob)
	}
}

func FuzzParseParts(f *testing.F) {
	f.Add(parts{root: []byte("root"), public: []byte("public"), private: []byte("private")}.encode())
	f.Add([]byte{0, 1})
	for _, u := range []use{signs, agrees} {
		area := template(u)
		point := must(must(ecdh.P256().GenerateKey(rand.Reader))(f).PublicKey().Bytes(), nil)(f)
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})
		f.Add(parts{root: []byte("root"), public: tpm2.Marshal(area), private: []byte("private")}.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseParts(b)
		if err == nil && !bytes.Equal(p.encode(), b) {
			t.Error("another encoding of the same parts")
		}
		for _, u := range []use{signs, agrees} {
			if key, err := publicOf(u, p.public); (key == nil) == (err == nil) {
				t.Errorf("%v, %v", key, err)
			}
		}
	})
}

// BenchmarkModule is what a check costs at a TPM: one agreement; with the software TPM, whose socket is opened for each use, and with a
// connection that lasts.
func BenchmarkModule(b *testing.B) {
	soft := hardwaretest.Start(b)
	for _, lasting := range []bool{false, true} {
		backend := &tpm{device: soft.Device}
		if lasting {
			backend.c = must(dial(soft.Device))(b)
			backend.c.lasting = true
			defer func() { backend.c.end() }()
		}
		x := must((&Module{b: backend}).CreateExchanger())(b)
		peer := must(ecdh.P256().GenerateKey(rand.Reader))(b)
		b.Run(fmt.Sprintf("lasting=%v", lasting), func(b *testing.B) {
			for b.Loop() {
				if _, err := x.ECDH(peer.PublicKey()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
