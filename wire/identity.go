package wire

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// AgentIdentity is who an agent is, as its certificate says in one SPIFFE-style URI:
// spiffe://<trust domain>/tenant/<id>/agent/<id>.
type AgentIdentity struct{ TrustDomain, Tenant, Agent string }

// URI returns the identity as a URI for a certificate's subject alternative name.
func (i AgentIdentity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/tenant/" + i.Tenant + "/agent/" + i.Agent}
}

// ErrIdentity is wrapped by every refusal of [ParseAgentIdentity].
var ErrIdentity = errors.New("not an agent identity")

// ParseAgentIdentity reads an agent's URI strictly: no port, query, fragment, user, escapes or further path elements.
func ParseAgentIdentity(u *url.URL) (AgentIdentity, error) {
	if u == nil || u.Scheme != "spiffe" || u.Host == "" || u.Port() != "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" || u.RawPath != "" || u.Opaque != "" {
		return AgentIdentity{}, fmt.Errorf("%w: %q", ErrIdentity, u)
	}
	parts := strings.Split(u.Path, "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "tenant" || parts[3] != "agent" || !isID(parts[2]) || !isID(parts[4]) {
		return AgentIdentity{}, fmt.Errorf("%w: %q", ErrIdentity, u)
	}
	return AgentIdentity{TrustDomain: u.Host, Tenant: parts[2], Agent: parts[4]}, nil
}

// isID reports whether s has the form of our identifiers: 1 to 64 lower-case letters, digits and hyphens.
func isID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
