package hardware

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// DefaultDevice is the key storage provider that keeps keys in the host's TPM.
const DefaultDevice = "Microsoft Platform Crypto Provider"

// What CNG calls things (ncrypt.h, bcrypt.h). The pointers live as long as the program, as those that are handed over must.
var (
	cngAlgorithm = map[use]*uint16{signs: wide("ECDSA_P256"), agrees: wide("ECDH_P256")}
	// cngOpaque is a key as its provider wraps it: of use to that provider alone. cngRaw gives a secret as it is (Windows 10 and later).
	cngOpaque, cngPoint, cngRaw = wide("OpaqueTransport"), wide("ECCPUBLICBLOB"), wide("TRUNCATE")
)

func wide(s string) *uint16 {
	p, err := windows.UTF16PtrFromString(s)
	if err != nil {
		panic(err) // a constant with a NUL
	}
	return p
}

// silent (NCRYPT_SILENT_FLAG): a service has nobody to ask.
const silent = 0x40

// What the provider answers (winerror.h).
const (
	nteBadData        = syscall.Errno(0x80090005)
	nteDeviceNotReady = syscall.Errno(0x80090030)
	nteDeviceNotFound = syscall.Errno(0x80090035)
	ntePermission     = syscall.Errno(0x80090010)
	nteNotSupported   = syscall.Errno(0x80090029)
	pcpDeviceNotReady = syscall.Errno(0x80290401)
	tbsNoTPM          = syscall.Errno(0x8028400f)
	tpmLockout        = syscall.Errno(0x80280921)
	winAccessDenied   = syscall.Errno(0x80070005)
	maxAnswer         = maxBlob // of any answer; all are smaller
	lookAtTPM         = "switch the TPM 2.0 on in the firmware's settings and look at it with tpm.msc (Get-Tpm in PowerShell); without a TPM: --key-store file"
)

var (
	dll           = windows.NewLazySystemDLL("ncrypt.dll")
	procProvider  = dll.NewProc("NCryptOpenStorageProvider")
	procCreate    = dll.NewProc("NCryptCreatePersistedKey")
	procFinalize  = dll.NewProc("NCryptFinalizeKey")
	procExport    = dll.NewProc("NCryptExportKey")
	procImport    = dll.NewProc("NCryptImportKey")
	procSign      = dll.NewProc("NCryptSignHash")
	procAgreement = dll.NewProc("NCryptSecretAgreement")
	procDerive    = dll.NewProc("NCryptDeriveKey")
	procFree      = dll.NewProc("NCryptFreeObject")
)

// ncrypt reaches the TPM through Windows' platform key provider. Keys have no name there: they are made, exported as the provider
// wraps them, and imported for use, so that the state folder decides which exist, as everywhere.
type ncrypt struct {
	name     string
	provider uintptr // 0: not open yet
}

func newBackend(provider string) backend { return &ncrypt{name: provider} }

// call calls a function of ncrypt.dll, which returns a SECURITY_STATUS. What the arguments point to stays where it is meanwhile.
//
//go:uintptrescapes
func call(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return err
	}
	if status, _, _ := p.Call(args...); uint32(status) != 0 {
		return syscall.Errno(uint32(status))
	}
	return nil
}

func free(handle uintptr) { _ = call(procFree, handle) }

// open returns the provider.
func (n *ncrypt) open() (uintptr, error) {
	if n.provider != 0 {
		return n.provider, nil
	}
	name, err := windows.UTF16PtrFromString(n.name)
	if err != nil {
		return 0, err
	}
	var provider uintptr
	if err := call(procProvider, uintptr(unsafe.Pointer(&provider)), uintptr(unsafe.Pointer(name)), 0); err != nil {
		return 0, err
	}
	n.provider = provider
	return provider, nil
}

// export returns a key in one of CNG's forms.
func export(key uintptr, form *uint16) ([]byte, error) {
	b := make([]byte, maxAnswer)
	var n uint32
	if err := call(procExport, key, 0, uintptr(unsafe.Pointer(form)), 0, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		uintptr(unsafe.Pointer(&n)), silent); err != nil {
		return nil, err
	}
	return cut(b, n)
}

// cut returns the first n bytes of b.
func cut(b []byte, n uint32) ([]byte, error) {
	if int(n) > len(b) {
		return nil, errCNG
	}
	return b[:n], nil
}

// take has the provider take a key in; the caller frees the handle.
func take(provider uintptr, form *uint16, b []byte) (key uintptr, err error) {
	if len(b) == 0 {
		return 0, nteBadData
	}
	err = call(procImport, provider, 0, uintptr(unsafe.Pointer(form)), 0, uintptr(unsafe.Pointer(&key)), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), silent)
	return key, err
}

