package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// diagnose says of a failed connection to host (or through a proxy) what happened and what to do. The error's kind is
// [ErrUnreachable].
func diagnose(err error, host, address string) error {
	e := &Error{Kind: ErrUnreachable, Cause: err}
	var (
		dns         *net.DNSError
		unknown     x509.UnknownAuthorityError
		wrongName   x509.HostnameError
		invalid     x509.CertificateInvalidError
		verifying   *tls.CertificateVerificationError
		notTLS      tls.RecordHeaderError
		op          *net.OpError
		proxySpeaks = errors.As(err, &op) && op.Op == "proxyconnect"
	)
	switch {
	case errors.As(err, &unknown):
		issuer := "nobody"
		if unknown.Cert != nil {
			issuer = shown(unknown.Cert.Issuer.String())
		} else if errors.As(err, &verifying) && len(verifying.UnverifiedCertificates) > 0 {
			issuer = shown(verifying.UnverifiedCertificates[0].Issuer.String())
		}
		e.What = fmt.Sprintf("the certificate shown for %s was issued by %q, which is not trusted here", host, issuer)
		e.Remedy = fmt.Sprintf("if that is your installation's own CA, give its certificate with --ca-file; "+
			"if it is a proxy that opens TLS, exempt %s from inspection: the agent's link uses client certificates, which inspection breaks", host)
	case errors.As(err, &wrongName):
		e.What = "the certificate shown is for another name than " + host
		e.Remedy = "use the name that the certificate is for in --service, or have the service's certificate include " + host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.What = fmt.Sprintf("the certificate shown for %s is valid from %s to %s, and this host's clock says %s", host,
			stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter), stamp(time.Now()))
		e.Remedy = "set this host's clock (NTP) if it is wrong; else have the service's certificate renewed"
	case errors.As(err, &verifying) || strings.Contains(err.Error(), "negative serial number"):
		e.What = "the certificate shown for " + host + " does not hold"
		e.Remedy = "have the service's certificate issued anew; a negative serial number must not be, and other causes are named above"
	case errors.As(err, &dns):
		e.What = fmt.Sprintf("the name %s cannot be resolved", shown(dns.Name))
		e.Remedy = "check the name in --service and this host's DNS; where only a proxy resolves outside names, give it with --proxy"
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		e.What = address + " does not speak TLS"
		e.Remedy = "check the port in --service: it must be the service's HTTPS listener"
	case proxySpeaks && errors.Is(err, errConnRefused):
		e.What = "the proxy refuses connections"
		e.Remedy = "check --proxy or HTTPS_PROXY"
	case proxySpeaks || strings.Contains(err.Error(), "Proxy Authentication Required"):
		e.What = "the proxy did not let the connection through"
		e.Remedy = "check --proxy or HTTPS_PROXY (user and password go into its URL), and allow CONNECT to " + address
	case errors.Is(err, errConnRefused):
		e.What = address + " refuses connections"
		e.Remedy = "check host and port in --service, and that the service is running"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.What = address + " did not answer in time"
		e.Remedy = "check that the firewall lets this host out to " + address + "; where only a proxy may, give it with --proxy"
	case errors.Is(err, context.Canceled):
		e.What = "interrupted"
		e.Remedy = "run it again; if the service had answered already, with a new token"
	default:
		e.What = "the connection to " + address + " failed"
		e.Remedy = "check the network between this host and the service"
	}
	return e
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
