// Package locate asks DNS for the domain controllers of a domain, connects to them also while DNS fails ([Book]), and reads from a domain
// controller's own answer in which site this host is.
//
//	_ldap._tcp.SITE._sites.dc._msdcs.DOMAIN ──▶ near ─┐
//	                                                  ├─▶ Targets: checked, ordered, a few
//	     _ldap._tcp.dc._msdcs.DOMAIN ──────────▶ all ─┘
//
// What DNS says is not authenticated. So it refuses names outside of the domain: whoever can forge an answer could else send passwords to
// a host of his own, which has a certificate of some public authority. What it returns must still prove itself, by a certificate with
// the target's name and by the domain that it serves; that is package ldap's duty, which is the one that calls it, with packages doctor and, for
// the connections, kerberos.
package locate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Query says whose domain controllers are wanted.
type Query struct {
	// Domain is the DNS name, such as "corp.example".
	Domain string
	// Site is the name of the Active Directory site whose domain controllers are preferred; empty means no preference.
	Site string
}

// Target is a domain controller that DNS names.
type Target struct {
	// Host is its name in lower case without a last dot, Port the one for LDAP (not for LDAPS, of which AD makes no records).
	Host string
	Port uint16
	// Near says that it is of the site that was asked for.
	Near bool
	// Priority and Weight are the record's (RFC 2782): a lower priority goes first.
	Priority, Weight uint16
}

// Found is what DNS said, after the rules.
type Found struct {
	// Targets in the order of their use, at most [MaxTargets]; never empty without an error.
	Targets []Target
	// Records counts what DNS named, the site's and the domain's; Beyond how many usable targets were left out since there were enough.
	Records, Beyond int
	// Foreign are names outside of the domain, and such that are no names of hosts; at most three, as examples.
	Foreign []string
	// SiteUnknown says that DNS names no domain controllers for the site.
	SiteUnknown bool
}

// errNone is the answer that names nobody (RFC 2782: a target of "." means that the service is not available).
var errNone = errors.New("DNS names no domain controllers that can be used")

// Find asks DNS. On an error nothing is known, and what was found before may still be true. Resolver nil means the system's.
// Known are hosts that are in use, which are preferred among equals where not all are taken.
func Find(ctx context.Context, r *net.Resolver, q Query, known []string) (Found, error) {
	if err := q.Check(); err != nil {
		return Found{}, err
	}
	all, err := look(ctx, r, Name(q.Domain, ""))
	if err != nil {
		return Found{}, err
	}
	var near []*net.SRV
	unknown := false
	if q.Site != "" {
		near, err = look(ctx, r, Name(q.Domain, q.Site))
		var dns *net.DNSError
		if unknown = errors.As(err, &dns) && dns.IsNotFound; err != nil && !unknown {
			return Found{}, err
		}
	}
	f := Pick(q.Domain, near, all, known, rand.IntN)
	f.SiteUnknown = unknown
	if len(f.Targets) == 0 {
		if len(f.Foreign) > 0 {
			return f, fmt.Errorf("%w: %s is outside of %s", errNone, strings.Join(f.Foreign, ", "), q.Domain)
		}
		return f, errNone
	}
	return f, nil
}

// Check returns an error for a domain or a site that cannot be asked for.
func (q Query) Check() error {
	if !isHost(q.Domain) || !strings.Contains(q.Domain, ".") {
		return fmt.Errorf("domain %q: want its DNS name, such as corp.example", q.Domain)
	}
	if q.Site != "" && (!isHost(q.Site) || strings.Contains(q.Site, ".")) {
		return fmt.Errorf("site %q: want letters, digits and hyphens, at most %d", q.Site, maxLabel)
	}
	return nil
}

// Name is the name of the records (MS-ADTS 6.3.2.3): of the site's domain controllers, or of all with an empty site.
func Name(domain, site string) string {
	if site != "" {
		site += "._sites."
	}
	return "_ldap._tcp." + site + "dc._msdcs." + domain
}

