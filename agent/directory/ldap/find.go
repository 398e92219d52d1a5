package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

var _ directory.Finder = (*Validator)(nil)

// Find looks for the one account that has a typed name, as [directory.Finder] says. The reader looks, so there must be one. The codes of its errors:
// NameAmbiguous, NameNotLookedUp, DirectoryUnreachable and AgentTooSlow.
func (v *Validator) Find(ctx context.Context, attribute, name string) (*directory.Account, *directory.Error) {
	g := v.guard
	cannot := func(err error) (*directory.Account, *directory.Error) {
		return nil, &directory.Error{Code: wire.NameNotLookedUp, Cause: err}
	}
	switch {
	case g.config.Reader == "":
		return cannot(errors.New("the agent has no reader account: give --reader-name"))
	case !g.tries(time.Now()):
		return cannot(errRefused)
	}
	s, e := v.serving(ctx, "")
	if e != nil {
		return nil, e
	}
	base := s.baseDN()
	var why error
	var entries []*goldap.Entry
	look := func(c *conn) (err error) {
		if why, err = v.lookups.allows(c, attribute, time.Now()); why != nil || err != nil {
			return err
		}
		entries, err = c.few(base, findFilter(attribute, name, base), "objectGUID", "sAMAccountName", "userPrincipalName", attribute)
		return err
	}
	err := g.ask(ctx, s, look)
	order, _ := v.order()
	for _, other := range order {
		if !errors.Is(err, errUnanswered) || ctx.Err() != nil {
			break
		}
		if other != s {
			s, err = other, g.ask(ctx, other, look)
		}
	}
	switch {
	case errors.Is(err, errUnanswered):
		return nil, g.unreachable(ctx, err)
	case err != nil:
		return cannot(err)
	case why != nil:
		return cannot(why)
	}
	switch entries = called(entries, name, base); len(entries) {
	case 0:
		return nil, nil
	case 1:
		found := entries[0]
		anchor, _ := guid(found.GetRawAttributeValue("objectGUID")) // without it the service counts the name alone
		return &directory.Account{DN: found.DN, Anchor: anchor, SAM: found.GetAttributeValue("sAMAccountName"), Domain: dnsName(base),
			SignInName: ownValue(attribute, found.GetAttributeValues(attribute), name)}, nil
	}
	var names []string
	for _, entry := range entries[:min(len(entries), 4)] {
		names = append(names, entry.DN)
	}
	return nil, &directory.Error{Code: wire.NameAmbiguous, DC: s.address.String(),
		Cause: fmt.Errorf("%d accounts have it as %s: %s", len(entries), attribute, strings.Join(names, "; "))}
}

// called leaves the one account whose user principal name it is, explicit or else implicit, for which the directory itself takes the name: whoever may
// write somebody's mail address must not keep the owner of such a name out.
func called(entries []*goldap.Entry, name, base string) []*goldap.Entry {
	n := splitName(name)
	if those := having(entries, "userPrincipalName", n.upn); len(those) == 1 {
		return those
	}
	if those := having(entries, "sAMAccountName", n.account); len(those) == 1 && strings.EqualFold(n.domain, dnsName(base)) {
		return those
	}
	return entries
}

// mailPrefix stands before the addresses in proxyAddresses, in capitals before the one that is used first.
const mailPrefix = "smtp:"

func isProxy(attribute string) bool { return strings.EqualFold(attribute, "proxyAddresses") }

// findFilter finds all accounts that a name may mean where it may be a value of the attribute: those and those that the directory itself would
// take for it, which are its user principal names, explicit and implicit ([MS-ADTS] 5.1.1.1.1).
func findFilter(attribute, name, base string) string {
	name = strings.TrimSpace(name)
	value := name
	if isProxy(attribute) {
		value = mailPrefix + name
	}
	implicit := ""
	if n := splitName(name); n.upn != "" && strings.EqualFold(n.domain, dnsName(base)) {
		implicit = "(sAMAccountName=" + goldap.EscapeFilter(n.account) + ")"
	}
	return "(&(objectClass=user)(|(" + attribute + "=" + goldap.EscapeFilter(value) + ")(userPrincipalName=" + goldap.EscapeFilter(name) + ")" + implicit + "))"
}

