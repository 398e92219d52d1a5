//go:build !windows

package hardware

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/crypto/cryptobyte"
)

// DefaultDevice is the TPM behind the kernel's resource manager, which lets programs share it.
const DefaultDevice = "/dev/tpmrm0"

// srkHandle is where provisioned hosts keep the storage root key (TCG TPM v2.0 Provisioning Guidance, 7.8).
const srkHandle tpm2.TPMHandle = 0x81000001

// tpm reaches a TPM 2.0 through a character device, where a connection stays open, or a socket of a software TPM, which serves one
// connection at a time and is left after each use.
type tpm struct {
	device string
	c      *connection // nil: none is open
}

func newBackend(device string) backend { return &tpm{device: device} }

// connection is an open TPM with what it holds for this process.
type connection struct {
	transport.TPMCloser
	lasting bool

	srk    tpm2.NamedHandle
	public tpm2.TPMTPublic
	flush  bool // the storage key is ours to flush
	// secret guards commands with salted HMACs and encrypts their first parameter in both directions; shown in the direction of the TPM alone, for
	// answers that begin with none.
	secret, shown tpm2.Session

	loaded []loadedKey // the one used last is last
}

type loadedKey struct {
	blob string
	tpm2.NamedHandle
}

// with runs f on an open connection. A connection that something went wrong on is not used again; one that had been open is replaced
// once, because a suspended host or a restarted module forgets what was loaded.
func (t *tpm) with(f func(*connection) error) error {
	for {
		fresh := t.c == nil
		if fresh {
			c, err := dial(t.device)
			if err != nil {
				return t.explain(err)
			}
			t.c = c
		}
		err := f(t.c)
		if err != nil || !t.c.lasting {
			t.c.end()
			t.c = nil
		}
		var known *Error
		if err == nil || fresh || errors.As(err, &known) {
			return t.explain(err)
		}
	}
}

// dial opens a device or a socket.
func dial(device string) (*connection, error) {
	info, err := os.Stat(device)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode()&fs.ModeSocket != 0:
		conn, err := net.DialTimeout("unix", device, socketTimeout)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(socketTimeout)); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &connection{TPMCloser: transport.FromReadWriteCloser(conn)}, nil
	case info.Mode()&fs.ModeCharDevice != 0:
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return &connection{TPMCloser: transport.FromReadWriteCloser(f), lasting: true}, nil
	}
	return nil, errNoDevice
}

var errNoDevice = errors.New("neither a device nor a socket")

// end gives back what the TPM holds for the connection. Errors are of no use: it may be broken.
func (c *connection) end() {
	for len(c.loaded) > 0 {
		c.forget()
	}
	for _, s := range []tpm2.Session{c.secret, c.shown} {
		if s != nil {
			_, _ = tpm2.FlushContext{FlushHandle: s.Handle()}.Execute(c)
		}
	}
	if c.flush {
		_, _ = tpm2.FlushContext{FlushHandle: c.srk.Handle}.Execute(c)
	}
	_ = c.Close()
}

// forget unloads the key that was used longest ago.
func (c *connection) forget() {
	_, _ = tpm2.FlushContext{FlushHandle: c.loaded[0].Handle}.Execute(c)
	c.loaded = c.loaded[1:]
}

// root has the storage root key ready: the one that the host was provisioned with or, which is the same key if that was done by the book,
// the one that the TCG's template gives. With a name given, it must be the key of that name.
func (c *connection) root(name []byte) error {
	if c.public.Type != 0 {
		return c.rooted(name)
	}
	if r, err := (tpm2.ReadPublic{ObjectHandle: srkHandle}).Execute(c); err == nil {
		public, err := r.OutPublic.Contents()
		if err != nil {
			return err
		}
		if isStorageKey(public) && (name == nil || bytes.Equal(name, r.Name.Buffer)) {
			c.srk, c.public = tpm2.NamedHandle{Handle: srkHandle, Name: r.Name}, *public
			return nil
		}
	}
	r, err := primary(c, tpm2.TPMRHOwner, tpm2.ECCSRKTemplate)
	if err != nil {
		return err
	}
	public, err := r.OutPublic.Contents()
	if err != nil {
		return err
	}
	c.srk, c.public, c.flush = tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}, *public, true
	return c.rooted(name)
}

