package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

// Each way in which a connection fails has its own remedy, wrapped as the LDAP library wraps it or not.
func TestRemedy(t *testing.T) {
	certificate := &x509.Certificate{DNSNames: []string{"dc1.corp.example", "dc1"}}
	for _, c := range []struct {
		err  error
		says string // "" for nothing
	}{
		{nil, ""},
		{errors.New("something else"), ""},
		{foreign{}, "must be of one domain"},
		{stranger{}, "Correct --domain"},
		{errors.New("x509: negative serial number"), "x509negativeserial=1"},
		{errors.New("x509: certificate relies on legacy Common Name field, use SANs instead"), "no subject alternative name"},
		{x509.UnknownAuthorityError{}, "Give the CA's certificate"},
		{x509.HostnameError{Certificate: certificate, Host: "dc1.corp"}, "by a name that stands in its certificate: dc1.corp.example, dc1."},
		{x509.CertificateInvalidError{Cert: certificate, Reason: x509.Expired}, "has expired or is not valid yet"},
		{x509.CertificateInvalidError{Cert: certificate, Reason: x509.IncompatibleUsage}, "Issue a server certificate"},
		{tls.RecordHeaderError{}, "does not speak TLS"},
		{&net.DNSError{IsNotFound: true}, "cannot be resolved"},
		{syscall.ECONNREFUSED, "Nothing listens"},
		{syscall.EHOSTUNREACH, "no way to this address"},
		{syscall.ENETUNREACH, "no way to this address"},
		{context.DeadlineExceeded, "did not answer in time"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "did not answer in time"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, ""},
	} {
		errs := []error{c.err}
		if c.err != nil {
			errs = append(errs, fmt.Errorf("dialling: %w", c.err), goldap.NewError(goldap.ErrorNetwork, c.err))
		}
		for _, err := range errs {
			if got := remedy(err); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
				t.Errorf("%v: %q", err, got)
			}
		}
	}
}
