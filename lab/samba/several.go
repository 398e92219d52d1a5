package samba

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/wire"
)

func (o Options) checkNetwork() error {
	switch {
	case o.Network == nil && (o.Join != nil || o.Trusts):
		return errors.New("samba: joining and trusts need a network")
	case o.Network != nil && (o.Address != "" || o.Dir != ""):
		return errors.New("samba: in a network neither address nor directory can be chosen")
	case o.Join != nil && o.Join.network != o.Network:
		return errors.New("samba: the domain controller to join is in another network")
	case o.Network != nil && o.Model == Single:
		// Samba asks DNS for others there, hence itself, and as a single process it would wait for itself.
		return errors.New("samba: a single process cannot serve in a network")
	}
	return nil
}

// nextName names the next domain controller of the domain: dc2 after dc1. All names are equally long.
func (dc *DC) nextName() string {
	number, _ := strconv.Atoi(strings.TrimPrefix(dc.domain.name, "dc"))
	return "dc" + strconv.Itoa(number+1)
}

// joinDomain fills the directory with a replica of the domain.
func (dc *DC) joinDomain(ctx context.Context, first *DC) error {
	ctx, cancel := context.WithTimeout(ctx, provisionTime)
	defer cancel()
	blank := filepath.Join(dc.dir, "blank.conf") // else the system's own settings would be copied
	if err := os.WriteFile(blank, []byte("[global]\n"), 0o600); err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	at := inNetwork(dc.trusts)
	err := dc.tool(ctx, first, blank, "domain", "join", dc.UPNSuffix, "DC", "--server="+first.Host, "--targetdir="+dc.dir, "--dns-backend=SAMBA_INTERNAL",
		"--option=netbios name="+strings.ToUpper(dc.domain.name), "--option=interfaces="+at.interfaces, "--option=bind interfaces only=yes")
	if err != nil {
		return err
	}
	dc.AdminPassword = wire.NewSecret(first.AdminPassword.Reveal())
	return os.WriteFile(passwordFile(dc.dir), dc.AdminPassword.Reveal(), 0o600)
}

