package ldap

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

var (
	errNoEntry   = errors.New("no entry of this name below the domain's own")
	errAmbiguous = errors.New("more than one entry of this name")
	errOther     = errors.New("the entry of this name may be another person's")
)

// attributes reads the entry of the person who is bound on this connection, as that person. Who was looked up was bound by the name of the entry.
//
// The name that was typed must find it, which is certain only for an explicit userPrincipalName: the directory itself looks
// there first. A name that is a sAMAccountName with a domain can exist in other domains too, so the entry found must be
// in the security token of the connection.
func (c *conn) attributes(ctx context.Context, check directory.Check) (*wire.Attributes, error) {
	c.server.mu.Lock()
	base := c.server.base
	c.server.mu.Unlock()
	if base == "" {
		return nil, errors.New("the server has not told the name of its domain's entry")
	}
	var a *wire.Attributes
	err := c.within(ctx, attributesTimeout, func() (err error) {
		if check.Account == nil {
			a, err = c.find(check.Name, base)
			return err
		}
		entry, err := c.oneEntry(check.Account.DN, userAttributes...)
		if err != nil {
			return err
		}
		if entry == nil {
			return errNoEntry
		}
		if a, err = fromEntry(entry, base); err == nil {
			a.SignInName = check.Account.SignInName
		}
		return err
	})
	return a, err
}

func (c *conn) find(name, base string) (*wire.Attributes, error) {
	n := splitName(name)
	if n.upn != "" {
		entry, err := c.one(base, "userPrincipalName", n.upn)
		if err == nil {
			return fromEntry(entry, base)
		}
		if !errors.Is(err, errNoEntry) {
			return nil, err
		}
	}
	if n.account == "" {
		return nil, errNoEntry
	}
	entry, err := c.one(base, "sAMAccountName", n.account)
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	mine := bears(token, entry)
	// A directory that tells no token has one domain, whose name must be the one that was typed.
	if !mine && (len(token) > 0 || !strings.EqualFold(n.domain, dnsName(base))) {
		return nil, errOther
	}
	return fromEntry(entry, base)
}

// bears reports whether the security identifier of an entry is in a token.
func bears(token [][]byte, entry *goldap.Entry) bool {
	sid := entry.GetRawAttributeValue("objectSid")
	return slices.ContainsFunc(token, func(t []byte) bool { return len(sid) > 0 && bytes.Equal(t, sid) })
}

// userAttributes are read of a user's entry.
var userAttributes = []string{"objectGUID", "objectSid", "userPrincipalName", "sAMAccountName", "displayName", "givenName", "sn", "mail", "memberOf"}

// one finds the one user whose attribute has the value.
func (c *conn) one(base, attribute, value string) (*goldap.Entry, error) {
	r, err := c.ldap.Search(&goldap.SearchRequest{BaseDN: base, Scope: goldap.ScopeWholeSubtree, SizeLimit: 2, EnforceSizeLimit: true,
		Filter:     "(&(objectClass=user)(" + attribute + "=" + goldap.EscapeFilter(value) + "))",
		Attributes: userAttributes})
	if err != nil && !goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) && !errors.Is(err, goldap.ErrSizeLimitExceeded) {
		return nil, fmt.Errorf("search: %w", err)
	}
	switch {
	case err != nil || len(r.Entries) > 1:
		return nil, errAmbiguous
	case len(r.Entries) == 0:
		return nil, errNoEntry // referrals to other domains, if any, are not followed
	}
	return r.Entries[0], nil
}

// token reads the security identifiers of whoever is bound (MS-ADTS 3.1.1.3.2, rootDSE tokenGroups); empty if the directory
// does not know the attribute.
func (c *conn) token() ([][]byte, error) {
	r, err := c.ldap.Search(&goldap.SearchRequest{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)",
		Attributes: []string{"tokenGroups"}, SizeLimit: 1, EnforceSizeLimit: true})
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if len(r.Entries) != 1 {
		return nil, nil
	}
	return r.Entries[0].GetRawAttributeValues("tokenGroups"), nil
}

// typedName is what a typed name can be looked up by. Empty fields do not apply.
type typedName struct{ upn, account, domain string }

