package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
)

// remedy says to an administrator what to do about a server that cannot be reached; "" if there is nothing better to say than
// the error itself.
func remedy(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		dns      *net.DNSError
		deadline net.Error
		other    foreign
		named    stranger
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &other):
		return "All domain controllers of one agent must be of one domain, the one of its directory. Correct --dc; if the domain was built " +
			"anew, forget the old one in the service: sallyport directory unpin."
	case errors.As(err, &named):
		return "Correct --domain, or the SRV records of the domain; a domain controller that DNS names wrongly can be left to --dc."
	case strings.Contains(err.Error(), "x509: negative serial number"):
		// crypto/x509 has no type for it.
		return "The server's certificate has a negative serial number, which Go refuses. Issue the certificate anew; until then an " +
			"administrator may set GODEBUG=x509negativeserial=1 in the agent's environment."
	case strings.Contains(err.Error(), "x509: certificate relies on legacy Common Name field"):
		return "The server's certificate has no subject alternative name. Issue it anew with the server's DNS name in it."
	case errors.As(err, &unknown):
		return "The server's certificate was issued by a CA that is not trusted here. Give the CA's certificate as a PEM file."
	case errors.As(err, &name):
		return "The server's certificate is for another name. Give the server by a name that stands in its certificate: " +
			strings.Join(name.Certificate.DNSNames[:min(len(name.Certificate.DNSNames), namesTold)], ", ") + "."
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "The server's certificate has expired or is not valid yet. Renew it, or set this machine's clock."
	case errors.As(err, &invalid):
		return "The server's certificate cannot be used. Issue a server certificate for the domain controller."
	case errors.As(err, &record):
		return "The server does not speak TLS on this port. Use ldaps:// with port 636, or ldap:// for StartTLS on port 389."
	case errors.As(err, &dns):
		return "The server's name cannot be resolved. Check its spelling and this machine's DNS."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nothing listens at this address. Check the port, and that the domain controller has a certificate for LDAPS."
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "A router or firewall says that there is no way to this address. Have it let this machine through, or mend the route."
	case errors.As(err, &deadline) && deadline.Timeout(): // context.DeadlineExceeded, too
		return "The server did not answer in time. Check that it runs and that the firewall lets this machine through."
	}
	return ""
}
