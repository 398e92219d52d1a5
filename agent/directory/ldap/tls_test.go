package ldap_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestTLSIsVerified(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name    string
		cert    tls.Certificate
		roots   *x509.CertPool
		remedy  string
		healthy bool
	}{
		{"good", a.issue(t, nil), a.pool(), "", true},
		{"foreign CA", foreign.issue(t, nil), a.pool(), "not trusted here", false},
		{"system's CAs", a.issue(t, nil), nil, "not trusted here", false},
		{"another name", a.issue(t, func(c *x509.Certificate) { c.IPAddresses = nil }), a.pool(), "another name", false},
		{"expired", a.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), a.pool(), "expired", false},
		{"for clients", a.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), a.pool(), "cannot be used", false},
		{"negative serial", a.negativeSerial(t), a.pool(), "negative serial number", false},
		{"no alternative name", a.issue(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil }), a.pool(), "certificate", false},
	} {
		for _, startTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, StartTLS %v", c.name, startTLS), func(t *testing.T) {
				s := begin(t, a, func(s *scripted) {
					s.startTLS, s.config = startTLS, &tls.Config{Certificates: []tls.Certificate{c.cert}}
				})
				var log bytes.Buffer
				// The system's CAs are read in the first handshake, which takes more than a second on a busy machine.
				v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: c.roots, DialTimeout: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
				check := ask("n", "canary")
				check.FenceBy = time.Now().Add(time.Minute)
				_, err := v.Validate(t.Context(), check.Check)
				st := v.Status()[0]
				if c.healthy {
					if err != nil || st.State != ldap.Serving {
						t.Errorf("%v, %+v", err, st)
					}
					return
				}
				e := trouble(t, err)
				if e.Fenced || e.Code != wire.DirectoryUnreachable || check.Fences.Load() != 0 || len(bindsOf(s)) != 0 {
					t.Errorf("%v, sent %q", err, bindsOf(s))
				}
				if !strings.Contains(st.Remedy, c.remedy) || st.LastError == "" || st.State != ldap.Down {
					t.Errorf("%+v", st)
				}
				if !strings.Contains(log.String(), c.remedy) || strings.Contains(log.String(), "canary") {
					t.Errorf("log: %s", log.String())
				}
			})
		}
	}
}

// Anybody on the way can show a certificate with as many names as fit into a handshake. Nothing grows with it: not the log, nor the status that is read
// from a file.
func TestCertificateOfManyNames(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = nil, nil
		for i := range 90 { // of more, the library tells the number alone
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("host-%06d.%scorp.example", i, strings.Repeat("a-long-label.", 15)))
		}
	})
	s := begin(t, a, func(s *scripted) { s.config = &tls.Config{Certificates: []tls.Certificate{cert}} })
	var log bytes.Buffer
	v := configured(t, ldap.Config{Servers: []string{strings.Replace(s.url(), "127.0.0.1", "localhost", 1)}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	st := v.Status()[0]
	if n := len(err.Error()) + len(st.LastError) + len(st.Remedy) + log.Len(); n > 10_000 {
		t.Errorf("%d bytes of words: error %d, status %d and %d, log %d", n, len(err.Error()), len(st.LastError), len(st.Remedy), log.Len())
	}
	if !strings.Contains(st.LastError, "x509") || !strings.Contains(st.Remedy, "host-000000.a-long-label") || !strings.Contains(st.Remedy, "another name") {
		t.Errorf("%+v", st)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(s *scripted) { s.config.MaxVersion = tls.VersionTLS11; s.config.MinVersion = tls.VersionTLS10 })
	v := validator(t, a, false, s.url())
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	if e := trouble(t, err); e.Fenced || len(bindsOf(s)) != 0 {
		t.Errorf("%v", err)
	}
}

// A server that refuses StartTLS, or speaks no TLS at all, never sees a password.
func TestNoTLSNoPassword(t *testing.T) {
	a := newAuthority(t)
	plain := begin(t, a, func(s *scripted) { s.startTLS = true })
	v := validator(t, a, false, "ldaps://"+plain.listener.Addr().String())
	_, err := v.Validate(t.Context(), ask("n", "p").Check)
	if e := trouble(t, err); e.Fenced || len(bindsOf(plain)) != 0 {
		t.Errorf("%v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		c.Write(response(1, goldap.ApplicationExtendedResponse, 52, "TLS is not available"))
		m, _ := c.Read(buf[n:])
		got <- buf[:n+m]
	}()
	v = validator(t, a, false, "ldap://"+l.Addr().String())
	_, err = v.Validate(t.Context(), ask("n", "canary").Check)
	if e := trouble(t, err); e.Fenced || !strings.Contains(err.Error(), "TLS is not available") {
		t.Errorf("%v", err)
	}
	if sent := <-got; bytes.Contains(sent, []byte("canary")) {
		t.Errorf("sent %q", sent)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []ldap.Config{
		{},
		{Servers: []string{""}},
		{Servers: []string{"ldapi:///x"}},
		{Servers: []string{"https://dc1"}},
		{Servers: []string{"ldaps://"}},
		{Servers: []string{"ldaps://dc1:0"}},
		{Servers: []string{"ldaps://dc1:70000"}},
		{Servers: []string{"ldaps://dc1:ldaps"}},
		{Servers: []string{"ldaps://user:password@dc1"}},
		{Servers: []string{"ldaps://dc1/DC=corp"}},
		{Servers: []string{"ldaps://dc1?x"}},
		{Servers: []string{"dc1 dc2"}},
		{Servers: []string{"dc1", "ldaps://dc1:636"}},
		{Servers: []string{"dc1"}, Connections: -1},
		{Servers: []string{"dc1"}, BindTimeout: -1},
	} {
		if _, err := ldap.New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	v, err := ldap.New(ldap.Config{Servers: []string{"dc1.corp.example", "ldap://dc2.corp.example.", "ldaps://dc3:3269/", "[::1]:1636"}})
	must(t, err)
	var got []string
	for _, s := range v.Status() {
		if s.State != ldap.Untried {
			t.Errorf("%+v", s)
		}
		got = append(got, s.Address)
	}
	if d := cmp.Diff([]string{"dc1.corp.example:636", "dc2.corp.example:389", "dc3:3269", "[::1]:1636"}, got); d != "" {
		t.Error(d)
	}
}