func (c *connection) rooted(name []byte) error {
	if name != nil && !bytes.Equal(name, c.srk.Name.Buffer) {
		return errOtherRoot
	}
	return nil
}

var errOtherRoot = errors.New("another storage root key")

// primary makes a primary key of a hierarchy that has no password.
func primary(c transport.TPM, hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) (*tpm2.CreatePrimaryResponse, error) {
	return tpm2.CreatePrimary{PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(template)}.Execute(c)
}

// isStorageKey reports whether a key is of the kind of ECCSRKTemplate, whose sessions and children we know how to make.
func isStorageKey(p *tpm2.TPMTPublic) bool {
	if p.Type != tpm2.TPMAlgECC || p.NameAlg != tpm2.TPMAlgSHA256 || p.ObjectAttributes != tpm2.ECCSRKTemplate.ObjectAttributes {
		return false
	}
	parms, err := p.Parameters.ECCDetail()
	return err == nil && parms.CurveID == tpm2.TPMECCNistP256 && parms.Symmetric.Algorithm == tpm2.TPMAlgAES
}

// endorsement returns the name of the endorsement key, which outlives a clearing, or nothing where its hierarchy has a password.
func (c *connection) endorsement() []byte {
	r, err := primary(c, tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	if err != nil {
		return nil
	}
	_, _ = tpm2.FlushContext{FlushHandle: r.ObjectHandle}.Execute(c)
	return r.Name.Buffer
}

// session begins a session whose secret only the storage key can read, once.
func (c *connection) session(at *tpm2.Session, directions tpm2.AuthOption) (tpm2.Session, error) {
	if *at == nil {
		s, _, err := tpm2.HMACSession(c, tpm2.TPMAlgSHA256, 16, tpm2.Salted(c.srk.Handle, c.public), directions)
		if err != nil {
			return nil, err
		}
		*at = s
	}
	return *at, nil
}

func (c *connection) bothWays() (tpm2.Session, error) {
	return c.session(&c.secret, tpm2.AESEncryption(128, tpm2.EncryptInOut))
}

func (c *connection) oneWay() (tpm2.Session, error) {
	return c.session(&c.shown, tpm2.AESEncryption(128, tpm2.EncryptIn))
}

// template is a key that cannot leave the TPM and has one use. It has no password that could be tried, so it has no part in lockouts.
func template(u use) tpm2.TPMTPublic {
	scheme := tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}
	if u == agrees {
		scheme = tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDH, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256})}
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
			SignEncrypt: u == signs, Decrypt: u == agrees},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256, Scheme: scheme}),
	}
}

func (t *tpm) create(u use) (blob []byte, err error) {
	err = t.with(func(c *connection) error {
		if err := c.root(nil); err != nil {
			return err
		}
		endorsement := c.endorsement()
		s, err := c.bothWays()
		if err != nil {
			return err
		}
		for len(c.loaded) >= maxLoaded {
			c.forget()
		}
		r, err := tpm2.Create{ParentHandle: tpm2.AuthHandle{Handle: c.srk.Handle, Name: c.srk.Name, Auth: s}, InPublic: tpm2.New2B(template(u))}.Execute(c)
		if err != nil {
			return err
		}
		blob = parts{root: c.srk.Name.Buffer, endorsement: endorsement, public: r.OutPublic.Bytes(), private: r.OutPrivate.Buffer}.encode()
		return nil
	})
	return blob, err
}

func (t *tpm) load(u use, blob []byte) (*ecdsa.PublicKey, error) {
	p, err := parseParts(blob)
	if err != nil {
		return nil, badBlob(err)
	}
	public, err := publicOf(u, p.public)
	if err != nil {
		return nil, badBlob(err)
	}
	return public, t.with(func(c *connection) error {
		_, err := c.load(blob, p)
		return err
	})
}