// tool runs samba-tool where dc is, with the rights of Administrator of the domain of another one, which may be the same.
func (dc *DC) tool(ctx context.Context, as *DC, settings string, args ...string) error {
	cmd := dc.command(ctx, "samba-tool", append(args, "-U", "Administrator@"+as.Realm, "-s", settings)...)
	cmd.Env = append(os.Environ(), "PASSWD="+string(as.AdminPassword.Reveal()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("samba: samba-tool %s %s: %w: %s", args[0], args[1], err, tail(out))
	}
	return nil
}

// enterNames corrects the domain's DNS for a domain controller in a network, which Samba would do by itself some time later: the
// first one was made under another address, and a further one is not named beside it as a server of the domain.
func (dc *DC) enterNames(ctx context.Context, first *DC) error {
	own := netip.MustParseAddr(dc.Addr)
	writer, amend := dc, func(_ string, records []string) []string { return moved(records, madeAt, own) }
	if first != nil {
		from := namesake{first.domain.name, netip.MustParseAddr(first.Addr)}
		writer, amend = first, func(node string, records []string) []string {
			if strings.EqualFold(node, from.name) {
				return nil // the host itself
			}
			return doubled(records, from, namesake{dc.domain.name, own})
		}
	}
	err := writer.as(ctx, func(s *Session) error {
		for _, zone := range []string{"DC=DomainDnsZones,", "DC=ForestDnsZones,"} {
			found, err := s.Search(ldap.NewSearchRequest("CN=MicrosoftDNS,"+zone+dc.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
				"(objectClass=dnsNode)", []string{"dc", "dnsRecord"}, nil))
			if err != nil {
				return err
			}
			for _, e := range found.Entries {
				records := amend(e.GetAttributeValue("dc"), e.GetAttributeValues("dnsRecord"))
				if records == nil {
					continue
				}
				change := ldap.NewModifyRequest(e.DN, nil)
				change.Replace("dnsRecord", records)
				if err := s.Modify(change); err != nil {
					return fmt.Errorf("%s: %w", e.DN, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("samba: correcting the domain's DNS: %w", err)
	}
	dc.network.names.add(dc.UPNSuffix, own)
	if first != nil {
		return nil // joining has named it to Kerberos
	}
	return dc.as(ctx, dc.enterReplication)
}

// enterReplication adds the name by which other domain controllers ask Kerberos for tickets to replicate from this one ([MS-DRSR] 2.2.4.2).
func (dc *DC) enterReplication(s *Session) error {
	settings, err := s.Search(ldap.NewSearchRequest("CN=NTDS Settings,CN="+dc.domain.name+",CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,"+dc.BaseDN,
		ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"objectGUID"}, nil))
	if err != nil || len(settings.Entries) != 1 {
		return fmt.Errorf("samba: looking for the replication identity of %s: %w", dc.Host, err)
	}
	g := settings.Entries[0].GetRawAttributeValue("objectGUID")
	if len(g) != 16 {
		return fmt.Errorf("samba: the replication identity of %s is %x", dc.Host, g)
	}
	change := ldap.NewModifyRequest("CN="+dc.domain.name+",OU=Domain Controllers,"+dc.BaseDN, nil)
	change.Add("servicePrincipalName", []string{fmt.Sprintf("E3514235-4B06-11D1-AB04-00C04FC2DCD2/%x-%x-%x-%x-%x/%s",
		[]byte{g[3], g[2], g[1], g[0]}, []byte{g[5], g[4]}, []byte{g[7], g[6]}, g[8:10], g[10:], dc.UPNSuffix)})
	if err := s.Modify(change); err != nil {
		return fmt.Errorf("samba: naming %s for replication: %w", dc.Host, err)
	}
	return nil
}

// namesake is a host as DNS records name it.
type namesake struct {
	name    string
	address netip.Addr
}

// Types of DNS records, and where a dnsRecord has them ([MS-DNSP] 2.3.2.2, 2.2.2.1.1).
const (
	recordA, recordSRV = 1, 33
	recordType         = 2
	recordHeader       = 24
)

// moved returns the records with an address changed, or nil when none has it.
func moved(records []string, from, to netip.Addr) []string {
	out, hit := slices.Clone(records), false
	for i, r := range out {
		if isAddress(r, from) {
			out[i], hit = r[:recordHeader]+string(to.AsSlice()), true
		}
	}
	if !hit {
		return nil
	}
	return out
}

// doubled returns the records and for each that names a server of the domain one that names another, or nil when there is none. Both names
// are equally long.
func doubled(records []string, from, to namesake) []string {
	out := slices.Clone(records)
	for _, r := range records {
		if isAddress(r, from.address) {
			out = append(out, r[:recordHeader]+string(to.address.AsSlice()))
		} else if len(r) > recordHeader && r[recordType] == recordSRV {
			for at, own := recordHeader, label(from.name); at+len(own) <= len(r); at++ {
				if strings.EqualFold(r[at:at+len(own)], own) {
					out = append(out, r[:at]+label(to.name)+r[at+len(own):])
					break
				}
			}
		}
	}
	if len(out) == len(records) {
		return nil
	}
	return out
}

func isAddress(record string, a netip.Addr) bool {
	return len(record) > recordHeader && record[recordType] == recordA && record[recordHeader:] == string(a.AsSlice())
}

// label is a part of a name as DNS records have it: its length, then its bytes.
func label(name string) string { return string(rune(len(name))) + name }

// AwaitReplicated returns once everything that was written at dc before is at another domain controller of the domain, and fails when
// that does not happen. It asks for the replication, which comes by itself after some seconds.
func (dc *DC) AwaitReplicated(ctx context.Context, to *DC) error {
	mark := rand.Text()
	write := ldap.NewModifyRequest(peopleUnit+","+dc.BaseDN, nil)
	write.Replace("description", []string{mark}) // what is written later arrives later
	if err := dc.as(ctx, func(s *Session) error { return s.Modify(write) }); err != nil {
		return fmt.Errorf("samba: writing a mark: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, replicationTime)
	defer cancel()
	read := ldap.NewSearchRequest(peopleUnit+","+dc.BaseDN, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"description"}, nil)
	poll := time.NewTicker(replicationPoll)
	defer poll.Stop()
	for {
		asked := to.tool(ctx, dc, settingsFile(to.dir), "drs", "replicate", to.Host, dc.Host, dc.BaseDN)
		var found *ldap.SearchResult
		err := to.as(ctx, func(s *Session) (err error) {
			found, err = s.Search(read)
			return err
		})
		if err == nil && len(found.Entries) == 1 && found.Entries[0].GetAttributeValue("description") == mark {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("samba: %s does not have what %s has: %w (last: %w)", to.Host, dc.Host, ctx.Err(), errors.Join(asked, err))
		case <-poll.C:
		}
	}
}

// BadPwdCounts returns the domain controller's own counts of wrong passwords of all people, by sAMAccountName; 0 is left out.
func (dc *DC) BadPwdCounts(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := dc.as(ctx, func(s *Session) error {
		found, err := s.Search(ldap.NewSearchRequest(peopleUnit+","+dc.BaseDN, ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 0, false,
			"(badPwdCount>=1)", []string{"sAMAccountName", "badPwdCount"}, nil))
		if err != nil {
			return err
		}
		for _, e := range found.Entries {
			if counts[e.GetAttributeValue("sAMAccountName")], err = strconv.Atoi(e.GetAttributeValue("badPwdCount")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("samba: reading counts: %w", err)
	}
	return counts, nil
}

var attempt = regexp.MustCompile(`Auth: \[[^\]]*\] user \[[^\]]*\]\\\[([^\]]*)\]`)

// Attempts returns how often the domain controller was asked to judge a password, right or wrong, by the name that was given, in lower case: also
// names that it does not know. It reads the domain controller's own log, which only one in a network keeps.
func (dc *DC) Attempts() (map[string]int, error) {
	if dc.space == nil {
		return nil, errors.New("samba: a domain controller on loopback keeps no log of attempts")
	}
	log, err := os.ReadFile(dc.logFile())
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	counts := map[string]int{}
	for _, m := range attempt.FindAllSubmatch(log, -1) {
		counts[strings.ToLower(string(m[1]))]++
	}
	return counts, nil
}

// Vanish makes the domain controller unreachable from this process, as a broken line does: nothing that is sent either way arrives, connections
// stay open and silent, new ones are not refused. Other domain controllers still reach it. Only in a network, as all that follow.
func (dc *DC) Vanish(ctx context.Context) error { return dc.filter(ctx, "drop", "drop") }

// Mute drops what the domain controller says to this process. It hears and judges what is asked, and nobody is told.
func (dc *DC) Mute(ctx context.Context) error { return dc.filter(ctx, "", "drop") }

// Lose drops every packet between the domain controller and this process with a chance of so many in a hundred, each way.
func (dc *DC) Lose(ctx context.Context, percent int) error {
	rule := fmt.Sprintf("numgen random mod 100 < %d drop", percent)
	return dc.filter(ctx, rule, rule)
}

// Reappear ends whichever of these there is.
func (dc *DC) Reappear(ctx context.Context) error { return dc.filter(ctx, "", "") }

// filter gives the domain controller a packet filter in place of the one before: what becomes of what comes in from this process and of what goes out
// to it, as the rest of an nft rule; empty is nothing.
func (dc *DC) filter(ctx context.Context, in, out string) error {
	if dc.space == nil {
		return errors.New("samba: a domain controller on loopback has no network that could break")
	}
	rule := func(match, fate string) string {
		if fate == "" {
			return ""
		}
		return match + dc.network.here().String() + " " + fate
	}
	cmd := dc.space.command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("table ip lab\ndelete table ip lab\ntable ip lab {\nchain in { type filter hook input priority 0; %s; }\n"+
		"chain out { type filter hook output priority 0; %s; }\n}\n", rule("ip saddr ", in), rule("ip daddr ", out)))
	return output(cmd)
}

// AddNameSuffix gives the forest another suffix for sign-in names, "mail.example.com", beside the names of its domains.
func (dc *DC) AddNameSuffix(ctx context.Context, suffix string) error {
	change := ldap.NewModifyRequest("CN=Partitions,CN=Configuration,"+dc.BaseDN, nil)
	change.Add("uPNSuffixes", []string{suffix})
	if err := dc.as(ctx, func(s *Session) error { return s.Modify(change) }); err != nil {
		return fmt.Errorf("samba: adding the name suffix %s: %w", suffix, err)
	}
	return nil
}

// Trust makes two forests trust each other, with the name suffixes that they have now, as administrators of both would do. Both need [Options.Trusts].
func (dc *DC) Trust(ctx context.Context, other *DC) error {
	if !dc.trusts || !other.trusts {
		return errors.New("samba: a domain controller was not started for trusts")
	}
	ctx, cancel := context.WithTimeout(ctx, provisionTime)
	defer cancel()
	return dc.tool(ctx, other, settingsFile(dc.dir), "domain", "trust", "create", other.UPNSuffix, "--type=forest", "--direction=both", "--create-location=both")
}
