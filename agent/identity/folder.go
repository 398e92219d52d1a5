package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-auth/sallyport/envelope"
)

// The files of the state folder, in the order in which they are written: agent.json says that the others are complete.
const (
	tlsKeyFile      = "tls.key"
	envelopeKeyFile = "envelope.key"
	certificateFile = "certificate.pem"
	factsFile       = "agent.json"

	// nextFolder holds the same files of the identity that takes over; counterFile the number of the last connection.
	nextFolder  = "next"
	counterFile = "counter"
)

var files = []string{tlsKeyFile, envelopeKeyFile, certificateFile, factsFile}

const (
	tlsKeyBlock      = "PRIVATE KEY" // RFC 5958: PKCS #8
	envelopeKeyBlock = "SALLYPORT ENVELOPE PRIVATE KEY"
	certificateBlock = "CERTIFICATE"
	// newPrefix begins the names of files that are being written.
	newPrefix = ".new-"
)

// record is agent.json.
type record struct {
	Version int `json:"version"`
	Facts
	// EnvelopeKeyID ties envelope.key to this registration, as the certificate ties tls.key.
	EnvelopeKeyID string `json:"envelope_key_id"`
	// KeyStore is the kind of store that the two key files are of; empty means files.
	KeyStore string `json:"key_store,omitempty"`
	// KeyDevice is the device of that store; empty means the usual one.
	KeyDevice string `json:"key_device,omitempty"`
}

// CheckFolder reports whether dir and the files of an identity in it belong to this process's user and to nobody else. The
// error is an [ErrPermissions], which names path, what was found, and the command that cures it; [ErrNotRegistered] when
// dir does not exist. On Windows only the kinds of the files are checked: see folder_windows.go.
func CheckFolder(dir string) error {
	info, err := os.Stat(dir) // follows a link: systemd's StateDirectory is one with DynamicUser
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notRegistered(dir)
	case err != nil:
		return unreadable(dir, err)
	case !info.IsDir():
		return &Error{Kind: ErrPermissions, What: dir + " is not a folder", Remedy: "name another folder with --state"}
	}
	if err := checkAccess(dir, info, 0o700); err != nil {
		return err
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return unreadable(path, err)
		}
		if !info.Mode().IsRegular() {
			return &Error{Kind: ErrPermissions, What: path + " is not an ordinary file",
				Remedy: "remove it, and put the file itself there; or register again: sallyport-agent register --again --state " + dir}
		}
		if err := checkAccess(path, info, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Open reads the identity in dir, after [CheckFolder]. It does not look at the certificate's time: see
// [Identity.CheckTime]. Errors: [ErrNotRegistered], [ErrPermissions], [ErrKeyStore], [ErrKeysLost], [ErrDamaged].
func Open(dir string) (*Identity, error) {
	current, _, err := openBoth(dir)
	return current, err
}

// openBoth reads the identity in dir and the next one, if a renewal is under way; nil if none is. A next one that is complete stands
// in for a current one that is not: it was being put into its place.
func openBoth(dir string) (current, next *Identity, err error) {
	current, err = openOne(dir)
	if errors.Is(err, ErrPermissions) || ofDevice(err) {
		return nil, nil, err
	}
	next, nextErr := openOne(filepath.Join(dir, nextFolder))
	switch {
	case errors.Is(nextErr, ErrPermissions), ofDevice(nextErr): // a device that is away for a moment costs no renewal
		return nil, nil, nextErr
	case nextErr != nil: // absent, or not whole: nobody has used it
		return current, nil, err
	case err != nil:
		return next, nil, nil
	case next.facts.AgentID != current.facts.AgentID || next.Serial() == current.Serial():
		return current, nil, nil
	}
	return current, next, nil
}

// openOne reads the four files of a folder.
func openOne(dir string) (*Identity, error) {
	if err := CheckFolder(dir); err != nil {
		return nil, err
	}
	present, err := list(dir)
	switch {
	case err != nil:
		return nil, err
	case len(present) == 0:
		return nil, notRegistered(dir)
	case len(present) < len(files):
		var missing []string
		for _, name := range files {
			if !present[name] {
				missing = append(missing, name)
			}
		}
		return nil, damaged(dir, fmt.Errorf("half-written: %s missing, as after a registration that was interrupted",
			strings.Join(missing, ", ")))
	}
	text := map[string][]byte{}
	for _, name := range files {
		if text[name], err = readLimited(filepath.Join(dir, name)); err != nil {
			return nil, damaged(dir, err)
		}
	}
	id, err := parse(text)
	if ofDevice(err) {
		return nil, err
	}
	if err != nil {
		return nil, damaged(dir, err)
	}
	return id, nil
}

// parse puts an identity together from the contents of the four files.
func parse(text map[string][]byte) (*Identity, error) {
	rec, err := parseRecord(text[factsFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", factsFile, err)
	}
	store, err := storeOf(rec.KeyStore, rec.KeyDevice)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", factsFile, err)
	}
	keys, err := store.Decode(text[tlsKeyFile], text[envelopeKeyFile])
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(text[certificateFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificateFile, err)
	}
	if got := keys.Envelope.Public().ID(); got != rec.EnvelopeKeyID {
		return nil, fmt.Errorf("half-written: %s is key %s, but %s speaks of %s", envelopeKeyFile, got, factsFile, rec.EnvelopeKeyID)
	}
	return assemble(rec.Facts, store, keys, chain)
}

// parseRecord reads agent.json: no unknown fields, nothing behind it, no newer format.
func parseRecord(text []byte) (record, error) {
	var first struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &first); err != nil {
		return record{}, err
	}
	if first.Version < 1 || first.Version > formatVersion {
		return record{}, fmt.Errorf("format version %d, and this program reads 1 to %d", first.Version, formatVersion)
	}
	var rec record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		return record{}, err
	}
	return rec, rec.check()
}

