package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/service/localca"
)

// certificateFiles holds the server certificate of two files and takes a renewed one without a restart. A broken renewal is
// logged once a poll and the certificate in use stays.
type certificateFiles struct {
	certificate, key string
	log              *slog.Logger
	current          atomic.Pointer[tls.Certificate]
	stamp            [2]time.Time
}

func newCertificateFiles(certificate, key string, log *slog.Logger) (*certificateFiles, error) {
	f := &certificateFiles{certificate: certificate, key: key, log: log}
	return f, f.load(time.Now())
}

// load reads both files and refuses a key that others can read, a pair that does not match, and a certificate out of its time.
func (f *certificateFiles) load(now time.Time) error {
	info, err := os.Stat(f.key)
	if err != nil {
		return fmt.Errorf("tls.key_file: %w", err)
	}
	if mode := info.Mode().Perm(); os.PathSeparator == '/' && mode&0o077 != 0 {
		return fmt.Errorf("tls.key_file: %s has mode %#o: others on this machine could read the key. Run: chmod 600 %s", f.key, mode, f.key)
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return fmt.Errorf("tls.certificate_file: %s with %s: %w", f.certificate, f.key, err)
	}
	if leaf := pair.Leaf; now.After(leaf.NotAfter) {
		return fmt.Errorf("tls.certificate_file: the certificate in %s expired on %s. Renew it", f.certificate, leaf.NotAfter.Format(time.RFC3339))
	} else if now.Before(leaf.NotBefore) {
		return fmt.Errorf("tls.certificate_file: the certificate in %s is valid only from %s. Check this machine's clock", f.certificate, leaf.NotBefore.Format(time.RFC3339))
	}
	f.current.Store(&pair)
	f.stamp = f.stamps()
	return nil
}

// stamps are the times of change of both files; a missing file has the zero time.
func (f *certificateFiles) stamps() (s [2]time.Time) {
	for i, name := range []string{f.certificate, f.key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = info.ModTime()
		}
	}
	return s
}

// Get returns the certificate in use.
func (f *certificateFiles) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := f.current.Load(); c != nil {
		return c, nil
	}
	return nil, fs.ErrNotExist
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
			if f.stamps() == f.stamp {
				continue
			}
			if err := f.load(now); err != nil {
				f.log.Error("changed certificate files are not usable; the old certificate stays", "error", err)
				continue
			}
			f.log.Info("server certificate renewed from its files", "not_after", f.current.Load().Leaf.NotAfter)
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