func (n *ncrypt) create(u use) (blob []byte, err error) {
	provider, err := n.open()
	if err != nil {
		return nil, n.explain(err)
	}
	var key uintptr
	if err := call(procCreate, provider, uintptr(unsafe.Pointer(&key)), uintptr(unsafe.Pointer(cngAlgorithm[u])), 0, 0, 0); err != nil {
		return nil, n.explain(err)
	}
	defer func() { free(key) }()
	if err := call(procFinalize, key, silent); err != nil {
		return nil, n.explain(err)
	}
	blob, err = export(key, cngOpaque)
	return blob, n.explain(err)
}

// with runs f with a key that is kept as a blob.
func (n *ncrypt) with(blob []byte, f func(provider, key uintptr) error) error {
	provider, err := n.open()
	if err != nil {
		return n.explain(err)
	}
	key, err := take(provider, cngOpaque, blob)
	if err != nil {
		return n.explain(&refusedBlob{err})
	}
	defer free(key)
	return n.explain(f(provider, key))
}

// refusedBlob is a key that the provider does not open: made by another one, or before this one was cleared.
type refusedBlob struct{ cause error }

func (e *refusedBlob) Error() string { return e.cause.Error() }
func (e *refusedBlob) Unwrap() error { return e.cause }

func (n *ncrypt) load(u use, blob []byte) (public *ecdsa.PublicKey, err error) {
	err = n.with(blob, func(_, key uintptr) error {
		b, err := export(key, cngPoint)
		if err != nil {
			return err
		}
		if public, err = parseCNGPublic(u, b); err != nil {
			return badBlob(err)
		}
		return nil
	})
	return public, err
}

func (n *ncrypt) sign(blob, digest []byte) (signature []byte, err error) {
	err = n.with(blob, func(_, key uintptr) error {
		b := make([]byte, maxAnswer)
		var size uint32
		if err := call(procSign, key, 0, uintptr(unsafe.Pointer(&digest[0])), uintptr(len(digest)), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			uintptr(unsafe.Pointer(&size)), silent); err != nil {
			return err
		}
		if b, err = cut(b, size); err == nil {
			signature, err = cngSignature(b)
		}
		return err
	})
	return signature, err
}

func (n *ncrypt) agree(blob []byte, peer *ecdh.PublicKey) (secret []byte, err error) {
	err = n.with(blob, func(provider, key uintptr) error {
		other, err := take(provider, cngPoint, cngPublic(agrees, peer.Bytes()))
		if err != nil {
			return err
		}
		defer free(other)
		var agreed uintptr
		if err := call(procAgreement, key, other, uintptr(unsafe.Pointer(&agreed)), silent); err != nil {
			return err
		}
		defer func() { free(agreed) }()
		b := make([]byte, maxAnswer)
		defer clear(b)
		var size uint32
		if err := call(procDerive, agreed, uintptr(unsafe.Pointer(cngRaw)), 0, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			uintptr(unsafe.Pointer(&size)), silent); err != nil {
			return err
		}
		raw, err := cut(b, size)
		if err == nil {
			secret, err = cngSecret(raw)
		}
		return err
	})
	return secret, err
}

// explain makes an *Error of a failure; nil of none.
func (n *ncrypt) explain(err error) error {
	var known *Error
	var refused *refusedBlob
	is := func(statuses ...syscall.Errno) bool {
		for _, s := range statuses {
			if errors.Is(err, s) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case is(nteDeviceNotReady, nteDeviceNotFound, pcpDeviceNotReady, tbsNoTPM, nteNotSupported):
		return &Error{Kind: ErrAbsent, Cause: err, What: "asked " + n.name, Remedy: lookAtTPM}
	case is(tpmLockout):
		return &Error{Kind: ErrLocked, Cause: err, What: "after wrong passwords for some key of this host (the agent's keys have none)",
			Remedy: "wait until it recovers, or reset it as administrator (tpm.msc)"}
	case is(ntePermission, winAccessDenied), errors.Is(err, fs.ErrPermission):
		return &Error{Kind: ErrDenied, Cause: err, What: n.name, Remedy: "run as the service's account, or as administrator"}
	case errors.As(err, &refused):
		return &Error{Kind: ErrForeign, Cause: err, What: "the state folder was copied from another host, or this host's TPM was exchanged or cleared",
			Remedy: "run the agent on the host it was registered on; a copied state folder is useless here by design. If this is that host, take new keys: " +
				"sallyport-agent register --again --key-store tpm, with the token that sallyport agent release NAME shows in the service"}
	}
	return &Error{Kind: ErrFailed, Cause: err, What: fmt.Sprintf("%s gave an error", n.name), Remedy: "try again; if it stays so, restart the host and look at the TPM with tpm.msc"}
}
