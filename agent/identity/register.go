package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Options say where and as what to register.
type Options struct {
	// Service is the base URL of the service's public listener: https, no user, query or fragment.
	Service string
	// Token is the enrolment token. It is sent once, in the body, over verified TLS, and kept nowhere.
	Token string
	// Tenant and Directory are for a registration without Token: the tenant's name where the service has more than one, and the directory
	// to serve, which is left to the administrator when empty.
	Tenant, Directory string
	// Prompt shows the code and the keys' fingerprint to whoever sits at the terminal, in a registration without Token; without Prompt a
	// token is needed.
	Prompt func(Prompt)
	// Dir is the state folder; made with mode 0700 when absent.
	Dir string
	// Name is what the agent is to be called in the fleet; empty means the host's name.
	Name string
	// Instance tells this agent from others on the same host; empty for the only one. See [wire.IsInstance].
	Instance string
	// CAFile is a PEM file with the authorities that the service's certificate must lead to; empty means the system's.
	CAFile string
	// Proxy is an HTTP proxy ("http://proxy:3128"); empty means what HTTPS_PROXY and NO_PROXY say.
	Proxy string
	// Version is the agent program's version, for display in the fleet.
	Version string
	// Replace allows overwriting an identity in Dir.
	Replace bool
	// Again has the agent in Dir registered anew with fresh keys as the same agent, with its name and history. It proves itself with the
	// key that it has; where that is lost, a token made for this one agent does. Service, Name and the CA are the former ones when not
	// given.
	Again bool
	// KeyStore is the kind of store for the new keys; empty means [KindFile], or with Again that of the keys there were. KeyDevice is the
	// device of a store that has several, empty for the usual one.
	KeyStore, KeyDevice string
	// Logger gets warnings (clocks that differ); nil discards them.
	Logger *slog.Logger
}