// load returns the handle of a key, which is loaded if need be.
func (c *connection) load(blob []byte, p parts) (tpm2.NamedHandle, error) {
	for i, k := range c.loaded {
		if k.blob == string(blob) {
			c.loaded = append(append(c.loaded[:i:i], c.loaded[i+1:]...), k)
			return k.NamedHandle, nil
		}
	}
	if err := c.root(p.root); errors.Is(err, errOtherRoot) {
		return tpm2.NamedHandle{}, foreign(len(p.endorsement) > 0 && bytes.Equal(p.endorsement, c.endorsement()))
	} else if err != nil {
		return tpm2.NamedHandle{}, err
	}
	s, err := c.bothWays()
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	for len(c.loaded) >= maxLoaded {
		c.forget()
	}
	r, err := tpm2.Load{ParentHandle: tpm2.AuthHandle{Handle: c.srk.Handle, Name: c.srk.Name, Auth: s},
		InPrivate: tpm2.TPM2BPrivate{Buffer: p.private}, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](p.public)}.Execute(c)
	if errors.Is(err, tpm2.TPMRCIntegrity) || errors.Is(err, tpm2.TPMRCSize) {
		return tpm2.NamedHandle{}, badBlob(err)
	}
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	k := loadedKey{string(blob), tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}}
	c.loaded = append(c.loaded, k)
	return k.NamedHandle, nil
}

// foreign says of keys that this TPM cannot open why.
func foreign(same bool) error {
	const again = "sallyport-agent register --again --key-store tpm, with the token that sallyport agent release NAME shows in the service"
	if same {
		return &Error{Kind: ErrCleared, What: "its storage root key is not the one that the agent's keys were made under",
			Remedy: "nothing brings them back; take new keys: " + again}
	}
	return &Error{Kind: ErrForeign, What: "the state folder was copied from another host, or this host's module was exchanged or cleared",
		Remedy: "run the agent on the host it was registered on; a copied state folder is useless here by design. If this is that host, take new keys: " + again}
}

func (t *tpm) sign(blob, digest []byte) (signature []byte, err error) {
	p, err := parseParts(blob)
	if err != nil {
		return nil, badBlob(err)
	}
	err = t.with(func(c *connection) error {
		h, err := c.load(blob, p)
		if err != nil {
			return err
		}
		s, err := c.oneWay()
		if err != nil {
			return err
		}
		r, err := tpm2.Sign{KeyHandle: tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: s}, Digest: tpm2.TPM2BDigest{Buffer: digest},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(c)
		if err != nil {
			return err
		}
		pair, err := r.Signature.Signature.ECDSA()
		if err != nil {
			return err
		}
		signature, err = signatureOf(pair.SignatureR.Buffer, pair.SignatureS.Buffer)
		return err
	})
	return signature, err
}

func (t *tpm) agree(blob []byte, peer *ecdh.PublicKey) (secret []byte, err error) {
	p, err := parseParts(blob)
	if err != nil {
		return nil, badBlob(err)
	}
	point := peer.Bytes() // 4 ‖ x ‖ y
	err = t.with(func(c *connection) error {
		h, err := c.load(blob, p)
		if err != nil {
			return err
		}
		s, err := c.bothWays()
		if err != nil {
			return err
		}
		r, err := tpm2.ECDHZGen{KeyHandle: tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: s},
			InPoint: tpm2.New2B(tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})}.Execute(c)
		if err != nil {
			return err
		}
		product, err := r.OutPoint.Contents()
		if err != nil {
			return err
		}
		if len(product.X.Buffer) > 32 {
			return errors.New("a coordinate of more than 32 bytes")
		}
		secret = new(big.Int).SetBytes(product.X.Buffer).FillBytes(make([]byte, 32)) // some modules cut leading zeros
		return nil
	})
	return secret, err
}

