package reglog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Webhook posts records as JSON: {"log": …, "key": …, "records": […]}. Any answer of 2xx takes them.
type Webhook struct {
	URL string
	// HTTP is the client; nil means [http.DefaultClient].
	HTTP *http.Client
}

// Name is "webhook".
func (Webhook) Name() string { return "webhook" }

// Send posts once. Redirects are followed by the client's rules. An address may hold a secret, so errors do not repeat it.
func (w Webhook) Send(ctx context.Context, origin, key string, records []Record) error {
	body := compact(struct {
		Log     string   `json:"log"`
		Key     string   `json:"key"`
		Records []Record `json:"records"`
	}{origin, key, records})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	client := w.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReply)) // so that the connection can be kept
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("it answered %d", resp.StatusCode)
	}
	return nil
}
