package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/service/localca"
)

// certificateFiles holds the server certificate of two files and takes a renewed one without a restart. A broken renewal is
// logged when it appears, tried again at every look, and the certificate in use stays.
type certificateFiles struct {
	certificate, key string
	log              *slog.Logger
	current          atomic.Pointer[tls.Certificate]
	loaded           stamps // of the files that current came from
	complaint        string // what was logged last about a renewal, so that it is not said every minute
}

// stamps are times of change and sizes of both files; a missing file has zeros.
type stamps [2]struct {
	at   time.Time
	size int64
}

// newCertificateFiles reads the pair, and refuses to begin with a broken one.
func newCertificateFiles(certificate, key string, log *slog.Logger) (*certificateFiles, error) {
	f := &certificateFiles{certificate: certificate, key: key, log: log}
	f.loaded = f.stamps()
	pair, err := f.load(time.Now())
	if err != nil {
		return nil, err
	}
	f.current.Store(pair)
	return f, nil
}

// load reads both files and refuses a key that others can read, a pair that does not match, and a certificate out of its time.
func (f *certificateFiles) load(now time.Time) (*tls.Certificate, error) {
	info, err := os.Stat(f.key)
	if err != nil {
		return nil, fmt.Errorf("tls.key_file: %w. Give a file that this user (uid %d) can read", err, os.Getuid())
	}
	if mode := info.Mode().Perm(); os.PathSeparator == '/' && mode&0o077 != 0 {
		return nil, fmt.Errorf("tls.key_file: %s has mode %04o: others on this machine could read the key. Run: chmod 600 %s", f.key, mode, f.key)
	}
	certificate, err := os.ReadFile(f.certificate)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate_file: %w. Give a file that this user (uid %d) can read", err, os.Getuid())
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return nil, fmt.Errorf("tls.key_file: %w. Give a file that this user (uid %d) can read", err, os.Getuid())
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate_file: %s and tls.key_file %s: %w. Give the certificate with its chain and the key that belongs to it, both as PEM",
			f.certificate, f.key, err)
	}
	if leaf := pair.Leaf; now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("tls.certificate_file: the certificate in %s expired on %s. Renew it", f.certificate, leaf.NotAfter.Format(time.RFC3339))
	} else if now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("tls.certificate_file: the certificate in %s is valid only from %s. Check this machine's clock", f.certificate, leaf.NotBefore.Format(time.RFC3339))
	}
	return &pair, nil
}

func (f *certificateFiles) stamps() (s stamps) {
	for i, name := range []string{f.certificate, f.key} {
		if info, err := os.Stat(name); err == nil {
			s[i].at, s[i].size = info.ModTime(), info.Size()
		}
	}
	return s
}

// look takes files that have changed since they were loaded. It looks at the stamps before it reads, so that a change in
// between is met by the next look.
func (f *certificateFiles) look(now time.Time) {
	seen := f.stamps()
	if seen == f.loaded {
		f.complaint = ""
		return
	}
	pair, err := f.load(now)
	if err != nil {
		if f.complaint != err.Error() {
			f.complaint = err.Error()
			f.log.Error("changed certificate files are not usable; the old certificate stays", "error", err, "not_after", f.current.Load().Leaf.NotAfter)
		}
		return
	}
	f.current.Store(pair)
	f.loaded, f.complaint = seen, ""
	f.log.Info("server certificate renewed from its files", "not_after", pair.Leaf.NotAfter)
}

// Get returns the certificate in use.
func (f *certificateFiles) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// Run looks for renewed files until ctx ends.
func (f *certificateFiles) Run(ctx context.Context) error {
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			f.look(now)
		}
	}
}

// localCertificate is a server certificate of the evaluation CA that is made anew before it ends.
type localCertificate struct {
	ca      *localca.CA
	hosts   []string
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
}

func newLocalCertificate(ca *localca.CA, hosts []string, log *slog.Logger) (*localCertificate, error) {
	l := &localCertificate{ca: ca, hosts: hosts, log: log}
	return l, l.renew(time.Now())
}

// renew asks the CA, which hands out the certificate it has while that is good.
func (l *localCertificate) renew(now time.Time) error {
	certificate, err := l.ca.Server(l.hosts, now)
	if err != nil {
		return err
	}
	l.current.Store(&certificate)
	return nil
}

// Get returns the certificate in use.
func (l *localCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.current.Load(), nil
}

// Run asks again now and then until ctx ends.
func (l *localCertificate) Run(ctx context.Context) error {
	tick := time.NewTicker(localCertificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if err := l.renew(now); err != nil {
				l.log.Error("the evaluation's server certificate cannot be renewed", "error", err)
			}
		}
	}
}
