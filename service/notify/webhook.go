package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

// SignatureHeader carries the proof that a webhook's POST is of this service.
const SignatureHeader = "Sallyport-Signature"

// Webhook posts events to one address. Made by [NewWebhook].
type Webhook struct {
	url    string
	secret []byte
	client *http.Client
}

// NewWebhook returns a channel to an address: https, or http on this machine, which the caller has checked. roots are the authorities that
// its certificate must lead to; nil means the system's.
func NewWebhook(address string, secret []byte, roots *x509.CertPool) *Webhook {
	return &Webhook{url: address, secret: bytes.Clone(secret), client: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout: deliverWithin, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the receiver is the one that was named
	}}
}

func (*Webhook) name() string { return "webhook" }

// Sign returns the value of [SignatureHeader] for a body at a time.
func Sign(secret, body []byte, at time.Time) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (w *Webhook) deliver(ctx context.Context, _ tenant.Scope, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sallyport")
	r.Header.Set(SignatureHeader, Sign(w.secret, body, time.Now()))
	resp, err := w.client.Do(r)
	if at := (*url.Error)(nil); errors.As(err, &at) {
		return at.Err // without the address, which may hold a secret: errors are logged
	} else if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // only so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the webhook answered with HTTP status %d", resp.StatusCode)
	}
	return nil
}
