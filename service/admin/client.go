package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

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

// Error says what went wrong, what to do, and under which trace id the service's log tells more. The title, which is for a page, stands only where
// the service says nothing nearer.
func (e *ProblemError) Error() string {
	s := cmp.Or(e.Detail, e.Title)
	if entry, ok := wire.Lookup(e.Code); ok {
		s = entry.Code.String() + " " + entry.Name + ": " + s
	} else if e.Code != 0 {
		s = e.Code.String() + ": " + s // of a newer service
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
//
// A POST carries an idempotency key of its own and is sent once more when its connection breaks before the answer is read.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	header := http.Header{"Authorization": {"Bearer " + c.Token}}
	if in != nil {
		header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost {
		header.Set(keyHeader, rand.Text())
	}
	resp, answer, err := c.exchange(ctx, method, path, header, body)
	if err != nil && method == http.MethodPost && lost(err) {
		resp, answer, err = c.exchange(ctx, method, path, header, body)
	}
	if err != nil {
		return err
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

// exchange sends one request and reads its answer.
func (c *Client) exchange(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.BaseURL, "/")+"/admin/v1"+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
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
		return nil, nil, fmt.Errorf("the admin API at %s cannot be reached: %w", c.BaseURL, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer of %s: %w", c.BaseURL, err)
	}
	return resp, answer, nil
}

// lost reports whether the connection broke while an answer was awaited, so that asking again may help.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
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
	after, more := "", "?"
	if strings.Contains(path, "?") {
		more = "&"
	}
	for {
		var page Page[T]
		if err := c.Do(ctx, http.MethodGet, path+more+"after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		after = page.Next
	}
}
