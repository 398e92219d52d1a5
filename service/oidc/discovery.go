package oidc

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// metadata is the provider's description of itself (OpenID Connect Discovery §3, RFC 8414 §2, RFC 9207 §3, RP-Initiated Logout
// §2.1).
type metadata struct {
	Issuer                 string   `json:"issuer"`
	Authorization          string   `json:"authorization_endpoint"`
	Token                  string   `json:"token_endpoint"`
	UserInfo               string   `json:"userinfo_endpoint"`
	Keys                   string   `json:"jwks_uri"`
	EndSession             string   `json:"end_session_endpoint"`
	Revocation             string   `json:"revocation_endpoint"`
	Scopes                 []string `json:"scopes_supported"`
	ResponseTypes          []string `json:"response_types_supported"`
	ResponseModes          []string `json:"response_modes_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	ACRs                   []string `json:"acr_values_supported"`
	SubjectTypes           []string `json:"subject_types_supported"`
	Algorithms             []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthentication    []string `json:"token_endpoint_auth_methods_supported"`
	RevokeAuthentication   []string `json:"revocation_endpoint_auth_methods_supported"`
	ClaimTypes             []string `json:"claim_types_supported"`
	Claims                 []string `json:"claims_supported"`
	Prompts                []string `json:"prompt_values_supported"`
	ChallengeMethods       []string `json:"code_challenge_methods_supported"`
	ClaimsParameter        bool     `json:"claims_parameter_supported"`
	RequestParameter       bool     `json:"request_parameter_supported"`
	RequestURIParameter    bool     `json:"request_uri_parameter_supported"`
	IssuerParameter        bool     `json:"authorization_response_iss_parameter_supported"`
	BackChannelLogout      bool     `json:"backchannel_logout_supported"`
	FrontChannelLogout     bool     `json:"frontchannel_logout_supported"`
	RequireRequestURIEntry bool     `json:"require_request_uri_registration"`
}

// metadataOf describes the provider with this issuer.
func metadataOf(issuer string) metadata {
	authentication := []string{"client_secret_basic", "client_secret_post", "none"}
	return metadata{
		Issuer:        issuer,
		Authorization: issuer + "/oauth2/authorize",
		Token:         issuer + "/oauth2/token",
		UserInfo:      issuer + "/oauth2/userinfo",
		Keys:          issuer + "/oauth2/keys",
		EndSession:    issuer + "/oauth2/logout",
		Revocation:    issuer + "/oauth2/revoke",
		Scopes:        knownScopes,
		ResponseTypes: []string{"code"},
		ResponseModes: []string{"query"},
		GrantTypes:    []string{"authorization_code", "refresh_token"},
		ACRs:          []string{acrPassword},
		SubjectTypes:  []string{"public"},
		Algorithms:    []string{"ES256", "RS256"},

		TokenAuthentication: authentication, RevokeAuthentication: authentication,
		ClaimTypes: []string{"normal", "distributed"},
		Claims: []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "acr", "amr", "sid", "upn", "preferred_username",
			"name", "given_name", "family_name", "email", "groups"},
		Prompts:          []string{"none", "login", "consent", "select_account"},
		ChallengeMethods: []string{"S256"},
		ClaimsParameter:  true,
		IssuerParameter:  true,
	}
}

// discovery answers with the provider's metadata (OpenID Connect Discovery §4).
func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request, c *call) error {
	cacheFor(w, metadataAge)
	writeJSON(w, http.StatusOK, metadataOf(p.issuer(c.tenant)))
	return nil
}

// publicKeys answers with the tenant's key set (RFC 7517 §5). A set without keys is not to be kept: the first key comes with the
// first token.
func (p *Provider) publicKeys(w http.ResponseWriter, r *http.Request, c *call) error {
	raw, err := p.keys.PublicKeys(r.Context(), c.tenant.Scope(), p.now())
	if err != nil {
		return err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return fmt.Errorf("oidc: read key set: %w", err)
	}
	if len(set.Keys) > 0 {
		cacheFor(w, keysAge)
	}
	writeJSON(w, http.StatusOK, json.RawMessage(raw))
	return nil
}

// cacheFor lets anybody keep the answer for a while.
func cacheFor(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(d.Seconds())))
}