// recordedStore tells the key store of the identity in dir without opening its keys; both are empty where nothing can be read.
func recordedStore(dir string) (kind, device string) {
	text, err := readLimited(filepath.Join(dir, factsFile))
	if err != nil {
		return "", ""
	}
	rec, err := parseRecord(text)
	if err != nil {
		return "", ""
	}
	return rec.KeyStore, rec.KeyDevice
}

func parseTLSKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := soleBlock(text, tlsKeyBlock)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS #8 key") // the cause could quote the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return key, nil
}

func parseEnvelopeKey(text []byte) (envelope.PrivateKey, error) {
	raw, err := soleBlock(text, envelopeKeyBlock)
	if err != nil {
		return envelope.PrivateKey{}, err
	}
	key, err := envelope.ParsePrivateKey(raw)
	if err != nil {
		return envelope.PrivateKey{}, errors.New("not an envelope key")
	}
	return key, nil
}

// soleBlock returns the contents of the one PEM block that text may hold.
func soleBlock(text []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("not one PEM block %q", kind)
	}
	return block.Bytes, nil
}

// contents is the inverse of parse.
func contents(id *Identity) (map[string][]byte, error) {
	tlsKey, opener, err := id.store.Encode(Keys{id.key, id.envelope, id.kept})
	if err != nil {
		return nil, err
	}
	rec := record{Version: formatVersion, Facts: id.facts, EnvelopeKeyID: id.envelope.Public().ID()}
	if kind := id.store.Kind(); kind != KindFile {
		rec.KeyStore, rec.KeyDevice = kind, id.store.Device() // programs of before key stores read files, and refuse what they do not know
	}
	facts, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		tlsKeyFile:      tlsKey,
		envelopeKeyFile: opener,
		certificateFile: encodeChain(id.chain),
		factsFile:       append(facts, '\n'),
	}, nil
}

// encodeChain is the inverse of parseChain.
func encodeChain(chain []*x509.Certificate) (text []byte) {
	for _, cert := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: cert.Raw})...)
	}
	return text
}