// splitName takes user@domain as a UPN, explicit or implicit, and DOMAIN\user as account and domain. Other forms (distinguished
// names, security identifiers) give nothing. Directories ignore spaces around a name; other blanks
// belong to it, and may tell two people apart.
func splitName(name string) typedName {
	name = strings.Trim(name, " ")
	if domain, account, ok := strings.Cut(name, `\`); ok {
		return typedName{account: account, domain: domain}
	}
	if i := strings.LastIndexByte(name, '@'); i > 0 && i < len(name)-1 {
		return typedName{upn: name, account: name[:i], domain: name[i+1:]}
	}
	return typedName{}
}

// dnsName turns DC=corp,DC=example into corp.example; "" if it is anything else.
func dnsName(base string) string {
	dn, err := goldap.ParseDN(base)
	if err != nil {
		return ""
	}
	var labels []string
	for _, rdn := range dn.RDNs {
		if len(rdn.Attributes) != 1 || !strings.EqualFold(rdn.Attributes[0].Type, "DC") {
			return ""
		}
		labels = append(labels, rdn.Attributes[0].Value)
	}
	return strings.Join(labels, ".")
}

// fromEntry reads a user's entry; without an objectGUID there is nothing to hold on to and it fails.
func fromEntry(e *goldap.Entry, base string) (*wire.Attributes, error) {
	anchor, err := guid(e.GetRawAttributeValue("objectGUID"))
	if err != nil {
		return nil, err
	}
	a := &wire.Attributes{Anchor: anchor, UPN: e.GetAttributeValue("userPrincipalName"), DisplayName: text(e, "displayName"),
		GivenName: text(e, "givenName"), FamilyName: text(e, "sn"), Email: text(e, "mail")}
	if a.UPN == "" { // the implicit one (MS-ADTS 5.1.1.1.1)
		a.UPN = e.GetAttributeValue("sAMAccountName") + "@" + dnsName(base)
	}
	if len(a.UPN) > maxText || !utf8.ValidString(a.UPN) {
		return nil, errors.New("the entry's userPrincipalName cannot be used")
	}
	for _, attribute := range e.Attributes {
		// Very long lists come in parts (MS-ADTS 3.1.1.3.1.3.3, range retrieval); the first part is what we tell.
		if key := strings.ToLower(attribute.Name); key == "memberof" || strings.HasPrefix(key, "memberof;range=") {
			a.Groups = groupNames(attribute.Values)
		}
	}
	return a, nil
}

// guid prints an objectGUID as Windows does: the first three parts are little-endian (MS-DTYP 2.3.4).
func guid(b []byte) (string, error) {
	if len(b) != 16 {
		return "", fmt.Errorf("the entry's objectGUID has %d bytes", len(b))
	}
	var u uuid.UUID
	binary.BigEndian.PutUint32(u[0:], binary.LittleEndian.Uint32(b[0:]))
	binary.BigEndian.PutUint16(u[4:], binary.LittleEndian.Uint16(b[4:]))
	binary.BigEndian.PutUint16(u[6:], binary.LittleEndian.Uint16(b[6:]))
	copy(u[8:], b[8:])
	if u == uuid.Nil {
		return "", errors.New("the entry's objectGUID is zero")
	}
	return u.String(), nil
}

// text returns an attribute's first value, valid and of limited length.
func text(e *goldap.Entry, name string) string {
	s := strings.ToValidUTF8(e.GetAttributeValue(name), "")
	for len(s) > maxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// groupNames returns the common names of groups from their distinguished names, sorted. A name that cannot be read is left out,
// as is whatever exceeds the limits.
func groupNames(dns []string) []string {
	var names []string
	size := 0
	for _, text := range dns {
		if len(text) > maxDN {
			continue
		}
		dn, err := goldap.ParseDN(text)
		if err != nil || len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) != 1 {
			continue
		}
		first := dn.RDNs[0].Attributes[0]
		if !strings.EqualFold(first.Type, "CN") || first.Value == "" || !utf8.ValidString(first.Value) {
			continue
		}
		// Size in JSON, which can be six times that of the name.
		quoted, err := json.Marshal(first.Value)
		if size += len(quoted) + 1; err != nil || size > maxGroupBytes || len(names) == maxGroups {
			break
		}
		names = append(names, first.Value)
	}
	slices.Sort(names)
	return names
}
