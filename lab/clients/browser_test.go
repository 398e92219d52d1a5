package clients

import (
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
)

const (
	// maxPage bounds what the browser reads of a page.
	maxPage = 1 << 20
	// maxSteps bounds the redirects and pages on the way to somewhere.
	maxSteps = 30
)

// browser is alice at a browser without script: it follows redirects, fills the forms that it finds and keeps cookies.
type browser struct {
	t    *testing.T
	http *http.Client
	// typed counts how often the password was typed, and asked how often a form of any kind was answered.
	typed, asked int
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	// A connection each: mod_auth_openidc's error page is followed by bytes that belong to no request.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return &browser{t: w.t, http: &http.Client{Jar: jar, Timeout: patience, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// place is where the browser came to rest.
type place struct {
	url    *url.URL
	status int // 0 when the browser was stopped before it went there
	header http.Header
	body   string
}

var (
	formPattern  = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	inputPattern = regexp.MustCompile(`<input\b([^>]*)>`)
	attrPattern  = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

// visit goes to an address and on from there, until a page asks nothing, shows an error, or an address begins with stop (where
// nobody listens; empty: nowhere).
func (b *browser) visit(address, stop string) place {
	b.t.Helper()
	method, form := http.MethodGet, url.Values(nil)
	var from *url.URL
	for range maxSteps {
		at, err := url.Parse(address)
		if err != nil {
			b.t.Fatal(err)
		}
		if stop != "" && strings.HasPrefix(address, stop) {
			return place{url: at}
		}
		here := b.load(method, at, form, from)
		next, ok := onward(here)
		switch {
		case ok:
			address, method, form, from = next, http.MethodGet, nil, nil
			continue
		case here.status >= 400 || strings.Contains(here.body, `id="error"`) || !formPattern.MatchString(here.body):
			return here
		}
		if address, form, err = b.fill(here); err != nil {
			b.t.Fatal(err)
		}
		method, from = http.MethodPost, here.url
	}
	b.t.Fatalf("the way goes round in circles, at last at %s", address)
	return place{}
}

// load sends one request.
func (b *browser) load(method string, at *url.URL, form url.Values, from *url.URL) place {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if from != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", from.Scheme+"://"+from.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	r.Header.Set("Accept", "text/html")
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		b.t.Fatal(err)
	}
	return place{url: at, status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// onward is where an answer sends the browser.
func onward(p place) (string, bool) {
	to := p.header.Get("Location")
	if _, refresh, ok := strings.Cut(p.header.Get("Refresh"), "url="); ok && to == "" {
		to = strings.Trim(refresh, `"'`)
	}
	if to == "" {
		return "", false
	}
	next, err := p.url.Parse(to)
	if err != nil {
		return "", false
	}
	return next.String(), true
}

// fill answers the first form of a page: hidden fields as they are, the name and the password where they are asked for.
func (b *browser) fill(p place) (address string, values url.Values, err error) {
	form := formPattern.FindStringSubmatch(p.body)
	b.asked++
	values = url.Values{}
	for _, input := range inputPattern.FindAllStringSubmatch(form[2], -1) {
		a := attributes(input[1])
		switch {
		case a["name"] == "":
		case a["type"] == "password":
			b.typed++
			values.Set(a["name"], people.RightPassword)
		case a["name"] == "username" && a["type"] != "hidden" && a["value"] == "":
			values.Set(a["name"], alice)
		default:
			values.Set(a["name"], a["value"])
		}
	}
	target, err := p.url.Parse(attributes(form[1])["action"])
	if err != nil {
		return "", nil, fmt.Errorf("the form of %s: %w", p.url, err)
	}
	return target.String(), values, nil
}

// attributes reads the attributes of a tag.
func attributes(tag string) map[string]string {
	out := map[string]string{}
	for _, m := range attrPattern.FindAllStringSubmatch(tag, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}
