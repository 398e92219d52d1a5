package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// proxyFor returns the proxy for an address: the configured one, else what the environment says (HTTPS_PROXY, NO_PROXY).
func proxyFor(configured *url.URL, address string) (*url.URL, error) {
	if configured != nil {
		return configured, nil
	}
	return http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
}

// checkProxy refuses a proxy address that could only fail later.
func checkProxy(u *url.URL) error {
	if u == nil {
		return nil
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return fmt.Errorf("link: proxy %s: want http://host:port or https://host:port", u.Redacted())
	}
	return nil
}

// dial opens a TCP connection to address, directly or through a proxy, which then resolves the name.
func dial(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	var d net.Dialer
	if proxy == nil {
		return d.DialContext(ctx, "tcp", address)
	}
	conn, err := d.DialContext(ctx, "tcp", proxyAddress(proxy))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := connect(ctx, conn, proxy, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	return tunnel, nil
}

func proxyAddress(proxy *url.URL) string {
	port := proxy.Port()
	switch {
	case port != "":
	case proxy.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// connect asks the proxy for a tunnel (RFC 9110 §9.3.6), with Basic credentials when the proxy's address holds some.
func connect(ctx context.Context, conn net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	if proxy.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	var request strings.Builder
	fmt.Fprintf(&request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", address, address)
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		request.WriteString("Proxy-Authorization: Basic " +
			base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n")
	}
	request.WriteString("\r\n")
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxProxyReply))
	answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, fmt.Errorf("answer to CONNECT: %w", err)
	}
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("wants other credentials: %s (offered: %s)", answer.Status, strings.Join(answer.Header.Values("Proxy-Authenticate"), ", "))
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("refused the tunnel: %s", clip(answer.Status))
	case reader.Buffered() > 0:
		// In TLS the client speaks first: whatever this is, it does not come from the gateway.
		return nil, errors.New("sent bytes of its own into the tunnel")
	}
	return conn, nil
}