// ownValue is the value of the attribute by which its owner is called, the same whatever was typed where there is one such: the address in
// capitals, the only value; else the typed one if it is among them, or none.
func ownValue(attribute string, values []string, name string) string {
	values = slices.Clone(values)
	if i := slices.IndexFunc(values, func(v string) bool { return strings.HasPrefix(v, strings.ToUpper(mailPrefix)) }); i >= 0 && isProxy(attribute) && len(values[i]) <= maxText {
		return values[i][len(mailPrefix):]
	}
	for i, v := range values {
		if isProxy(attribute) && len(v) > len(mailPrefix) && strings.EqualFold(v[:len(mailPrefix)], mailPrefix) {
			values[i] = v[len(mailPrefix):]
		}
		if strings.EqualFold(values[i], strings.TrimSpace(name)) {
			return values[i]
		}
	}
	if len(values) == 1 && len(values[0]) <= maxText {
		return values[0]
	}
	return ""
}

// lookups remember which attributes people may be looked up by.
type lookups struct {
	mu    sync.Mutex
	known map[string]lookup // by lower-case name
}

type lookup struct {
	why error // why not; nil if they may
	at  time.Time
}

// allows says why nobody may be looked up by this attribute, from the directory's schema; err that it could not be read.
func (l *lookups) allows(c *conn, attribute string, now time.Time) (why, err error) {
	key := strings.ToLower(attribute)
	if !isKeystring(attribute) { // it becomes part of a filter, and directories pass over spaces when they compare names
		return fmt.Errorf("%.80q is not the name of an attribute", attribute), nil
	}
	l.mu.Lock()
	known, ok := l.known[key]
	l.mu.Unlock()
	if ok && now.Sub(known.at) < schemaFor {
		return known.why, nil
	}
	root, err := c.oneEntry("", "schemaNamingContext")
	if err != nil {
		return nil, err
	}
	var entries []*goldap.Entry
	if schema := root; schema != nil && schema.GetAttributeValue("schemaNamingContext") != "" {
		if entries, err = c.few(schema.GetAttributeValue("schemaNamingContext"),
			"(&(objectClass=attributeSchema)(lDAPDisplayName="+goldap.EscapeFilter(attribute)+"))", "searchFlags", "attributeSyntax", "attributeSecurityGUID"); err != nil {
			return nil, err
		}
	}
	why = fmt.Errorf("the directory's schema has no attribute %q", attribute)
	if len(entries) == 1 {
		set, _ := guid(entries[0].GetRawAttributeValue("attributeSecurityGUID")) // most are in none
		why = lookable(attribute, entries[0].GetAttributeValue("searchFlags"), entries[0].GetAttributeValue("attributeSyntax"), set)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= mostLookups {
		l.known = map[string]lookup{}
	}
	l.known[key] = lookup{why, now}
	return why, nil
}

// isKeystring reports whether s has the form of an attribute's name (RFC 4512 §1.4).
func isKeystring(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return s != ""
}

// Bits of searchFlags ([MS-ADTS] 2.2.10).
const (
	attributeIndexed      = 0x01
	attributeConfidential = 0x80
)

// textSyntaxes are those of text ([MS-ADTS] 3.1.1.2.2.2): case-sensitive, teletex, IA5 and printable, and Unicode.
var textSyntaxes = []string{"2.5.5.3", "2.5.5.4", "2.5.5.5", "2.5.5.12"}

// ownSets are the property sets that users may write of themselves, as the schema makes users ([MS-ADTS] 3.1.1.2.3.3; Personal-Information,
// Email-Information, Web-Information): physicalDeliveryOfficeName and msDS-cloudExtensionAttribute1 to 20 are in one, mail and proxyAddresses are not.
var ownSets = []string{"77b5b886-944a-11d1-aebd-0000f80367c1", "e45795b2-9455-11d1-aebd-0000f80367c1", "e45795b3-9455-11d1-aebd-0000f80367c1"}

// lookable is the rule: people are looked up by text that is indexed, or each sign-in reads the whole directory; not confidential, or whoever asks
// the service could try values of what nobody may read; and not theirs to write, or everybody could take any name, or make another's ambiguous.
func lookable(attribute, searchFlags, syntax, propertySet string) error {
	flags, err := strconv.ParseInt(searchFlags, 10, 32)
	if searchFlags == "" {
		flags, err = 0, nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("the schema's searchFlags of %s is %.20q", attribute, searchFlags)
	case !slices.Contains(textSyntaxes, syntax):
		return fmt.Errorf("the attribute %s is no text", attribute)
	case flags&attributeConfidential != 0:
		return fmt.Errorf("the attribute %s is confidential", attribute)
	case slices.Contains(ownSets, propertySet):
		return fmt.Errorf("people may write %s of their own accounts, unless somebody has taken that right away: each could take another's name", attribute)
	case flags&attributeIndexed == 0:
		return fmt.Errorf("the attribute %s is not indexed: looking people up by it would read the whole directory each time", attribute)
	}
	return nil
}
