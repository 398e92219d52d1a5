package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// claimsRequest is what we keep of the claims parameter (OpenID Connect Core §5.5): the names of the claims that are wanted
// beyond those of the scopes, and the two values that are more than a wish. The zero value asks for nothing.
type claimsRequest struct {
	IDToken  []string `json:"id_token,omitempty"`
	UserInfo []string `json:"userinfo,omitempty"`
	// Subject is the user that must be signed in, "" for any (§5.5.1: the sub claim requested with a value).
	Subject string `json:"-"`
	// ACR holds the authentication contexts of which one must be met, nil for any (§5.5.1.1: acr as an essential claim).
	ACR []string `json:"-"`
}

// requestable are the claims that an application may ask for one by one.
var requestable = []string{"upn", "preferred_username", "name", "given_name", "family_name", "email", "groups", "auth_time",
	"acr", "amr"}

// claimWish is one member of id_token or userinfo; null is a wish without conditions.
type claimWish struct {
	Essential bool              `json:"essential"`
	Value     json.RawMessage   `json:"value"`
	Values    []json.RawMessage `json:"values"`
}

// errClaims is wrapped by every refusal of [parseClaims].
var errClaims = errors.New("the claims parameter")

// parseClaims reads the claims parameter; "" asks for nothing. Claims that we do not know are ignored (§5.5.1: the provider
// "is not required to return" them), what is no JSON object of the right form is refused.
func parseClaims(raw string) (claimsRequest, error) {
	if raw == "" {
		return claimsRequest{}, nil
	}
	if len(raw) > maxClaimsBytes {
		return claimsRequest{}, fmt.Errorf("%w is larger than %d bytes", errClaims, maxClaimsBytes)
	}
	if err := checkJSON([]byte(raw)); err != nil {
		return claimsRequest{}, err
	}
	var top struct {
		IDToken  map[string]*claimWish `json:"id_token"`
		UserInfo map[string]*claimWish `json:"userinfo"`
	}
	if err := json.Unmarshal([]byte(raw), &top); err != nil {
		return claimsRequest{}, fmt.Errorf("%w has not the form of OpenID Connect Core 5.5", errClaims)
	}
	var c claimsRequest
	for _, name := range requestable {
		if _, ok := top.IDToken[name]; ok {
			c.IDToken = append(c.IDToken, name)
		}
		if _, ok := top.UserInfo[name]; ok {
			c.UserInfo = append(c.UserInfo, name)
		}
	}
	if wish := top.IDToken["sub"]; wish != nil {
		wanted, err := wish.strings()
		if err != nil || len(wanted) > 1 {
			return claimsRequest{}, fmt.Errorf("%w asks for a sub that is not one string", errClaims)
		}
		if len(wanted) == 1 {
			c.Subject = wanted[0]
		}
	}
	if wish := top.IDToken["acr"]; wish != nil && wish.Essential {
		wanted, err := wish.strings()
		if err != nil {
			return claimsRequest{}, fmt.Errorf("%w asks for an acr that is not a string", errClaims)
		}
		c.ACR = wanted
	}
	return c, nil
}

// strings returns the values asked for, nil when any will do.
func (w claimWish) strings() ([]string, error) {
	raw := w.Values
	if w.Value != nil && !bytes.Equal(w.Value, []byte("null")) {
		raw = append(slices.Clone(raw), w.Value)
	}
	var out []string
	for _, r := range raw {
		var s *string
		if err := json.Unmarshal(r, &s); err != nil || s == nil {
			return nil, errClaims
		}
		out = append(out, *s)
	}
	return out, nil
}

// met reports whether a sign-in with our authentication context satisfies the request.
func (c claimsRequest) met() bool { return len(c.ACR) == 0 || slices.Contains(c.ACR, acrPassword) }

// encode returns the form that is stored with the request and the grant, "" when nothing is asked for.
func (c claimsRequest) encode() string {
	if len(c.IDToken) == 0 && len(c.UserInfo) == 0 {
		return ""
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic("oidc: two lists of strings cannot be encoded: " + err.Error())
	}
	return string(b)
}

// decodeStoredClaims reads what encode wrote.
func decodeStoredClaims(s string) (claimsRequest, error) {
	var c claimsRequest
	if s == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(s), &c); err != nil {
		return claimsRequest{}, fmt.Errorf("oidc: read stored claims: %w", err)
	}
	return c, nil
}

// checkJSON walks one JSON object without building anything: it refuses depth, size and, since readers differ in which one
// they take, members that come twice (RFC 8259 §4).
func checkJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	type level struct {
		object bool
		name   bool // the next token is a member's name
		seen   map[string]bool
	}
	var stack []level
	members := 0
	for {
		t, err := d.Token()
		if err == io.EOF && len(stack) == 0 && members > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w is not JSON", errClaims)
		}
		if members++; members > 4*maxClaimsMembers {
			return fmt.Errorf("%w has too many members", errClaims)
		}
		if len(stack) == 0 && t != json.Delim('{') || len(stack) == 0 && members > 1 {
			return fmt.Errorf("%w is not one JSON object", errClaims)
		}
		if n := len(stack) - 1; n >= 0 && stack[n].object {
			if name, ok := t.(string); ok && stack[n].name {
				if stack[n].seen[name] {
					return fmt.Errorf("%w has a member twice", errClaims)
				}
				if stack[n].seen[name] = true; len(stack[n].seen) > maxClaimsMembers {
					return fmt.Errorf("%w has too many members", errClaims)
				}
				stack[n].name = false
				continue
			}
			stack[n].name = true
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if len(stack) == maxClaimsDepth {
				return fmt.Errorf("%w is nested too deeply", errClaims)
			}
			stack = append(stack, level{object: t == json.Delim('{'), name: true, seen: map[string]bool{}})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
	}
}
