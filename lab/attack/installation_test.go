package attack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// installation is a whole service with two tenants, each with one of everything.
type installation struct {
	t             *testing.T
	public, admin string
	caFile        string
	http          *http.Client
	operator      *admin.Client // good for every tenant
}

// ids is one of everything that a tenant has. The same type holds inventions that exist nowhere.
type ids struct {
	Tenant, TenantName, Directory, DirectoryName, Domain, User, UPN, Password string
	App, AppName, AppSecret, Redirect, PostLogout                             string
	Agent, AgentName, AgentToken, AgentTokenSecret, UsedTokenSecret           string
	AdminToken, AdminSecret                                                   string
	// Of sign-ins: a finished one with its tokens, a code not yet exchanged, and a journey that waits for its password.
	Access, Refresh, IDToken, Code, Verifier, Session, Trace string
	Journey, Browser, Request                                string
	UserCode                                                 string // of a registration that waits
	Key                                                      string // of idempotency, used once at the admin API
}

// each calls f with every identifier, so that all can be changed or looked for.
func (x *ids) each(f func(*string)) {
	for _, s := range []*string{&x.Tenant, &x.TenantName, &x.Directory, &x.DirectoryName, &x.Domain, &x.User, &x.UPN, &x.Password, &x.App, &x.AppName,
		&x.AppSecret, &x.Redirect, &x.PostLogout, &x.Agent, &x.AgentName, &x.AgentToken, &x.AgentTokenSecret, &x.UsedTokenSecret, &x.AdminToken,
		&x.AdminSecret, &x.Access, &x.Refresh, &x.IDToken, &x.Code, &x.Verifier, &x.Session, &x.Trace, &x.Journey, &x.Browser, &x.Request, &x.UserCode, &x.Key} {
		f(s)
	}
}

