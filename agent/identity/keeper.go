package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
)

// RenewAt is the rule of renewal: when a certificate that is valid from begin to end is to be replaced. Its serial number draws the
// moment within the sixth of its life that follows on two thirds, so that a restart changes nothing, and the agents of a fleet come one by one.
func RenewAt(begin, end time.Time, serial string) time.Time {
	sum := sha256.Sum256([]byte("renew " + serial))
	u := float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53) // uniform in [0, 1)
	return begin.Add(time.Duration(float64(end.Sub(begin)) * (renewFrom + renewWithin*u)))
}

// Keeper has a running agent's identity: the current one, the next while a renewal is under way, and keys that were replaced a moment
// ago. All methods may be called concurrently.
type Keeper struct {
	dir    string // empty: nothing is kept on disk, and nothing is counted
	unlock func()

	mu            sync.Mutex // guards the rest
	current, next *Identity
	former        []formerKey
	counter       uint64 // of the last connection
	stored        uint64 // the highest on disk
}

// formerKey is an envelope key that was replaced.
type formerKey struct {
	key   envelope.PrivateKey
	until time.Time
}

// OpenKeeper takes the state folder in hand until [Keeper.Close]; what an interrupted renewal left is put in order. Errors are those of
// [Open], and [ErrInUse].
func OpenKeeper(dir string) (*Keeper, error) {
	current, next, err := openBoth(dir)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	k := &Keeper{dir: dir, unlock: unlock, current: current, next: next}
	if k.counter, err = readCounter(dir); err != nil {
		unlock()
		return nil, damaged(dir, err)
	}
	k.stored = k.counter
	if next == nil {
		k.settle() // on a read-only disk the next start does it
	}
	return k, nil
}

// KeepInMemory returns the keeper of an identity without a folder: a renewal is forgotten with the process, and connections have no
// numbers. It is for programs that hold an agent's identity for a while.
func KeepInMemory(id *Identity) *Keeper { return &Keeper{current: id, unlock: func() {}} }

// Close lets go of the state folder.
func (k *Keeper) Close() { k.unlock() }

// Current returns the identity that the service has confirmed last.
func (k *Keeper) Current() *Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// Pending returns the identity of a renewal that the service has not confirmed; nil when there is none.
func (k *Keeper) Pending() *Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.next
}

// Show returns the identity for a new connection, and the connection's number, 0 for "not counted". The number is on the disk when Show
// returns; if that failed the error says so, and the rest is good all the same: until the disk is well again, only a restart is
// taken for a step back.
func (k *Keeper) Show() (*Identity, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := k.current
	if k.next != nil {
		id = k.next
	}
	if k.dir == "" {
		return id, 0, nil
	}
	k.counter++
	return id, k.counter, k.storeCounter()
}

// Settled stores what could not be stored before; nil when nothing is left to do.
func (k *Keeper) Settled() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dir == "" || k.stored == k.counter {
		return nil
	}
	return k.storeCounter()
}

