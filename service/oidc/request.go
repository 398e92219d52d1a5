package oidc

import (
	"slices"
	"strconv"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
)

// The scopes that mean something here; all others are ignored (OpenID Connect Core §3.1.2.1), and the token response says
// what was granted (RFC 6749 §3.3).
const (
	scopeOpenID  = "openid"
	scopeProfile = "profile"
	scopeEmail   = "email"
	scopeGroups  = "groups"
	scopeOffline = "offline_access"
)

var knownScopes = []string{scopeOpenID, scopeProfile, scopeEmail, scopeGroups, scopeOffline}

// anyAge is the max age of a request that sets none.
const anyAge = time.Duration(-1)

// authorizeRequest is an application's request, checked.
type authorizeRequest struct {
	RedirectURI string
	State       string
	Nonce       string
	Challenge   string
	Scope       []string
	Claims      claimsRequest
	// MaxAge is how old the person's sign-in may be: anyAge for any, 0 for a fresh one.
	MaxAge        time.Duration
	Silent        bool // prompt=none
	SelectAccount bool // prompt=select_account
	LoginHint     string
	IDTokenHint   string
}

// parseAuthorize checks everything of an authorization request but client_id and redirect_uri, which are known to be good:
// its errors may be redirected. In the order of the checks it keeps to: what cannot be served, then what is malformed.
func parseAuthorize(p parameters, a app.App) (authorizeRequest, *protocolError) {
	q := authorizeRequest{
		RedirectURI: p.get("redirect_uri"),
		State:       p.get("state"),
		Nonce:       p.get("nonce"),
		Challenge:   p.get("code_challenge"),
		MaxAge:      anyAge,
		IDTokenHint: p.get("id_token_hint"),
	}
	if err := p.once(); err != nil {
		return q, err
	}
	// OpenID Connect Core §6, §3.1.2.6: request objects are not supported; saying so beats ignoring what they demand.
	if p.get("request") != "" {
		return q, invalidRequest("Request objects are not supported.").as("request_not_supported")
	}
	if p.get("request_uri") != "" {
		return q, invalidRequest("Request objects are not supported.").as("request_uri_not_supported")
	}
	if p.get("registration") != "" {
		return q, invalidRequest("Registration in the request is not supported.").as("registration_not_supported")
	}
	switch p.get("response_type") {
	case "code":
	case "":
		return q, invalidRequest("The parameter response_type is missing.") // RFC 6749 §3.1.1
	default:
		return q, invalidRequest("The only response_type is code.").as("unsupported_response_type")
	}
	if mode := p.get("response_mode"); mode != "" && mode != "query" {
		return q, invalidRequest("The only response_mode is query.")
	}
	q.Scope = grantable(scopes(p.get("scope")), a)
	if !slices.Contains(q.Scope, scopeOpenID) {
		return q, invalidScope("The scope must contain openid.") // OpenID Connect Core §3.1.2.1
	}
	// RFC 7636 §4.4.1, RFC 9700 §2.1.1: PKCE from every client. A missing method means plain (RFC 7636 §4.3), which is refused.
	switch {
	case q.Challenge == "":
		return q, invalidRequest("PKCE is required: the parameter code_challenge is missing.")
	case p.get("code_challenge_method") != "S256":
		return q, invalidRequest("The only code_challenge_method is S256, and it must be named.")
	case !isChallenge(q.Challenge):
		return q, invalidRequest("The code_challenge is not an S256 challenge.")
	}
	if len(q.Nonce) > maxNonceBytes {
		return q, invalidRequest("The nonce is longer than %d bytes.", maxNonceBytes)
	}
	if len(q.IDTokenHint) > maxTokenBytes {
		return q, invalidRequest("The id_token_hint is too large.")
	}
	if hint := p.get("login_hint"); len(hint) <= maxHintBytes {
		q.LoginHint = hint
	}
	if age := p.get("max_age"); age != "" {
		seconds, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return q, invalidRequest("The max_age is not a number of seconds.")
		}
		q.MaxAge = time.Duration(seconds) * time.Second
	}
	if err := q.readPrompt(p.get("prompt")); err != nil {
		return q, err
	}
	claims, err := parseClaims(p.get("claims"))
	if err != nil {
		return q, invalidRequest("Refused: %s.", err)
	}
	if !claims.met() {
		// OpenID Connect Core §5.5.1.1: an essential acr that cannot be met is a failed authentication.
		return q, invalidRequest("The requested acr cannot be met.").as("unmet_authentication_requirements")
	}
	q.Claims = claims
	return q, nil
}

// readPrompt reads prompt (OpenID Connect Core §3.1.2.1). consent is satisfied by the administrator's registration.
func (q *authorizeRequest) readPrompt(list string) *protocolError {
	prompts := scopes(list)
	for _, prompt := range prompts {
		switch prompt {
		case "none":
			if len(prompts) > 1 {
				return invalidRequest("The prompt none does not go together with others.")
			}
			q.Silent = true
		case "login":
			q.MaxAge = 0 // a sign-in that happens now, and is checked to have
		case "select_account":
			q.SelectAccount = true
		case "consent":
		default:
			return invalidRequest("The prompt is none of none, login, consent, select_account.")
		}
	}
	return nil
}

// grantable keeps the scopes that we know and that the app may have: groups only where the administrator allows them.
func grantable(asked []string, a app.App) []string {
	var out []string
	for _, s := range asked {
		if slices.Contains(knownScopes, s) && (s != scopeGroups || a.GroupClaims) {
			out = append(out, s)
		}
	}
	return out
}

// freshEnough reports whether a sign-in at the given time satisfies the request made at asked, both as stored (milliseconds).
// A max age of 0 wants a sign-in that happened after the request (OpenID Connect Core §3.1.2.1: prompt=login, max_age).
func freshEnough(signedIn, asked time.Time, maxAge time.Duration) bool {
	return maxAge == anyAge || !signedIn.Before(asked.Add(-maxAge))
}

// as returns a copy under another error code.
func (e *protocolError) as(name string) *protocolError {
	c := *e
	c.name = name
	return &c
}
