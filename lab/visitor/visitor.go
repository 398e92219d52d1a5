package visitor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// maxPage bounds what the visitor reads of a page.
	maxPage = 1 << 20
	// maxSteps bounds the redirects and pages of one sign-in.
	maxSteps = 20
	// timeout bounds one request: a password check may take 15 s.
	timeout = 30 * time.Second
)

// App is the application for which a visitor signs in: its registration, and the issuer whose discovery address it knows.
type App struct {
	Issuer, ClientID, ClientSecret, Redirect string

	known *discovery // nil: looked up at each sign-in
}

// Discovered returns the application after it has looked up its issuer's metadata once, as applications do when they start.
func (a App) Discovered(ctx context.Context, transport http.RoundTripper) (App, error) {
	a.known = new(discovery)
	return a, New(a, transport).get(ctx, a.Issuer+"/.well-known/openid-configuration", a.known)
}

// Visitor is one browser. It is used by one goroutine at a time.
type Visitor struct {
	// Acknowledged, if set, is called as soon as the service has answered a post of the password by leading the browser on.
	Acknowledged func()

	app  App
	http *http.Client
}

// discovery is what the visitor reads of OpenID Connect Discovery §3.
type discovery struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	UserInfo      string `json:"userinfo_endpoint"`
}

// Outcome is what a person saw at the end of one sign-in.
type Outcome struct {
	// SignedIn is the upn of the ID token, empty when no token came.
	SignedIn string
	// Status, Code, Sentence and Trace are of the page that stopped the sign-in.
	Status          int
	Code            int
	Sentence, Trace string
	// Posted says that the password has left the browser, which is told beside an error, too: whoever then tries again types it
	// a second time.
	Posted bool
}

var (
	formPattern   = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	inputPattern  = regexp.MustCompile(`<input\b([^>]*)>`)
	attrPattern   = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
	idTextPattern = `(?s)\bid="%s"[^>]*>(.*?)</`
	tagPattern    = regexp.MustCompile(`<[^>]*>`)
	errorPattern  = regexp.MustCompile(`(?s)\bid="error"[^>]*>\s*<p[^>]*>(.*?)</p>`)
	digits        = regexp.MustCompile(`\d+`)
)

// attributes reads the attributes of a tag.
func attributes(tag string) map[string]string {
	out := map[string]string{}
	for _, m := range attrPattern.FindAllStringSubmatch(tag, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

// textOf returns the text of the element with an id.
func textOf(page, id string) string {
	if !strings.Contains(page, `id="`+id+`"`) { // most pages: the pattern costs more than the page
		return ""
	}
	m := regexp.MustCompile(fmt.Sprintf(idTextPattern, id)).FindStringSubmatch(page)
	if m == nil {
		return ""
	}
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(m[1], ""))), " ")
}

// sentenceOf returns the sentence of the error on a page.
func sentenceOf(page string) string {
	m := errorPattern.FindStringSubmatch(page)
	if m == nil {
		return textOf(page, "error")
	}
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(m[1], ""))), " ")
}

// New returns a visitor with an empty cookie jar, whose requests transport carries.
func New(app App, transport http.RoundTripper) *Visitor {
	jar, _ := cookiejar.New(nil) // never fails with nil options
	return &Visitor{app: app, http: &http.Client{Jar: jar, Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// get fetches JSON.
func (v *Visitor) get(ctx context.Context, address string, out any) error {
	resp, body, err := v.do(ctx, http.MethodGet, address, nil, "")
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, resp.Status)
	}
	return json.Unmarshal(body, out)
}

// do sends one request and reads the answer.
func (v *Visitor) do(ctx context.Context, method, address string, form url.Values, origin string) (*http.Response, []byte, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	return resp, page, err
}

// SignIn plays one person: name, password, and what comes of it. An error means that the way broke off, without a page.
func (v *Visitor) SignIn(ctx context.Context, name, password string) (saw Outcome, err error) {
	posted := false
	defer func() { saw.Posted = posted }()
	var d discovery
	if v.app.known != nil {
		d = *v.app.known
	} else if err := v.get(ctx, v.app.Issuer+"/.well-known/openid-configuration", &d); err != nil {
		return Outcome{}, err
	}
	verifier, state, nonce := rand.Text()+rand.Text(), rand.Text(), rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	at := d.Authorization + "?" + url.Values{"response_type": {"code"}, "client_id": {v.app.ClientID}, "redirect_uri": {v.app.Redirect},
		"scope": {"openid profile email groups"}, "state": {state}, "nonce": {nonce}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}}.Encode()
	method, form, origin := http.MethodGet, url.Values(nil), ""
	for range maxSteps {
		if strings.HasPrefix(at, v.app.Redirect+"?") {
			return v.redeem(ctx, d, at, state, nonce, verifier)
		}
		resp, body, err := v.do(ctx, method, at, form, origin)
		if err != nil {
			return Outcome{}, err
		}
		if location := resp.Header.Get("Location"); location != "" {
			if form.Has("password") && v.Acknowledged != nil {
				v.Acknowledged()
			}
			next, err := resp.Request.URL.Parse(location)
			if err != nil {
				return Outcome{}, err
			}
			at, method, form, origin = next.String(), http.MethodGet, nil, ""
			continue
		}
		if address, ok := refreshTo(resp); ok {
			at, method, form, origin = address, http.MethodGet, nil, ""
			continue
		}
		page := string(body)
		if textOf(page, "error") != "" || textOf(page, "error-code") != "" || posted && resp.StatusCode >= 400 {
			code, _ := strconv.Atoi(digits.FindString(textOf(page, "error-code"))) // 0 when the page shows none
			return Outcome{Status: resp.StatusCode, Code: code, Sentence: sentenceOf(page), Trace: lastWord(textOf(page, "trace"))}, nil
		}
		next, values, err := v.fill(resp.Request.URL, page, name, password)
		if err != nil {
			return Outcome{}, fmt.Errorf("%s (%s): %w", at, resp.Status, err)
		}
		posted = posted || values.Get("password") != ""
		at, method, form, origin = next, http.MethodPost, values, resp.Request.URL.Scheme+"://"+resp.Request.URL.Host
	}
	return Outcome{}, errors.New("the sign-in goes round in circles")
}