// Register makes two key pairs, has the service certify them for a token, checks the answer and writes the identity into
// the state folder. Everything that can fail on this host is tried before the token is spent, and nothing is written
// before the answer has been checked. Errors are *Error of every kind but [ErrNotRegistered].
func Register(ctx context.Context, o Options) (*Identity, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var former *Identity
	if o.Again {
		var err error
		if former, err = openFormer(o.Dir); err != nil {
			return nil, err
		}
		o = o.like(former)
		if o.KeyStore == "" && o.KeyDevice == "" { // also when the keys are lost: nobody comes to weaker ones without saying so
			o.KeyStore, o.KeyDevice = recordedStore(o.Dir)
		}
	}
	service, err := parseService(o.Service)
	if err != nil {
		return nil, &Error{Kind: ErrOptions, Cause: err, Remedy: "give the service's address, for example --service https://signin.example.com"}
	}
	request, err := newRequest(o)
	if err != nil {
		return nil, err
	}
	ca, err := readCA(o.CAFile)
	if err != nil {
		return nil, err
	}
	if ca == "" && former != nil {
		ca = former.facts.GatewayCA
	}
	client, err := newClient(ca, o.Proxy)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	store, err := storeOf(o.KeyStore, o.KeyDevice)
	if err != nil {
		return nil, &Error{Kind: ErrOptions, Cause: err, Remedy: "give --key-store file, or --key-store tpm, with --tpm-device if the TPM has a device of its own"}
	}
	replace := o.Replace || o.Again
	if replace {
		unlock, err := lock(o.Dir)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if err := prepare(o.Dir, replace); err != nil {
		return nil, err
	}
	keys, err := store.Generate()
	if err != nil {
		return nil, err
	}
	if err := addKeys(&request, store, keys, former); err != nil {
		return nil, err
	}
	var answer wire.RegisterAnswer
	var skew time.Duration
	if request.Token == "" {
		answer, skew, err = byCode(ctx, client, service, request, o, keys)
	} else {
		ctx, cancel := context.WithTimeout(ctx, registerTimeout)
		defer cancel()
		answer, skew, err = post(ctx, client, service, request)
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if skew.Abs() >= skewWorth {
		log.Warn("the clocks of this host and the service differ; set them (NTP), or checks will be refused as stale",
			"host_ahead", skew.String())
	}
	id, err := verify(answer, service, ca, store, keys, now)
	if err != nil {
		return nil, answerError(err, skew)
	}
	if err := Save(o.Dir, id, replace); err != nil {
		return nil, fmt.Errorf("the service has registered agent %s, but its identity could not be kept, so make a new token and try again: %w",
			id.Agent(), err)
	}
	return id, nil
}

// parseService holds a service URL to https and a plain form, and returns it without a trailing slash.
func parseService(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("service: not a URL") // the cause would repeat what may hold a password
	case u.Scheme != "https":
		return "", errors.New("service: only https URLs are used")
	case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return "", errors.New("service: a host is needed, and no user, query or fragment")
	}
	return "https://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

func newRequest(o Options) (wire.RegisterRequest, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r := wire.RegisterRequest{Token: strings.TrimSpace(o.Token), Name: o.Name, Host: host, OS: runtime.GOOS + "/" + runtime.GOARCH, Version: o.Version, Instance: o.Instance}
	if r.Name == "" {
		r.Name = host
		if o.Instance != "" {
			r.Name += "-" + o.Instance
		}
	}
	if r.Token == "" && (o.Prompt == nil || o.Again) {
		return r, &Error{Kind: ErrOptions, What: "no enrolment token", Remedy: "make one in the service (agent token create) and give it with --token-file"}
	}
	return r, nil
}

// openFormer reads who the agent in dir was. A folder that cannot be read proves nothing, and needs no proof with a token that was
// made for one agent: nil, then.
func openFormer(dir string) (*Identity, error) {
	id, err := Open(dir)
	switch {
	case errors.Is(err, ErrPermissions):
		return nil, err
	case err != nil:
		return nil, nil
	}
	return id, nil
}

// like takes from the former registration what is not said anew.
func (o Options) like(former *Identity) Options {
	if former == nil {
		return o
	}
	if o.Service == "" {
		o.Service = former.facts.Service
	}
	if o.Name == "" {
		o.Name = former.facts.AgentName
	}
	return o
}

func addKeys(r *wire.RegisterRequest, store KeyStore, keys Keys, former *Identity) error {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, keys.TLS)
	if err != nil {
		return fmt.Errorf("making the certificate request: %w", err)
	}
	if kind := store.Kind(); kind != KindFile {
		r.KeyStore = kind
	}
	public := keys.Envelope.Public()
	r.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	r.EnvelopeSuite, r.EnvelopeKey = int(public.Suite()), public.Bytes()
	if former != nil {
		token := sha256.Sum256([]byte(r.Token))
		signature, err := signWith(former.key, wire.AgainProof(token[:], der, r.EnvelopeKey))
		if err != nil {
			return fmt.Errorf("proving the former registration: %w", err)
		}
		r.Former = &wire.RegisterFormer{Certificate: string(encodeChain(former.chain)), Signature: signature}
	}
	if r.Token == "" {
		return nil // what asks for a code is another document
	}
	if err := r.Validate(); err != nil {
		return &Error{Kind: ErrOptions, Cause: err, Remedy: "check --token and --name"}
	}
	return nil
}

// signWith signs a message as certificates are signed: hashed first, but for Ed25519.
func signWith(key crypto.Signer, message []byte) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	return key.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// readCA returns the contents of the CA file, "" for none.
func readCA(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := readLimited(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = errors.New("it holds no certificate in PEM")
	}
	if err != nil {
		return "", &Error{Kind: ErrOptions, What: "CA file " + path, Cause: err, Remedy: "give the PEM file of the CA that issued the service's certificate"}
	}
	return string(text), nil
}

// newClient returns an HTTPS client that trusts only ca (or the system's roots), follows no redirect, and keeps time.
func newClient(ca, proxy string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
	}
	if ca != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(ca))
	}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, &Error{Kind: ErrOptions, What: "the proxy is no http or https URL", Remedy: "give it as --proxy http://proxy.example.com:3128"}
		}
		transport.Proxy = http.ProxyURL(u)
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the body holds a token
	}, nil
}

// post sends the request and returns the answer and how far this host's clock is ahead of the service's.
func post(ctx context.Context, client *http.Client, service string, request wire.RegisterRequest) (wire.RegisterAnswer, time.Duration, error) {
	var none wire.RegisterAnswer
	response, skew, err := send(ctx, client, service+wire.RegisterPath, request.Version, request)
	if err != nil {
		return none, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return none, skew, refusal(response)
	}
	answer, err := wire.DecodeRegisterAnswer(response.Body)
	if err != nil {
		return none, skew, notOurs(err)
	}
	return answer, skew, nil
}

// notOurs is the error of an answer that no Sallyport service gives.
func notOurs(err error) error {
	return &Error{Kind: ErrAnswer, Cause: err,
		Remedy: "check that --service is the address of a Sallyport service and that nothing between rewrites its answers"}
}

