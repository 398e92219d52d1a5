package oidc

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// tokenAnswer is a successful answer (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	IDToken      string `json:"id_token,omitempty"`
}

// token exchanges a code or a refresh token (RFC 6749 §3.2).
func (p *Provider) token(w http.ResponseWriter, r *http.Request, c *call) error {
	params, refused := readForm(w, r)
	if refused != nil {
		return refused
	}
	a, err := p.authenticate(r, c, params)
	if err != nil {
		return err
	}
	var answer tokenAnswer
	switch params.get("grant_type") {
	case "authorization_code":
		answer, err = p.exchange(r.Context(), c.tenant, a, params)
	case "refresh_token":
		answer, err = p.refresh(r.Context(), c.tenant, a, params)
	case "":
		err = invalidRequest("The parameter grant_type is missing.")
	default:
		err = newError("unsupported_grant_type", wire.BadRequest, "The grant types are authorization_code and refresh_token.")
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// The private causes of refused grants.
var (
	errForeign      = errors.New("it was issued to another client")
	errRevoked      = errors.New("its family was revoked")
	errExpired      = errors.New("it has expired")
	errUserGone     = errors.New("its user was removed or disabled")
	errReused       = errors.New("it was used before: its family is revoked now")
	errNoSecretForm = errors.New("it has not the form of a code or token of ours")
)

// badCode is the one answer to codes that yield nothing, whatever the cause (RFC 6749 §5.2).
func badCode(cause error) *protocolError {
	return invalidGrant("The code is unknown, expired, used, or of another client.").because(cause)
}

// fate is what becomes of a code or refresh token that was presented.
type fate int

const (
	refuse fate = iota // nothing happens
	issue              // it is used now, and yields tokens
	again              // it was used just now: the same successor
	reuse              // it was used before: its family falls
)

// judgeCode decides about a code, before any tokens are made. The binding to client, redirect address and verifier is checked
// first (RFC 6749 §4.1.3, RFC 7636 §4.6): a request that fails it neither uses the code nor, without them, revokes anything.
func judgeCode(code storedCode, g grant, appID, redirectURI, verifier string, now time.Time) (fate, *protocolError) {
	switch {
	case g.AppID != appID:
		return refuse, badCode(errForeign)
	case !code.Used.IsZero():
		return reuse, badCode(errReused) // RFC 6749 §4.1.2, before the other checks: whoever re-uses it may know no verifier
	case !g.Revoked.IsZero():
		return refuse, badCode(errRevoked)
	case !code.Expires.After(now):
		return refuse, badCode(errExpired)
	case code.RedirectURI != redirectURI:
		return refuse, invalidGrant("The redirect_uri differs from that of the authorization request.")
	case !verifies(verifier, code.Challenge):
		return refuse, invalidGrant("The code_verifier does not fit the code_challenge.")
	}
	return issue, nil
}

// exchange turns a code into tokens (RFC 6749 §4.1.3). Tokens are made before the transaction, since signing has its own, and are
// worth nothing unless the transaction marks the code used.
func (p *Provider) exchange(ctx context.Context, t tenant.Tenant, a app.App, params parameters) (tokenAnswer, error) {
	now, scope := p.now(), t.Scope()
	code := params.get("code")
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if params.get(name) == "" {
			return tokenAnswer{}, invalidRequest("The parameter %s is missing.", name)
		}
	}
	if !isSecret(code) {
		return tokenAnswer{}, badCode(errNoSecretForm)
	}
	stored, err := findCode(ctx, p.db.Reader(), scope, code)
	if errors.Is(err, errNoRow) {
		return tokenAnswer{}, badCode(err)
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	g, err := findGrant(ctx, p.db.Reader(), scope, stored.GrantID)
	if err != nil {
		return tokenAnswer{}, badCodeOr(err)
	}
	switch verdict, refused := judgeCode(stored, g, a.ID, params.get("redirect_uri"), params.get("code_verifier"), now); verdict {
	case issue:
	case reuse:
		return tokenAnswer{}, p.fall(ctx, scope, g.ID, now, refused)
	default:
		return tokenAnswer{}, refused
	}
	who, err := p.liveUser(ctx, scope, g)
	if err != nil {
		return tokenAnswer{}, badCodeOr(err)
	}
	access := newSecret()
	answer := tokenAnswer{AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(accessLife / time.Second), Scope: strings.Join(g.Scope, " ")}
	if answer.IDToken, err = p.idToken(ctx, t, a, g, who, g.Scope, g.Nonce, access, now); err != nil {
		return tokenAnswer{}, err
	}
	if g.Offline {
		answer.RefreshToken = newSecret()
	}
	verdict := issue
	err = p.db.Write(ctx, func(tx db.Querier) error {
		verdict = issue
		won, err := useCode(ctx, tx, scope, code, now)
		if err != nil {
			return err
		}
		if !won { // somebody else's exchange came between our look and now
			verdict = reuse
			return revokeGrant(ctx, tx, scope, g.ID, now)
		}
		if answer.RefreshToken != "" {
			if err := insertRefresh(ctx, tx, scope, answer.RefreshToken, g.ID, now, refreshExpiry(g, now)); err != nil {
				return err
			}
		}
		return p.insertIssued(ctx, tx, scope, g, access, g.Scope, now)
	})
	if err != nil {
		return tokenAnswer{}, badCodeOr(err)
	}
	if verdict == reuse {
		return tokenAnswer{}, badCode(errReused)
	}
	return answer, nil
}

// insertIssued stores an access token, if the grant still stands.
func (p *Provider) insertIssued(ctx context.Context, tx db.Querier, s tenant.Scope, g grant, access string, granted []string, now time.Time) error {
	live, err := liveGrant(ctx, tx, s, g.ID, now)
	if err != nil {
		return err
	}
	if !live {
		return errRevoked
	}
	return insertAccess(ctx, tx, s, access, storedAccess{GrantID: g.ID, Scope: granted, Expires: now.Add(accessLife)})
}

// fall revokes a family and returns the refusal.
func (p *Provider) fall(ctx context.Context, s tenant.Scope, grantID string, now time.Time, refused *protocolError) error {
	if err := p.db.Write(ctx, func(tx db.Querier) error { return revokeGrant(ctx, tx, s, grantID, now) }); err != nil {
		return err
	}
	return refused
}

// liveUser returns the user of a grant, or [errUserGone] when there is none whose sign-in still counts.
func (p *Provider) liveUser(ctx context.Context, s tenant.Scope, g grant) (user.User, error) {
	u, err := p.users.ByID(ctx, s, g.PersonID)
	if fault.Has(err, wire.NotFound) || fault.Has(err, wire.UserNotFound) || err == nil && !u.Admits(g.SignedIn) {
		return user.User{}, errUserGone
	}
	return u, err
}

// badCodeOr turns the causes that end a grant into the answer for codes, and leaves failures of ours alone.
func badCodeOr(err error) error {
	if grantOver(err) {
		return badCode(err)
	}
	return err
}

// grantOver reports whether an error says that a grant has ended or is gone, and not that we failed.
func grantOver(err error) bool {
	return errors.Is(err, errUserGone) || errors.Is(err, errRevoked) || errors.Is(err, errNoRow)
}

// refreshExpiry is when a refresh token issued now ends: with its idle time, and never after its grant.
func refreshExpiry(g grant, now time.Time) time.Time {
	if idle := now.Add(refreshIdle); idle.Before(g.Expires) {
		return idle
	}
	return g.Expires
}

// badRefresh is the one answer to refresh tokens that yield nothing, whatever the cause.
func badRefresh(cause error) *protocolError {
	return invalidGrant("The refresh token is unknown, expired, revoked, used, or of another client.").because(cause)
}

// judgeRefresh decides about a refresh token (RFC 6749 §6; RFC 9700 §4.14.2 for rotation). In the grace time again is said of a
// token whose salt is still there; whether its successor has been used is for the caller to look up.
func judgeRefresh(t storedRefresh, now time.Time) (fate, error) {
	switch {
	case !t.Expires.After(now):
		return refuse, errExpired
	case t.Used.IsZero():
		return issue, nil
	case len(t.Salt) > 0 && now.Sub(t.Used) <= refreshGrace:
		return again, nil
	}
	return reuse, errReused
}

// refresh rotates a refresh token. The successor keeps the grant's whole scope; a narrower scope is the access token's only
// (RFC 6749 §6: the new refresh token's scope is "identical to that of the refresh token" presented).
func (p *Provider) refresh(ctx context.Context, t tenant.Tenant, a app.App, params parameters) (tokenAnswer, error) {
	now, scope := p.now(), t.Scope()
	token := params.get("refresh_token")
	if token == "" {
		return tokenAnswer{}, invalidRequest("The parameter refresh_token is missing.")
	}
	if !isSecret(token) {
		return tokenAnswer{}, badRefresh(errNoSecretForm)
	}
	stored, err := findRefresh(ctx, p.db.Reader(), scope, token)
	if errors.Is(err, errNoRow) {
		return tokenAnswer{}, badRefresh(err)
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	g, err := findGrant(ctx, p.db.Reader(), scope, stored.GrantID)
	switch {
	case err != nil:
		return tokenAnswer{}, badRefreshOr(err)
	case g.AppID != a.ID:
		return tokenAnswer{}, badRefresh(errForeign)
	case !g.Revoked.IsZero():
		return tokenAnswer{}, badRefresh(errRevoked)
	case !g.Expires.After(now):
		return tokenAnswer{}, badRefresh(errExpired)
	}
	granted, refused := narrow(g.Scope, params.get("scope"))
	if refused != nil {
		return tokenAnswer{}, refused
	}
	who, err := p.liveUser(ctx, scope, g)
	if err != nil {
		return tokenAnswer{}, badRefreshOr(err)
	}
	access := newSecret()
	answer := tokenAnswer{AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(accessLife / time.Second), Scope: strings.Join(granted, " ")}
	if slices.Contains(granted, scopeOpenID) {
		// OpenID Connect Core §12.2: the new ID token has the original auth_time and no nonce.
		if answer.IDToken, err = p.idToken(ctx, t, a, g, who, granted, "", access, now); err != nil {
			return tokenAnswer{}, err
		}
	}
	var cause error
	err = p.db.Write(ctx, func(tx db.Querier) error {
		next, verdict, why, err := rotate(ctx, tx, scope, token, g, now)
		if err != nil {
			return err
		}
		answer.RefreshToken, cause = next, why
		switch verdict {
		case refuse:
			return nil
		case reuse:
			return revokeGrant(ctx, tx, scope, g.ID, now)
		}
		return p.insertIssued(ctx, tx, scope, g, access, granted, now)
	})
	if err != nil {
		return tokenAnswer{}, badRefreshOr(err)
	}
	if cause != nil {
		return tokenAnswer{}, badRefresh(cause)
	}
	return answer, nil
}

// rotate uses a refresh token inside the transaction that issues, by one conditional UPDATE, and returns its successor; or, when
// it was used before, says what that means. cause is why nothing is issued.
func rotate(ctx context.Context, tx db.Querier, s tenant.Scope, token string, g grant, now time.Time) (next string, verdict fate, cause, err error) {
	salt := newSalt()
	won, err := useRefresh(ctx, tx, s, token, salt, now)
	if err != nil {
		return "", refuse, nil, err
	}
	if won {
		next = successor(token, salt)
		if err := insertRefresh(ctx, tx, s, next, g.ID, now, refreshExpiry(g, now)); err != nil {
			return "", refuse, nil, err
		}
		return next, issue, nil, forgetSalts(ctx, tx, s, g.ID, token)
	}
	stored, err := findRefresh(ctx, tx, s, token)
	if err != nil {
		return "", refuse, nil, err
	}
	verdict, cause = judgeRefresh(stored, now)
	if verdict != again {
		return "", verdict, cause, nil
	}
	next = successor(token, stored.Salt)
	following, err := findRefresh(ctx, tx, s, next)
	if err != nil {
		return "", refuse, nil, err
	}
	if !following.Used.IsZero() {
		return "", reuse, errReused, nil // whoever has the successor got our answer: this is somebody else, or a fault
	}
	return next, again, nil, nil
}

// badRefreshOr turns the causes that end a grant into the answer for refresh tokens, and leaves failures of ours alone.
func badRefreshOr(err error) error {
	if grantOver(err) {
		return badRefresh(err)
	}
	return err
}

// narrow returns the scope of a refreshed access token: all that was granted, or the part that was asked for. More than was
// granted is refused (RFC 6749 §6).
func narrow(granted []string, asked string) ([]string, *protocolError) {
	wanted := scopes(asked)
	if len(wanted) == 0 {
		return granted, nil
	}
	for _, s := range wanted {
		if !slices.Contains(granted, s) {
			return nil, invalidScope("The scope goes beyond what was granted.")
		}
	}
	return wanted, nil
}