// Save writes id into dir, which is made if need be; with replace over another identity, without it not. Each file appears
// whole or not at all, and agent.json last. Errors: [ErrPermissions], [ErrExists].
func Save(dir string, id *Identity, replace bool) error {
	if err := prepare(dir, replace); err != nil {
		return err
	}
	// What was under way for the identity before must not be taken up for this one.
	for _, name := range []string{nextFolder, counterFile} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return unreadable(filepath.Join(dir, name), err)
		}
	}
	return write(dir, id)
}

// write puts the four files into dir.
func write(dir string, id *Identity) error {
	text, err := contents(id)
	if err != nil {
		return err
	}
	defer clear(text[tlsKeyFile])
	defer clear(text[envelopeKeyFile])
	// While old and new files stand side by side, the folder must not look complete.
	if err := os.Remove(filepath.Join(dir, factsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old %s: %w", factsFile, err)
	}
	for _, name := range files {
		if err := WriteFile(filepath.Join(dir, name), text[name], true); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes dir, checks it, proves that it can be written to, and sweeps what an interrupted write left. It is called
// before a token is spent.
func prepare(dir string, replace bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unreadable(dir, err)
	}
	if err := CheckFolder(dir); err != nil {
		return err
	}
	present, err := list(dir)
	if err != nil {
		return err
	}
	if len(present) > 0 && !replace {
		what := dir + " holds an identity"
		if len(present) < len(files) {
			what = dir + " holds parts of an identity"
		}
		return &Error{Kind: ErrExists, What: what,
			Remedy: "to throw it away and take a new one, add --replace; to keep it, name another folder with --state"}
	}
	left, err := filepath.Glob(filepath.Join(dir, newPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return unreadable(path, err)
		}
	}
	probe, err := os.CreateTemp(dir, newPrefix+"*")
	if err != nil {
		return unwritable(dir, err)
	}
	// Written to the disk, so that a full one is met now and not when the token has been spent.
	_, writeErr := probe.Write(make([]byte, probeSize))
	if err := errors.Join(writeErr, probe.Sync(), probe.Close(), os.Remove(probe.Name())); err != nil {
		return unwritable(dir, err)
	}
	return nil
}

// WriteFile puts text at path, mode 0600, so that a reader sees the old contents or the new and nothing between: a
// temporary file beside it, renamed. With durable set it is on the disk when WriteFile returns.
func WriteFile(path string, text []byte, durable bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, newPrefix+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(text); err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if durable {
		return syncFolder(dir)
	}
	return nil
}

// list returns which files of an identity exist in dir.
func list(dir string) (map[string]bool, error) {
	present := map[string]bool{}
	for _, name := range files {
		path := filepath.Join(dir, name)
		switch _, err := os.Lstat(path); {
		case err == nil:
			present[name] = true
		case !errors.Is(err, fs.ErrNotExist):
			return nil, unreadable(path, err)
		}
	}
	return present, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return text, nil
}

func notRegistered(dir string) error {
	return &Error{Kind: ErrNotRegistered, What: "no identity in " + dir,
		Remedy: "make a token in the service (agent token create) and run: sallyport-agent register --token-file FILE, with the --config (and --instance) of this agent, or --service URL --state " + dir}
}

func damaged(dir string, cause error) error {
	return &Error{Kind: ErrDamaged, What: dir, Cause: cause,
		Remedy: "run sallyport agent release NAME in the service, and with the token it shows: sallyport-agent register --again --service URL --token-file FILE --state " + dir}
}

// unwritable is a folder in which this user may write and still cannot; other failures are those of unreadable.
func unwritable(dir string, cause error) error {
	if errors.Is(cause, fs.ErrPermission) {
		return unreadable(dir, cause)
	}
	return &Error{Kind: ErrUnwritable, What: dir, Cause: cause,
		Remedy: "make room if the disk is full, mount it writable if it is read-only, or name another folder with --state"}
}

func unreadable(path string, cause error) error {
	return &Error{Kind: ErrPermissions, Cause: cause,
		Remedy: "run as the user that " + path + " belongs to, or give it to this one (" + whoami() + ")"}
}