// refreshTo returns where the Refresh header of an answer leads: a page that sends the browser on.
func refreshTo(resp *http.Response) (string, bool) {
	_, target, ok := strings.Cut(resp.Header.Get("Refresh"), "url=")
	if !ok {
		return "", false
	}
	next, err := resp.Request.URL.Parse(strings.Trim(target, `"'`))
	if err != nil {
		return "", false
	}
	return next.String(), true
}

// fill completes the first form of a page: hidden fields as they are, the name and the password where they are asked for.
func (v *Visitor) fill(base *url.URL, page, name, password string) (address string, values url.Values, err error) {
	m := formPattern.FindStringSubmatch(page)
	if m == nil {
		return "", nil, errors.New("the page has neither a form nor an error")
	}
	values = url.Values{}
	for _, input := range inputPattern.FindAllStringSubmatch(m[2], -1) {
		a := attributes(input[1])
		switch {
		case a["name"] == "":
		case a["type"] == "password":
			values.Set(a["name"], password)
		case a["name"] == "username" && a["type"] != "hidden" && a["value"] == "":
			values.Set(a["name"], name)
		default:
			values.Set(a["name"], a["value"])
		}
	}
	target, err := base.Parse(attributes(m[1])["action"])
	if err != nil {
		return "", nil, err
	}
	return target.String(), values, nil
}

// redeem exchanges the code and reads the ID token's name. The token came over TLS straight from the issuer, which OIDC Core
// §3.1.3.7 accepts in place of checking its signature; the sample application checks the signature too.
func (v *Visitor) redeem(ctx context.Context, d discovery, at, state, nonce, verifier string) (Outcome, error) {
	u, err := url.Parse(at)
	if err != nil {
		return Outcome{}, err
	}
	q := u.Query()
	switch {
	case q.Get("state") != state:
		return Outcome{}, errors.New("the state did not come back")
	case q.Get("iss") != d.Issuer:
		return Outcome{}, fmt.Errorf("iss is %q, not %q (RFC 9207)", q.Get("iss"), d.Issuer)
	case q.Get("error") != "":
		code, _ := strconv.Atoi(digits.FindString(q.Get("error_description"))) // 0 when there is none
		return Outcome{Code: code, Sentence: q.Get("error") + ": " + q.Get("error_description")}, nil
	}
	resp, body, err := v.do(ctx, http.MethodPost, d.Token, url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")},
		"redirect_uri": {v.app.Redirect}, "client_id": {v.app.ClientID}, "client_secret": {v.app.ClientSecret}, "code_verifier": {verifier}}, "")
	if err != nil {
		return Outcome{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Outcome{}, fmt.Errorf("the token endpoint answers %s: %s", resp.Status, body)
	}
	var tokens struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal(body, &tokens); err != nil {
		return Outcome{}, err
	}
	parts := strings.Split(tokens.IDToken, ".")
	if len(parts) != 3 {
		return Outcome{}, errors.New("the ID token is no JWS")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Outcome{}, err
	}
	var claims struct {
		Issuer string `json:"iss"`
		Nonce  string `json:"nonce"`
		UPN    string `json:"upn"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return Outcome{}, err
	}
	if claims.Issuer != d.Issuer || claims.Nonce != nonce || claims.UPN == "" {
		return Outcome{}, fmt.Errorf("the ID token does not fit: %s", raw)
	}
	return Outcome{Status: http.StatusOK, SignedIn: claims.UPN}, nil
}

// lastWord returns the last word of a text such as "Trace 4bf9…".
func lastWord(s string) string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}
