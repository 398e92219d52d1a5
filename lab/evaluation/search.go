package evaluation

import (
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// result is the outcome of one request (RFC 4511 §4.1.9).
type result struct {
	code          int
	matched, text string
	oid           string // of an extended response
}

// Result codes (RFC 4511 appendix A).
const (
	codeSuccess             = 0
	codeOperations          = 1
	codeProtocol            = 2
	codeSizeLimit           = 4
	codeStrongerAuth        = 8
	codeUnavailableCritical = 12
	codeNoSuchObject        = 32
	codeInvalidDN           = 34
	codeInvalidCredentials  = 49
	codeUnwilling           = 53
)

// search answers a search request by handing each message's operation to send. The directory's read lock is held meanwhile, so
// send must not block on the network.
func (d *directory) search(s searchRequest, ldaps bool, send func(op *ber.Packet)) result {
	if s.scope < scopeBase || s.scope > scopeSub {
		return result{code: codeProtocol, text: "00002021: Protocol error. Invalid scope"}
	}
	if s.base == "" {
		if s.scope != scopeBase {
			return result{code: codeNoSuchObject, text: `empty base DN at ../../source4/dsdb/samdb/ldb_modules/partition.c:821`}
		}
		send(d.rootDSE(s.extended).packet(s))
		return result{}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	base, r := d.base(s.base)
	if base == nil {
		return r
	}
	if s.filter.approximate() {
		return result{code: codeOperations, text: "00002020: Indexed and full searches both failed!\n"}
	}
	sent := int64(0)
	for _, e := range d.candidates(s.filter) {
		if !within(e, base.key, s.scope) || !s.filter.matches(e) {
			continue
		}
		if s.limit > 0 && sent == s.limit {
			return result{code: codeSizeLimit}
		}
		sent++
		send(e.packet(s))
	}
	if base.key == d.baseKey && s.scope != scopeBase {
		for _, r := range d.references(s.scope, ldaps) {
			send(constructed(tagSearchReference, octets(tagOctetString, r)))
		}
	}
	return result{}
}

// base finds where a search begins.
func (d *directory) base(name string) (*entry, result) {
	invalid := result{code: codeInvalidDN, text: "00002032: ldb_search: invalid basedn '(null)'"}
	if strings.HasPrefix(name, "<") {
		if !strings.HasSuffix(name, ">") || !(isGUID(name) || strings.HasPrefix(fold(name), "<sid=s-1-")) {
			return nil, invalid
		}
		if e := d.byName[fold(name)]; e != nil {
			return e, result{}
		}
		return nil, result{code: codeNoSuchObject, text: "Base-DN '" + name + "' not found"}
	}
	k, err := keyOf(name)
	if err != nil {
		return nil, invalid
	}
	if e := d.byKey[k]; e != nil {
		return e, result{}
	}
	return nil, result{code: codeNoSuchObject, text: "acl_read: Error retrieving instanceType for base. at ../../source4/dsdb/samdb/ldb_modules/acl_read.c:967"}
}

// isGUID reports whether name is "<GUID=00000000-0000-0000-0000-000000000000>", in form.
func isGUID(name string) bool {
	inner, ok := strings.CutPrefix(fold(name), "<guid=")
	inner, closed := strings.CutSuffix(inner, ">")
	return ok && closed && len(inner) == 36 && strings.Trim(inner, "0123456789abcdef-") == "" && strings.Count(inner, "-") == 4
}

// candidates narrows a search by an index where the filter allows it. A directory of a few people needs none; one of a hundred
// thousand does.
func (d *directory) candidates(f *filter) []*entry {
	switch f.kind {
	case filterEqual:
		if slices.Contains(indexed[:], f.attribute) {
			value := f.value
			if f.attribute != "objectguid" {
				value = fold(value)
			}
			return d.found[f.attribute+"\x00"+value]
		}
	case filterAnd:
		for _, c := range f.children {
			if c.kind == filterEqual && slices.Contains(indexed[:], c.attribute) {
				return d.candidates(c)
			}
		}
	}
	return d.entries
}

// within reports whether an entry lies in the scope of a search.
func within(e *entry, base string, scope int64) bool {
	switch scope {
	case scopeBase:
		return e.key == base
	case scopeOne:
		return e.parent == base
	}
	return e.key == base || strings.HasSuffix(e.key, "\x00"+base)
}

// references are where the domain's other partitions would be. Agents must not follow them.
func (d *directory) references(scope int64, ldaps bool) []string {
	scheme, end := "ldap://", ""
	if ldaps {
		scheme = "ldaps://"
	}
	if scope == scopeOne {
		end = "??base"
	}
	var out []string
	for _, partition := range []string{"CN=Configuration,", "DC=DomainDnsZones,", "DC=ForestDnsZones,"} {
		out = append(out, scheme+d.suffix+"/"+partition+d.baseDN+end)
	}
	return out
}

// rootDSE describes the server (RFC 4512 §5.1; [MS-ADTS] 3.1.1.3.2).
func (d *directory) rootDSE(extended bool) *entry {
	e := &entry{}
	domain := d.baseDN
	if extended {
		domain = "<GUID=" + d.shownGUID + ">;<SID=" + d.shownSID + ">;" + domain
	}
	configuration := "CN=Configuration," + d.baseDN
	first, _, _ := strings.Cut(d.host, ".")
	e.set("vendorName", VendorName)
	e.set("defaultNamingContext", domain)
	e.set("rootDomainNamingContext", domain)
	e.set("configurationNamingContext", configuration)
	e.set("schemaNamingContext", "CN=Schema,"+configuration)
	e.set("namingContexts", d.baseDN)
	e.set("dnsHostName", d.host)
	e.set("serverName", "CN="+strings.ToUpper(first)+",CN=Servers,CN=Default-First-Site-Name,CN=Sites,"+configuration)
	e.set("ldapServiceName", d.suffix+":"+strings.ToLower(first)+"$@"+strings.ToUpper(d.suffix))
	e.set("domainControllerFunctionality", "4")
	e.set("domainFunctionality", "4")
	e.set("forestFunctionality", "4")
	e.set("supportedLDAPVersion", "2", "3")
	e.set("supportedControl", oidExtendedDN)
	e.set("supportedExtension", oidStartTLS)
	e.set("isSynchronized", "TRUE")
	e.set("isGlobalCatalogReady", "TRUE")
	return e
}

// packet makes a SearchResultEntry with the attributes that were asked for.
func (e *entry) packet(s searchRequest) *ber.Packet {
	all := len(s.attributes) == 0 || slices.Contains(s.attributes, "*")
	list := element(tagSequence)
	for i := range e.attributes {
		a := &e.attributes[i]
		if named := slices.Contains(s.attributes, a.folded); !named && (!all || a.asked) {
			continue
		}
		values := a.read()
		if len(values) == 0 {
			continue
		}
		set := element(tagSet)
		if !s.typesOnly {
			for _, v := range values {
				set.AppendChild(octets(tagOctetString, v))
			}
		}
		list.AppendChild(constructed(tagSequence, octets(tagOctetString, a.name), set))
	}
	return constructed(tagSearchEntry, octets(tagOctetString, e.dn), list)
}
