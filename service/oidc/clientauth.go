package oidc

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// credentials are what a client presents: an id, and a secret unless it is public.
type credentials struct{ id, secret string }

// The private causes of refused credentials.
var (
	errAssertion     = errors.New("client assertions are not supported")
	errBasicEncoding = errors.New("the Basic credentials are not correctly encoded")
	errNotBasic      = errors.New("the Authorization header is not Basic")
	errNoClient      = errors.New("no client_id was presented")
	errWrongSecret   = errors.New("the client secret is wrong")
	errNoSecret      = errors.New("a confidential client presented no secret")
	errPublicSecret  = errors.New("a public client presented a secret")
)

// readCredentials finds a client's credentials: in the Authorization header or in the body, and not in both (RFC 6749 §2.3: "MUST
// NOT use more than one authentication method"). An empty secret is none, so that a public client may use either place.
func readCredentials(header http.Header, p parameters) (credentials, *protocolError) {
	if p.get("client_assertion") != "" || p.get("client_assertion_type") != "" {
		return credentials{}, invalidClient(errAssertion)
	}
	inBody := credentials{id: p.get("client_id"), secret: p.get("client_secret")}
	values := header.Values("Authorization")
	if len(values) == 0 {
		if inBody.id == "" {
			return credentials{}, invalidClient(errNoClient)
		}
		return inBody, nil
	}
	if len(values) > 1 {
		return credentials{}, invalidRequest("The Authorization header must not be repeated.")
	}
	id, secret, ok := (&http.Request{Header: header}).BasicAuth()
	if !ok {
		return credentials{}, invalidClient(errNotBasic)
	}
	// RFC 6749 §2.3.1: both halves are form-encoded before they are put together.
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || !isText(id) || !isText(secret) {
		return credentials{}, invalidClient(errBasicEncoding)
	}
	if inBody.secret != "" {
		return credentials{}, invalidRequest("The client authenticates in two ways at once.")
	}
	if inBody.id != "" && inBody.id != id {
		return credentials{}, invalidRequest("The client_id differs from that in the Authorization header.")
	}
	if id == "" {
		return credentials{}, invalidClient(errNoClient)
	}
	return credentials{id: id, secret: secret}, nil
}

// authenticate returns the client that calls. Every failure looks the same from outside.
func (p *Provider) authenticate(r *http.Request, c *call, params parameters) (app.App, error) {
	cred, refused := readCredentials(r.Header, params)
	if refused != nil {
		return app.App{}, refused
	}
	ctx, scope := r.Context(), c.tenant.Scope()
	a, err := p.liveApp(ctx, scope, cred.id)
	if fault.Has(err, wire.AppUnknown) {
		return app.App{}, invalidClient(err)
	}
	if err != nil {
		return app.App{}, err
	}
	c.app = a.ID
	switch {
	case a.Public && cred.secret != "":
		return app.App{}, invalidClient(errPublicSecret)
	case a.Public:
		return a, nil
	case cred.secret == "":
		return app.App{}, invalidClient(errNoSecret)
	}
	right, err := p.apps.CheckSecret(ctx, scope, a.ID, cred.secret)
	if err != nil {
		return app.App{}, err
	}
	if !right {
		return app.App{}, invalidClient(errWrongSecret)
	}
	return a, nil
}

// limited makes an endpoint refuse an address that presented wrong secrets, codes or tokens too often, before it looks at more.
func (p *Provider) limited(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request, c *call) error {
		address := web.ClientAddress(r)
		if p.failures.exceeded(address, p.now()) {
			return tooManyFailures()
		}
		err := e(w, r, c)
		if err != nil {
			switch asProtocolError(err).name {
			case "invalid_client", "invalid_grant", "invalid_token":
				p.failures.failed(address, p.now())
			}
		}
		return err
	}
}

// bearer returns the access token of a request: from the header, or from the body of a POST (RFC 6750 §2.1, §2.2), never from
// the address (§2.3) and never from two places. It is "" when none was sent.
func bearer(w http.ResponseWriter, r *http.Request) (string, *protocolError) {
	if r.URL.RawQuery != "" {
		return "", invalidRequest("Parameters belong into the body of the request, not into its address.")
	}
	var inBody string
	if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "" {
		p, err := readForm(w, r)
		if err != nil {
			return "", err
		}
		inBody = p.get("access_token")
	}
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return inBody, nil
	}
	if len(values) > 1 || inBody != "" {
		return "", invalidRequest("The access token must be sent once.")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", nil // another scheme: as if nothing had been sent
	}
	return strings.TrimLeft(token, " "), nil
}
