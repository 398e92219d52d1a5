package oidc

import (
	"context"
	"slices"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
)

// typeJWT is the typ header of ID tokens.
const typeJWT = "JWT"

// profileClaims are what the scope profile stands for (OpenID Connect Core §5.4), of those that a directory knows.
var profileClaims = []string{"upn", "preferred_username", "name", "given_name", "family_name"}

// wantedClaims returns the names of the claims that a scope and the claims parameter ask for together.
func wantedClaims(granted, wished []string, a app.App) []string {
	wanted := slices.Clone(wished)
	if slices.Contains(granted, scopeProfile) {
		wanted = append(wanted, profileClaims...)
	}
	if slices.Contains(granted, scopeEmail) {
		wanted = append(wanted, "email")
	}
	if slices.Contains(granted, scopeGroups) {
		wanted = append(wanted, "groups")
	}
	if !a.GroupClaims { // the administrator's word stands above the application's
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == "groups" })
	}
	return wanted
}

// addClaims puts the claims about a person and a sign-in into a set. What is not known is left out (OpenID Connect Core §5.3.2).
func addClaims(set map[string]any, wanted []string, u user.User, g grant) {
	for _, name := range wanted {
		var value string
		switch name {
		case "upn", "preferred_username":
			value = u.UPN
		case "name":
			value = u.DisplayName
		case "given_name":
			value = u.GivenName
		case "family_name":
			value = u.FamilyName
		case "email":
			value = u.Email
		case "groups":
			set[name] = append([]string{}, u.Groups...) // an empty list says "none", a missing claim "unknown"
		case "auth_time":
			set[name] = g.SignedIn.Unix()
		case "acr":
			value = acrPassword
		case "amr":
			set[name] = append([]string{}, g.Methods...)
		}
		if value != "" {
			set[name] = value
		}
	}
}

// size returns the bytes of a list of names.
func size(names []string) (n int) {
	for _, s := range names {
		n += len(s)
	}
	return n
}

// idToken makes an ID token (OpenID Connect Core §2). It has one audience, so it needs no azp. nonce is "" when there is none to
// repeat.
func (p *Provider) idToken(ctx context.Context, t tenant.Tenant, a app.App, g grant, u user.User, granted []string, nonce, access string,
	now time.Time) (string, error) {
	set := map[string]any{}
	addClaims(set, wantedClaims(granted, g.Claims.IDToken, a), u, g)
	if groups, ok := set["groups"].([]string); ok && (len(groups) > maxTokenGroups || size(groups) > maxTokenGroupBytes) {
		// Distributed claims: they are to be had at UserInfo (OpenID Connect Core §5.6.2).
		delete(set, "groups")
		set["_claim_names"] = map[string]string{"groups": "userinfo"}
		set["_claim_sources"] = map[string]any{"userinfo": map[string]string{"endpoint": p.issuer(t) + "/oauth2/userinfo"}}
	}
	set["iss"] = p.issuer(t)
	set["sub"] = u.ID
	set["aud"] = a.ID
	set["iat"] = now.Unix()
	set["exp"] = now.Add(idTokenLife).Unix()
	set["auth_time"] = g.SignedIn.Unix()
	set["acr"] = acrPassword
	set["at_hash"] = halfHash(access)
	if len(g.Methods) > 0 {
		set["amr"] = g.Methods // RFC 8176
	}
	if g.Session != "" {
		set["sid"] = g.Session
	}
	if nonce != "" {
		set["nonce"] = nonce
	}
	return p.keys.Sign(ctx, t.Scope(), a.Algorithm, typeJWT, set, now)
}