// send posts a document and returns the answer, whatever its status, and how far this host's clock is ahead of the service's. The document
// may hold a token: the copy made here is wiped.
func send(ctx context.Context, client *http.Client, to, version string, document any) (*http.Response, time.Duration, error) {
	body, err := json.Marshal(document)
	if err != nil {
		return nil, 0, err
	}
	defer clear(body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, 0, &Error{Kind: ErrOptions, Cause: err, Remedy: "check --service"}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, "+wire.ProblemType)
	r.Header.Set("User-Agent", "sallyport-agent/"+version)
	sent := time.Now()
	response, err := client.Do(r)
	if err != nil {
		return nil, 0, diagnose(err, r.URL.Hostname(), r.URL.Host)
	}
	return response, clockSkew(response.Header.Get("Date"), sent, time.Now()), nil
}

// clockSkew returns how far this host is ahead of a Date header that was made between sent and received; 0 without one. The
// header counts whole seconds, cut off, so any moment within its second fits.
func clockSkew(date string, sent, received time.Time) time.Duration {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return 0
	}
	switch {
	case theirs.Add(time.Second).Before(sent):
		return sent.Sub(theirs.Add(time.Second))
	case theirs.After(received):
		return received.Sub(theirs)
	}
	return 0
}

// refusal turns an HTTP error into an *Error: the service's own words when it is a problem document, otherwise what an
// administrator can guess from the number.
func refusal(response *http.Response) error {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err == nil && kind == wire.ProblemType {
		if p, err := wire.DecodeProblem(response.Body); err == nil {
			e := &Error{Kind: ErrRefused, Code: p.Code, What: shown(p.Title), Remedy: shown(p.Remedy), Trace: shown(p.Trace)}
			if p.Detail != "" {
				e.What += ": " + shown(p.Detail)
			}
			if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
				e.Kind = ErrUnreachable
			}
			if entry, ok := wire.Lookup(p.Code); ok && e.Remedy == "" {
				e.Remedy = entry.Remedy
			}
			if e.Remedy == "" {
				e.Remedy = "search the service's log for the trace id"
			}
			return e
		}
	}
	e := &Error{Kind: ErrAnswer, What: "HTTP status " + shown(response.Status)}
	switch location := response.Header.Get("Location"); {
	case location != "":
		e.What += ", which points to " + shown(location)
		e.Remedy = "give the address it points to with --service, if you trust it"
	case response.StatusCode == http.StatusNotFound:
		e.Remedy = "check --service: at this address nobody registers agents (" + wire.RegisterPath + ")"
	default:
		e.Remedy = "check --service, and whether a proxy answers in its place; look in the service's log"
	}
	return e
}

// shown makes a text of the other side fit for a terminal: one line, no control characters, bounded.
func shown(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 2*maxText {
		s = strings.ToValidUTF8(s[:2*maxText], "") + "…"
	}
	return s
}

// verify checks an answer against the keys made here and returns the identity it makes.
func verify(a wire.RegisterAnswer, service, ca string, store KeyStore, keys Keys, now time.Time) (*Identity, error) {
	chain, err := parseChain([]byte(a.Certificate))
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	facts := Facts{
		Service: service, Gateway: a.Gateway, GatewayCA: a.GatewayCA, TenantID: a.TenantID, TenantName: a.TenantName,
		DirectoryID: a.DirectoryID, DirectoryName: a.DirectoryName, AgentID: a.AgentID, AgentName: a.AgentName,
		TrustDomain: a.TrustDomain, Registered: now.UTC().Truncate(time.Second),
	}
	if facts.GatewayCA == "" {
		facts.GatewayCA = ca // what the administrator trusts for the service is what he trusts for its gateway
	}
	id, err := assemble(facts, store, keys, chain)
	if err != nil {
		return nil, err
	}
	id.pending = a.Pending
	if err := id.CheckTime(now); err != nil {
		return nil, err
	}
	if d := a.Expires.Sub(id.NotAfter()).Abs(); d >= time.Second {
		return nil, fmt.Errorf("it says that the certificate ends at %s, the certificate says %s", stamp(a.Expires), stamp(id.NotAfter()))
	}
	return id, nil
}

func answerError(err error, skew time.Duration) error {
	e := &Error{Kind: ErrAnswer, Cause: err, Remedy: "nothing was written; report this with the service's log, and make a new token before you try again"}
	if errors.Is(err, ErrExpired) || errors.Is(err, ErrClock) {
		e.Remedy = "set this host's clock (NTP), make a new token and try again"
		if skew != 0 {
			e.What = fmt.Sprintf("this host's clock is %s %s", skew.Abs().Round(time.Second), aheadOrBehind(skew))
		}
	}
	return e
}

func aheadOrBehind(skew time.Duration) string {
	if skew < 0 {
		return "behind the service's"
	}
	return "ahead of the service's"
}