// look asks for one name. The last dot keeps the resolver from trying its search list.
func look(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	// Records with broken names are left out by the resolver, which returns the others along with an error.
	_, records, err := r.LookupSRV(ctx, "", "", name+".")
	if len(records) > 0 {
		return records, nil
	}
	if err == nil {
		err = errNone
	}
	return nil, err
}

// Pick is the whole rule: it takes what can be used of the records of the site (near) and of the domain, each host once, orders them, and
// takes the first few. Random returns a number from 0 to below n.
func Pick(domain string, near, all []*net.SRV, known []string, random func(n int) int) Found {
	var f Found
	seen := map[string]bool{}
	for i, records := range [][]*net.SRV{near, all} {
		f.Records += len(records)
		var usable []Target
		for _, r := range records[:min(len(records), maxRecords)] {
			host := strings.ToLower(strings.TrimSuffix(r.Target, "."))
			switch {
			case host == "": // not available here
			case r.Port == 0 || !isHost(host) || !within(host, domain):
				if len(f.Foreign) < 3 && !slices.Contains(f.Foreign, host) {
					f.Foreign = append(f.Foreign, host[:min(len(host), maxName)])
				}
			default:
				usable = append(usable, Target{host, r.Port, i == 0, r.Priority, r.Weight})
			}
		}
		for _, t := range order(usable, known, random) {
			if !seen[t.Host] {
				seen[t.Host] = true
				f.Targets = append(f.Targets, t)
			}
		}
	}
	if n := len(f.Targets); n > MaxTargets {
		f.Targets, f.Beyond = f.Targets[:MaxTargets], n-MaxTargets
	}
	return f
}

// order sorts by priority, and within one by weight as RFC 2782 tells: those of weight 0 first, then each time the first whose running sum of
// weights reaches a random number. Known hosts go before others of their priority: they were drawn before.
func order(targets []Target, known []string, random func(n int) int) []Target {
	rest := slices.Clone(targets)
	strange := func(t Target) int {
		if slices.Contains(known, t.Host) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(rest, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(strange(a), strange(b)), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	var out []Target
	for len(rest) > 0 {
		group := slices.IndexFunc(rest, func(t Target) bool { return t.Priority != rest[0].Priority || strange(t) != strange(rest[0]) })
		if group < 0 {
			group = len(rest)
		}
		sum := 0
		for _, t := range rest[:group] {
			sum += int(t.Weight)
		}
		drawn, running := random(sum+1), 0
		at := slices.IndexFunc(rest[:group], func(t Target) bool { running += int(t.Weight); return running >= drawn })
		out = append(out, rest[at])
		rest = slices.Delete(rest, at, at+1)
	}
	return out
}

// within reports whether a host is one of the domain, at any depth.
func within(host, domain string) bool { return strings.HasSuffix(host, "."+strings.ToLower(domain)) }

// isHost reports whether s is a name of labels of letters, digits, hyphens and underscores, which AD allows (RFC 1123 §2.1, RFC 1035).
func isHost(s string) bool {
	if len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.TrimFunc(label, func(c rune) bool {
				return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
			}) != "" {
			return false
		}
	}
	return true
}

// URL is the address for package ldap: LDAPS on its own port, of which DNS has no records, or StartTLS on the one that DNS names.
func (t Target) URL(startTLS bool) string {
	if startTLS {
		return "ldap://" + net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	}
	return "ldaps://" + t.Host
}

// Ranks are the targets' order of preference, the first one's being first: those that are equally near and of one priority share one.
func (f Found) Ranks(first int) []int {
	ranks := make([]int, len(f.Targets))
	for i, t := range f.Targets {
		ranks[i] = first
		if i > 0 {
			ranks[i] = ranks[i-1]
			if t.Near != f.Targets[i-1].Near || t.Priority != f.Targets[i-1].Priority {
				ranks[i]++
			}
		}
	}
	return ranks
}
