package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport-auth/sallyport/wire"
)

// Client calls the API of a running service. It is safe for concurrent use. HTTP nil means [http.DefaultClient].
type Client struct {
	BaseURL string
	Token   string
	HTTP    *http.Client
}

// ProblemError is a problem document that the service answered with.
type ProblemError struct{ wire.Problem }

// Error says what went wrong, what to do, and under which trace id the service's log tells more.
func (e *ProblemError) Error() string {
	s := e.Title
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Code != 0 {
		s = e.Code.String() + " " + s
	}
	if e.Remedy != "" {
		s += "\n  What to do: " + e.Remedy
	}
	if e.Trace != "" {
		s += "\n  Trace: " + e.Trace
	}
	return s
}

// Do sends in (nil: no body) and decodes the answer into out (nil: none expected). path is below /admin/v1, its elements
// already escaped (see [Path]). A refusal by the service is a [*ProblemError].
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.BaseURL, "/")+"/admin/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		var uerr *url.Error
		if errors.As(err, &uerr) {
			err = uerr.Err
		}
		return fmt.Errorf("the admin API at %s cannot be reached: %w", c.BaseURL, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.BaseURL, err)
	}
	if resp.StatusCode >= 300 {
		p := wire.Problem{Title: resp.Status}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
			_ = json.Unmarshal(answer, &p) // what cannot be read keeps the status line as its title
		}
		return &ProblemError{p}
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer of %s is not the JSON expected (is it the admin API of the same version?): %w", c.BaseURL, err)
	}
	return nil
}

// Path joins and escapes path elements: Path("tenants", "contoso") is "/tenants/contoso".
func Path(elements ...string) string {
	var b strings.Builder
	for _, e := range elements {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	return b.String()
}

// All reads every page of a list.
func All[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	after := ""
	for {
		var page Page[T]
		if err := c.Do(ctx, http.MethodGet, path+"?after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		after = page.Next
	}
}