// storeCounter writes the counter; k.mu is held.
func (k *Keeper) storeCounter() error {
	text := []byte(fmt.Sprintf("%020d\n", k.counter))
	path := filepath.Join(k.dir, counterFile)
	err := WriteFile(path, text, true)
	if err != nil {
		// A full disk has no room for a new file; the old one is of the same length, and one sector.
		err = errors.Join(err, overwrite(path, text))
		if got, readErr := readCounter(k.dir); readErr == nil && got == k.counter {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("the number of this connection could not be stored; make room, or the disk writable, before the agent is started again: %w", err)
	}
	k.stored = k.counter
	return nil
}

// overwrite replaces a file's contents by others of the same length, durably.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// readCounter returns 0 for a folder that has none yet.
func readCounter(dir string) (uint64, error) {
	text, err := readLimited(filepath.Join(dir, counterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return parseCounter(text)
}

func parseCounter(text []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(bytes.TrimSuffix(text, []byte("\n"))), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s holds no number", counterFile)
	}
	return n, nil
}

// Fresh is a renewal that has been asked for: new keys, in memory alone.
type Fresh struct {
	store KeyStore
	keys  Keys
	// CSR is the request in DER.
	CSR []byte
}

// EnvelopeKey returns the public half of the new envelope key, KeyStore the kind of store of the new keys.
func (f *Fresh) EnvelopeKey() envelope.PublicKey { return f.keys.Envelope.Public() }
func (f *Fresh) KeyStore() string                { return f.store.Kind() }

// Fresh makes keys for a renewal, in the store that the current ones are in.
func (k *Keeper) Fresh() (*Fresh, error) {
	store := k.Current().store
	keys, err := store.Generate()
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, keys.TLS)
	if err != nil {
		return nil, fmt.Errorf("making the certificate request: %w", err)
	}
	return &Fresh{store: store, keys: keys, CSR: csr}, nil
}

// Accept checks the certificate that the service signed for f and writes the next identity to the disk; from then on connections are
// opened with it. Errors: [ErrAnswer] for a certificate that does not fit, [ErrUnwritable] or [ErrPermissions] for the disk; nothing
// has changed then.
func (k *Keeper) Accept(f *Fresh, chain [][]byte, now time.Time) error {
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return renewalError(err)
		}
		certs = append(certs, cert)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	next, err := assemble(k.current.facts, f.store, f.keys, certs)
	if err == nil {
		err = next.CheckTime(now)
	}
	if err != nil {
		return renewalError(err)
	}
	if k.dir != "" {
		dir := filepath.Join(k.dir, nextFolder)
		if err := os.RemoveAll(dir); err != nil {
			return unwritable(k.dir, err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return unwritable(k.dir, err)
		}
		if err := write(dir, next); err != nil {
			return unwritable(k.dir, err)
		}
		if err := syncFolder(k.dir); err != nil {
			return unwritable(k.dir, err)
		}
	}
	k.next = next
	return nil
}

func renewalError(cause error) error {
	return &Error{Kind: ErrAnswer, What: "the renewed certificate", Cause: cause, Remedy: "the agent goes on with the one it has, and asks again"}
}

// Confirmed says that the service welcomed a certificate. If it is the next one, it becomes the current one; the error is of the disk, and
// no reason to stop: the next start finds what is left to do.
func (k *Keeper) Confirmed(serial string, now time.Time) (renewed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == nil || k.next.Serial() != serial {
		return false, nil
	}
	live := k.former[:0]
	for _, f := range k.former {
		if now.Before(f.until) {
			live = append(live, f)
		}
	}
	k.former = append(live, formerKey{k.current.envelope, now.Add(keysKept)})
	k.current, k.next = k.next, nil
	return true, k.promote()
}

// promote writes the current identity to its place and removes the folder next; k.mu is held, or nobody else has k.
func (k *Keeper) promote() error {
	if k.dir == "" {
		return nil
	}
	if err := write(k.dir, k.current); err != nil {
		return unwritable(k.dir, err)
	}
	return k.sweep()
}

// settle finishes what an interrupted promotion left.
func (k *Keeper) settle() {
	if _, err := openOne(k.dir); err != nil {
		_ = k.promote() // the current identity stands in next; the next start tries again
		return
	}
	_ = k.sweep()
}

func (k *Keeper) sweep() error { return os.RemoveAll(filepath.Join(k.dir, nextFolder)) }

// Rejected says that the service refused a certificate for good. If it is the next one, that is thrown away, and the current one is to
// be tried: true.
func (k *Keeper) Rejected(serial string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == nil || k.next.Serial() != serial {
		return false
	}
	k.next = nil
	if k.dir != "" {
		_ = k.sweep() // if it stays, the next start meets the same refusal and comes here again
	}
	return true
}

// EnvelopeKey returns the key that an envelope names: the current one, that of a renewal under way, or one replaced within the last
// two minutes.
func (k *Keeper) EnvelopeKey(id string, now time.Time) (envelope.PrivateKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.envelope.Public().ID() == id {
		return k.current.envelope, true
	}
	if k.next != nil && k.next.envelope.Public().ID() == id {
		return k.next.envelope, true
	}
	for _, f := range k.former {
		if f.key.Public().ID() == id && now.Before(f.until) {
			return f.key, true
		}
	}
	return envelope.PrivateKey{}, false
}
