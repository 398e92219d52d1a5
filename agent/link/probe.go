package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"time"
)

// Look is what a gateway shows to a handshake.
type Look struct {
	// Proxy is what the connection went through, without credentials; empty when it went straight.
	Proxy string
	// Chain is what the other side showed, its own certificate first, also when it was refused.
	Chain []*x509.Certificate
	Took  time.Duration
	Err   error
}

// Prober is what [Probe] needs of an identity; it uses up no number of a connection.
type Prober interface {
	// TLSCertificate returns the client certificate with its key.
	TLSCertificate() tls.Certificate
	Gateway() string
	GatewayRoots() *x509.CertPool
}

// Probe connects to the gateway as an attach would, with the same proxy, certificate and roots, and ends after the handshake. Nothing
// is attached, and a gateway that refuses the agent does so only later. It is bounded by ctx.
func Probe(ctx context.Context, id Prober, configured *url.URL) Look {
	address := id.Gateway()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return Look{Err: err}
	}
	began := time.Now()
	proxy, err := proxyFor(configured, address)
	if err == nil {
		err = checkProxy(proxy)
	}
	if err != nil {
		return Look{Err: err}
	}
	var l Look
	if proxy != nil {
		l.Proxy = (&url.URL{Scheme: proxy.Scheme, Host: proxy.Host}).String()
	}
	raw, err := dial(ctx, proxy, address)
	if err != nil {
		l.Err = err
		return l
	}
	defer raw.Close()
	certificate := id.TLSCertificate()
	secure := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: id.GatewayRoots(), NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }})
	l.Err = secure.HandshakeContext(ctx)
	l.Took = time.Since(began)
	var refused *tls.CertificateVerificationError
	if errors.As(l.Err, &refused) {
		l.Chain = refused.UnverifiedCertificates
	} else {
		l.Chain = secure.ConnectionState().PeerCertificates
	}
	return l
}