// nowhere returns identifiers of the same forms and lengths that nobody has. Each keeps its beginning, so that ids sort alike.
func (x ids) nowhere() ids {
	const letters = "BCDFGHJKLMNPQRSTVWXZ" // of codes: RFC 8628 §6.1
	code := strings.Map(func(c rune) rune {
		if i := strings.IndexRune(letters, c); i >= 0 {
			return rune(letters[(i+1)%len(letters)])
		}
		return c
	}, x.UserCode)
	x.each(func(s *string) {
		b := []byte(*s)
		from := max(0, len(b)-9)
		if i := strings.IndexByte(*s, '@'); i > 0 { // of names the part before the domain
			from = max(0, i-9)
			b = b[:i+1]
		}
		if u, err := url.Parse(*s); err == nil && u.Host != "" {
			from = len(b) - 5
		}
		if strings.HasSuffix(*s, ".example") {
			from = 0
			b = b[:len(b)-len(".example")+1]
		}
		for i := from; i < len(b)-1; i++ {
			switch c := b[i]; {
			case c >= '0' && c <= '9':
				b[i] = '0' + (c-'0'+1)%10
			case c >= 'a' && c < 'f' || c > 'f' && c < 'z' || c >= 'A' && c < 'Z':
				b[i]++
			case c == 'f':
				b[i] = 'a'
			case c == 'z':
				b[i] = 'g'
			case c == 'Z':
				b[i] = 'A'
			}
		}
		*s = string(b) + (*s)[len(b):]
	})
	x.UserCode = code
	return x
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	cfg := service.Defaults()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.PublicURL = "https://localhost:0"
	cfg.Signin.Listen, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Monitor.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLS.LocalCA = true
	made, err := service.Init(t.Context(), cfg, service.InitRequest{Tenant: "operator", DisplayName: "Operator"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := fatal(service.New(t.Context(), cfg, nil))(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(fatal(os.ReadFile(s.LocalCAFile()))(t))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("service: %v", err)
		}
	})
	n := &installation{t: t, public: s.PublicURL(), admin: "https://" + s.Addresses().Admin, caFile: s.LocalCAFile(), http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	n.operator = &admin.Client{BaseURL: n.admin, Token: strings.TrimSpace(string(fatal(os.ReadFile(made.TokenFile))(t))), HTTP: n.http}
	until(t, "the service to serve", func() bool {
		r, err := n.http.Get(n.public + "/t/operator/oauth2/keys")
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	return n
}

// do asks the admin API as its operator.
func do[T any](n *installation, method, path string, in any) (out T) {
	n.t.Helper()
	var into any = &out
	if method == http.MethodPut || method == http.MethodDelete {
		into = nil
	}
	if err := n.operator.Do(n.t.Context(), method, path, in, into); err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

// furnish makes a tenant with one of everything. The names of two tenants differ, and have one length.
func (n *installation) furnish(letter string) ids {
	t := n.t
	t.Helper()
	x := ids{TenantName: "tenant-" + letter, DirectoryName: "directory-of-" + letter, Domain: "cloudof" + letter + ".example",
		UPN: "pat-of-" + letter + "@cloudof" + letter + ".example", Password: "Tr0ub4dor&3-" + letter, AppName: "application of " + letter,
		Redirect: "https://app.example/callback-of-" + letter, PostLogout: "https://app.example/goodbye-of-" + letter, AgentName: "agent-of-" + letter}
	display, color, kind, role := "Tenant "+letter, "#204060", "cloud", string(user.Administrator)
	x.Tenant = do[admin.Tenant](n, "POST", "/tenants", admin.TenantInput{Name: x.TenantName, DisplayName: &display, Color: &color}).ID
	at := "/tenants/" + x.TenantName
	x.Directory = do[admin.Directory](n, "POST", at+"/directories", admin.DirectoryInput{Name: x.DirectoryName}).ID
	do[admin.Domain](n, "POST", at+"/domains", admin.DomainInput{Name: x.Domain, Kind: &kind})
	x.User = do[admin.User](n, "POST", at+"/users", admin.UserInput{UPN: x.UPN, Source: "cloud-only", DisplayName: &display, Role: &role}).ID
	do[any](n, "PUT", at+"/users/"+x.User+"/password", map[string]string{"password": x.Password})
	app := do[admin.App](n, "POST", at+"/apps", admin.AppInput{Name: &x.AppName, RedirectURIs: &[]string{x.Redirect}, PostLogoutURIs: &[]string{x.PostLogout}})
	x.App, x.AppSecret = app.ID, app.Secret
	token := do[admin.AdminToken](n, "POST", "/admin-tokens", admin.AdminTokenInput{Tenant: x.TenantName})
	x.AdminToken, x.AdminSecret = token.ID, token.Secret
	enrol := do[admin.AgentToken](n, "POST", at+"/agent-tokens", admin.AgentTokenInput{Directory: x.Directory})
	x.UsedTokenSecret = enrol.Secret
	answer := n.send(n.registration(x.UsedTokenSecret, x.AgentName))
	if answer.status != http.StatusCreated {
		t.Fatalf("registration: %+v", answer)
	}
	x.Agent = fatal(wire.DecodeRegisterAnswer(strings.NewReader(answer.body)))(t).AgentID
	registration := n.registration("", "waiting").json.(wire.RegisterRequest)
	code := n.send(ask{method: "POST", path: wire.DevicePath, json: wire.DeviceRequest{RegisterRequest: registration, Tenant: x.TenantName}})
	x.UserCode = fatal(wire.DecodeDeviceAnswer(strings.NewReader(code.body)))(t).UserCode
	kept := do[admin.AgentToken](n, "POST", at+"/agent-tokens", admin.AgentTokenInput{Directory: x.Directory})
	x.AgentToken, x.AgentTokenSecret = kept.ID, kept.Secret

	done := n.visit(&x, true)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {done}, "redirect_uri": {x.Redirect}, "code_verifier": {x.Verifier}}
	tokens := n.send(ask{method: "POST", path: "/t/" + x.TenantName + "/oauth2/token", form: form, user: x.App, password: x.AppSecret})
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(tokens.body), &got); err != nil || got.Access == "" || got.Refresh == "" || got.ID == "" {
		t.Fatalf("tokens: %+v", tokens)
	}
	x.Access, x.Refresh, x.IDToken = got.Access, got.Refresh, got.ID
	x.Code = n.visit(&x, true)
	n.visit(&x, false)
	x.Key = "key-" + rand.Text()
	if got := n.send(ask{method: "POST", path: "/admin/v1" + at + "/apps", admin: true, bearer: x.AdminSecret, key: x.Key,
		json: object{"name": "keyed", "redirect_uris": []string{x.Redirect}}}); got.status != http.StatusCreated {
		t.Fatalf("an app with an idempotency key: %+v", got)
	}
	log := do[admin.Page[admin.SignIn]](n, "GET", at+"/signins", nil)
	if len(log.Items) == 0 {
		t.Fatal("no sign-in was recorded")
	}
	x.Trace = log.Items[0].Trace
	x.each(func(s *string) {
		if *s == "" {
			t.Fatalf("something of the tenant is missing: %+v", x)
		}
	})
	return x
}

// registration asks for an agent's certificate.
func (n *installation) registration(token, name string) ask {
	t := n.t
	t.Helper()
	key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	csr := fatal(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(t)
	sealing := fatal(envelope.GenerateKey())(t)
	return ask{method: "POST", path: wire.RegisterPath, json: wire.RegisterRequest{Token: token, Name: name, Host: "host-of-" + name, OS: "linux/amd64", Version: "1.0",
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), EnvelopeSuite: int(sealing.Public().Suite()),
		EnvelopeKey: sealing.Public().Bytes()}}
}

// visit signs the tenant's user in with a fresh browser, and returns the code; or stops before the password is typed. What the browser
// holds then goes into x.
func (n *installation) visit(x *ids, finish bool) (code string) {
	t := n.t
	t.Helper()
	if x.Verifier == "" {
		x.Verifier = rand.Text() + rand.Text() // one for all: the tenant's applications are of no concern here
	}
	sum := sha256.Sum256([]byte(x.Verifier))
	cookies := map[string]string{}
	step := func(a ask, status int) answer {
		t.Helper()
		a.cookies = cookies
		got := n.send(a)
		if got.status != status {
			t.Fatalf("%s %s: %+v", a.method, a.path, got)
		}
		for _, c := range (&http.Response{Header: got.header}).Cookies() {
			cookies[c.Name] = c.Value
		}
		return got
	}
	query := url.Values{"client_id": {x.App}, "redirect_uri": {x.Redirect}, "response_type": {"code"}, "scope": {"openid offline_access"}, "prompt": {"login"},
		"state": {"s"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	begun := step(ask{method: "GET", path: "/t/" + x.TenantName + "/oauth2/authorize?" + query.Encode()}, http.StatusSeeOther)
	journey := begun.header.Get("Location")
	named := step(ask{method: "POST", path: journey, form: url.Values{"username": {x.UPN}}}, http.StatusSeeOther)
	x.Journey, x.Browser = journey[strings.LastIndexByte(journey, '/')+1:], cookies["__Host-sallyport-browser"]
	if !finish {
		return ""
	}
	right := step(ask{method: "POST", path: named.header.Get("Location"), form: url.Values{"password": {x.Password}}}, http.StatusSeeOther)
	page := step(ask{method: "GET", path: right.header.Get("Location")}, http.StatusOK)
	_, resume, ok := strings.Cut(page.header.Get("Refresh"), "url=")
	if !ok {
		t.Fatalf("no way on from %+v", page)
	}
	x.Session = cookies["__Host-sallyport-session-"+x.TenantName]
	x.Request = regexp.MustCompile(`/resume/([^?]+)`).FindStringSubmatch(resume)[1]
	back := step(ask{method: "GET", path: resume}, http.StatusSeeOther)
	return fatal(url.Parse(back.header.Get("Location")))(t).Query().Get("code")
}

// ask is one request.
type ask struct {
	method, path   string
	admin          bool
	bearer         string
	user, password string // Basic
	form           url.Values
	json           any
	key            string // Idempotency-Key
	cookies        map[string]string
	origin         bool // as a form of our own pages
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (n *installation) send(a ask) answer {
	t := n.t
	t.Helper()
	base := n.public
	if a.admin {
		base = n.admin
	}
	var body io.Reader
	kind := ""
	switch {
	case a.form != nil:
		body, kind = strings.NewReader(a.form.Encode()), "application/x-www-form-urlencoded"
	case a.json != nil:
		body, kind = bytes.NewReader(fatal(json.Marshal(a.json))(t)), "application/json"
	}
	r := fatal(http.NewRequestWithContext(t.Context(), a.method, base+a.path, body))(t)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if a.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	if a.user != "" {
		r.SetBasicAuth(url.QueryEscape(a.user), url.QueryEscape(a.password))
	}
	if a.origin {
		r.Header.Set("Origin", base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if a.key != "" {
		r.Header.Set("Idempotency-Key", a.key)
	}
	for name, value := range a.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp := fatal(n.http.Do(r))(t)
	defer resp.Body.Close()
	b := fatal(io.ReadAll(io.LimitReader(resp.Body, 1<<20)))(t)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

var (
	uuidPattern   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	tracePattern  = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	secretPattern = regexp.MustCompile(`[A-Za-z0-9_-]{43,}`)
	timePattern   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`)
	datePattern   = regexp.MustCompile(`(Expires=)?[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)
)

// size is the body's, without times, of which ends in zeros are not written.
func (a answer) size() int { return len(timePattern.ReplaceAllString(a.body, "")) }

// masked is an answer without what differs from request to request: the identifiers that were sent, fresh ones, traces and times.
func (a answer) masked(sent ids) string {
	var lines []string
	for name, values := range a.header {
		if name != "Date" && name != "Content-Length" {
			lines = append(lines, name+": "+strings.Join(values, " | "))
		}
	}
	slices.Sort(lines)
	text := strings.Join(lines, "\n") + "\n\n" + a.body
	return mask(text, sent)
}

// mask takes out of a text what differs from request to request.
func mask(text string, sent ids) string {
	var words []string
	sent.each(func(s *string) { words = append(words, *s, url.QueryEscape(*s)) })
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) }) // a name before the domain in it
	for _, w := range words {
		text = strings.ReplaceAll(text, w, "<sent>")
	}
	for _, m := range []struct {
		pattern *regexp.Regexp
		word    string
	}{{uuidPattern, "<id>"}, {tracePattern, "<trace>"}, {secretPattern, "<secret>"}, {timePattern, "<time>"}, {datePattern, "<date>"}} {
		text = m.pattern.ReplaceAllString(text, m.word)
	}
	return text
}