// parts are what is kept of a key: name of the storage key it was made under, name of the module's endorsement key (empty: not known), and
// the TPM's public and private areas, the private one encrypted under the storage key.
type parts struct{ root, endorsement, public, private []byte }

// encode writes each part after its length in two bytes.
func (p parts) encode() (b []byte) {
	for _, part := range [][]byte{p.root, p.endorsement, p.public, p.private} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(part))), part...)
	}
	return b
}

// parseParts is the inverse of encode; nothing may follow.
func parseParts(blob []byte) (p parts, err error) {
	s := cryptobyte.String(blob)
	for _, part := range []*[]byte{&p.root, &p.endorsement, &p.public, &p.private} {
		if !s.ReadUint16LengthPrefixed((*cryptobyte.String)(part)) {
			return parts{}, errors.New("cut short")
		}
	}
	if !s.Empty() || len(p.root) == 0 || len(p.public) == 0 || len(p.private) == 0 {
		return parts{}, errors.New("something missing, or too much")
	}
	return p, nil
}

// publicOf reads a public area, which must be of a key that its TPM has made itself and keeps, for this use.
func publicOf(u use, area []byte) (*ecdsa.PublicKey, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		return nil, err
	}
	want := template(u)
	if public.Type != want.Type || public.NameAlg != want.NameAlg || public.ObjectAttributes != want.ObjectAttributes {
		return nil, errors.New("not a key of this use, or one that can leave its module")
	}
	parms, err := public.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, err
	}
	if parms.CurveID != tpm2.TPMECCNistP256 || len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, errors.New("not of P-256")
	}
	raw := make([]byte, 65)
	raw[0] = 4
	copy(raw[33-len(point.X.Buffer):], point.X.Buffer)
	copy(raw[65-len(point.Y.Buffer):], point.Y.Buffer)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
}

// explain makes an *Error of a failure; nil of none.
func (t *tpm) explain(err error) error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoDevice), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		return &Error{Kind: ErrAbsent, Cause: err, What: "looked for at " + t.device,
			Remedy: "switch the TPM 2.0 on in the firmware's settings, or give the virtual machine one; let the hardened unit see it (docs/operating/agent.md); " +
				"if it has another device, name that with register --tpm-device; without a TPM: --key-store file"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Kind: ErrDenied, Cause: err, What: t.device + fmt.Sprintf(", as uid %d", os.Geteuid()),
			Remedy: "add the agent's user to the device's group (usermod -aG tss sallyport-agent; in a unit SupplementaryGroups=tss), and start it again"}
	case errors.Is(err, syscall.EBUSY):
		return &Error{Kind: ErrFailed, Cause: err, What: "another program holds " + t.device, Remedy: "use the resource manager's device, which can be shared: " + DefaultDevice}
	case errors.Is(err, tpm2.TPMRCLockout):
		return &Error{Kind: ErrLocked, Cause: err, What: "after wrong passwords for some key of this host (the agent's keys have none)",
			Remedy: "wait until it recovers, or have its owner reset it: tpm2_dictionarylockout --clear-lockout"}
	case errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCAuthFail):
		return &Error{Kind: ErrOwned, Cause: err, What: "and no storage root key stands at 0x81000001",
			Remedy: "have the owner put one there once: tpm2_createprimary -P PASSWORD -C o -g sha256 -G ecc -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt' -c srk.ctx && tpm2_evictcontrol -P PASSWORD -C o -c srk.ctx 0x81000001"}
	case errors.Is(err, tpm2.TPMRCInitialize):
		return &Error{Kind: ErrFailed, Cause: err, What: t.device + " was not started", Remedy: "start it (a software TPM: swtpm with --flags startup-clear), or restart the host"}
	}
	return &Error{Kind: ErrFailed, Cause: err, What: t.device, Remedy: "try again; if it stays so, restart the host, and look for messages of tpm in the kernel's log"}
}
