package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
)

// The rules: each makes findings of what a probe has seen. They contact nobody.

// judgeState judges the state folder and the certificate in it. That there is none yet is no fault of somebody who says where he will register.
func judgeState(folder string, id *identity.Identity, err error, service string, now time.Time) []Finding {
	var known *identity.Error
	switch {
	case errors.Is(err, identity.ErrNotRegistered) && service != "":
		return []Finding{{Note, "state folder", folder, "not registered yet; the gateway and the agent's own certificate are looked at after that", "Register when nothing else is in the way: sallyport-agent register."}}
	case errors.As(err, &known):
		return []Finding{{Error, "state folder", folder, known.Error(), known.Remedy}}
	case err != nil:
		return []Finding{{Error, "state folder", folder, err.Error(), "Run this as the agent's user, or as root."}}
	}
	f := id.Facts()
	all := []Finding{{OK, "state folder", folder, fmt.Sprintf("agent %s (%s) of tenant %s, directory %s; protected, and its parts belong together",
		f.AgentName, f.AgentID, f.TenantName, f.DirectoryName), ""}}
	left := id.NotAfter().Sub(now)
	cert := Finding{OK, "agent certificate", f.AgentName, "valid until " + stamp(id.NotAfter()), ""}
	switch {
	case now.Before(id.NotBefore()):
		cert.Severity, cert.Says = Error, "not valid before "+stamp(id.NotBefore())+", and this host's clock says "+stamp(now)
		cert.Remedy = "Set this host's clock (NTP)."
	case left <= 0:
		cert.Severity, cert.Says = Error, "expired at "+stamp(id.NotAfter())
		cert.Remedy = "Set this host's clock (NTP) if it is wrong; else ask for a new token and register this agent again."
	case left < id.NotAfter().Sub(id.NotBefore())/6:
		cert.Severity, cert.Says = Warning, fmt.Sprintf("ends in %s, at %s", left.Round(time.Minute), stamp(id.NotAfter()))
		cert.Remedy = "See that the agent runs and reaches its gateway; register it again before the end if nothing renews it."
	}
	return append(all, cert)
}

// judgeKeys judges where the private keys are, and what became of using them.
func judgeKeys(store, device string, err error) Finding {
	f := Finding{OK, "key store", store, "files that the agent's user alone may read", ""}
	if store != identity.KindFile {
		f.Says = "the keys are in this host's TPM, sign and open there, and are of no use elsewhere"
	}
	if device != "" {
		f.Says += " (" + device + ")"
	}
	var known *identity.Error
	if errors.As(err, &known) {
		return Finding{Error, "key store", store, known.Error(), known.Remedy}
	}
	if err != nil {
		return Finding{Error, "key store", store, err.Error(), "Restart the agent; if it stays so, the host."}
	}
	return f
}

// judgeService judges what the service answered.
func judgeService(service string, r reply) []Finding {
	all := []Finding{judgeProxy("service", r.proxy)}
	if r.err != nil {
		return append(all, refusedTLS("service", service, r.err, r.chain,
			"Check that the firewall lets this host out to the service, or give the proxy that may (--proxy, HTTPS_PROXY)."))
	}
	f := Finding{OK, "service", service, fmt.Sprintf("answers in %s; its certificate was issued by %s", r.took.Round(time.Millisecond), issuerOf(r.chain)), ""}
	if r.foreign {
		f.Severity = Note
		f.Says += ", which this system trusts and which is not the installation's own authority"
		f.Remedy = "That is right if the service has a public certificate. If it should have the installation's own, a proxy opens TLS: exempt the service from inspection."
	}
	all = append(all, f)
	if !r.skewKnown {
		return append(all, Finding{Note, "clock", service, "the service does not tell its time", ""})
	}
	return append(all, judgeSkew("the service's", r.skew, serviceSkewFails))
}

// judgeGateway judges the handshake with the gateway. There is one way in which an inspecting proxy shows: it presents a certificate that
// leads to none of the roots that the registration named.
func judgeGateway(gateway string, l link.Look, now time.Time) []Finding {
	all := []Finding{judgeProxy("gateway", l.Proxy)}
	if l.Err != nil {
		return append(all, refusedTLS("gateway", gateway, l.Err, l.Chain,
			"Check that the firewall lets this host out to the gateway's port, or give the proxy that may (--proxy, HTTPS_PROXY)."))
	}
	f := Finding{OK, "gateway", gateway, fmt.Sprintf("handshake in %s; its certificate was issued by %s", l.Took.Round(time.Millisecond), issuerOf(l.Chain)), ""}
	return append(all, f, judgeCertificates("gateway certificate", gateway, l.Chain, now))
}

// refusedTLS is the finding of a connection that did not come about; one whose certificate was refused names who issued it.
func refusedTLS(check, subject string, err error, chain []*x509.Certificate, otherwise string) Finding {
	f := Finding{Error, check, subject, "cannot be reached: " + err.Error(), otherwise}
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		f.Says = fmt.Sprintf("the certificate shown was issued by %s, which is not trusted for it: a proxy opens TLS, or another server answers", issuerOf(chain))
		f.Remedy = fmt.Sprintf("Exempt %s from TLS inspection: the agent's connection uses a client certificate, which inspection breaks. "+
			"If the installation has a new CA of its own, register again with --ca-file.", subject)
	case len(chain) > 0:
		f.Says = fmt.Sprintf("the certificate shown, issued by %s for %s, does not hold: %v", issuerOf(chain), strings.Join(chain[0].DNSNames, ", "), err)
		f.Remedy = "Set this host's clock (NTP) if it is wrong; else have the certificate renewed for this name."
	}
	return f
}

func judgeProxy(check, proxy string) Finding {
	if proxy == "" {
		return Finding{OK, "proxy", check, "none: straight to the " + check, ""}
	}
	return Finding{Note, "proxy", check, "through " + proxy, ""}
}

// judgeSkew judges how far another clock is ahead of ours.
func judgeSkew(whose string, skew, fails time.Duration) Finding {
	size := skew.Abs().Round(time.Second)
	f := Finding{OK, "clock", "", fmt.Sprintf("%s clock and this host's agree to %s", whose, max(size, time.Second)), ""}
	if size < skewWarns {
		return f
	}
	direction := "behind"
	if skew > 0 {
		direction = "ahead of"
	}
	f.Severity, f.Says = Warning, fmt.Sprintf("%s clock is %s %s this host's", whose, size, direction)
	f.Remedy = "Set both clocks by NTP."
	if size >= fails {
		f.Severity = Error
	}
	return f
}

// judgeValidator says which validator checks passwords. err says why it cannot.
func judgeValidator(kind, why string, k *kerberos.Config, err error) Finding {
	f := Finding{Severity: OK, Check: "validator", Subject: kind, Says: why}
	switch {
	case err != nil:
		f.Severity, f.Says, f.Remedy = Error, err.Error(), "Correct --realm, --kdc and --keytab, or use --validator ldap."
	case k != nil && k.Keytab == nil:
		f.Severity, f.Remedy = Warning, "Export a keytab for an account of this host and give it as --keytab, or use --validator ldap."
	case k != nil:
		f.Says += "; KDCs are proven by " + k.Keytab.Service()
		if k.Armor != "" {
			f.Says += ", and exchanges with them armoured with the ticket of " + k.Armor
		}
	}
	return f
}

// judgeKDC says what a KDC answers to a question that concerns nobody.
func judgeKDC(l kerberos.Look) []Finding {
	if l.Err != nil {
		return []Finding{{Error, "kdc", l.Address, l.Err.Error(),
			"Check --kdc, --realm, --kerberos-armor and the account of the keytab, and that the firewall lets this machine through to port 88 (TCP)."}}
	}
	skew := judgeSkew("the KDC's", l.ClockSkew, kdcFails)
	skew.Subject = l.Address
	says := "answers in " + l.Took.Round(time.Millisecond).String()
	if l.UDPErr == nil && l.UDPTook > 0 {
		says += ", by UDP in " + l.UDPTook.Round(time.Millisecond).String()
	}
	all := []Finding{{OK, "kdc", l.Address, says, ""}, skew}
	if l.UDPErr != nil {
		all = append(all, Finding{Warning, "kdc", l.Address, "UDP is of no use: " + l.UDPErr.Error() + "; everything goes by TCP",
			"Let this machine through to port 88 (UDP), or leave out --kdc-udp."})
	}
	return all
}

// kdcFails is the difference of clocks at which KDCs refuse (RFC 4120 §1.6).
const kdcFails = 5 * time.Minute

// judgeServer judges one domain controller.
func judgeServer(e ldap.Examination, now time.Time) []Finding {
	const check = "domain controller"
	if e.Err != nil {
		f := Finding{Error, check, e.Address, e.Err.Error(), e.Remedy}
		if len(e.Chain) > 0 {
			f.Says += "; its certificate was issued by " + issuerOf(e.Chain)
		}
		if f.Remedy == "" {
			f.Remedy = "Check that it runs, and that this host reaches it on that port."
		}
		return []Finding{f}
	}
	how := "LDAPS"
	if e.StartTLS {
		how = "StartTLS"
	}
	f := Finding{OK, check, e.Address, fmt.Sprintf("%s of %s answers in %s over %s", e.Host, e.NamingContext, e.Took.Round(time.Millisecond), how), ""}
	if e.Took > slowFrom {
		f.Severity, f.Remedy = Warning, "Put a nearer domain controller first."
	}
	all := []Finding{f, judgeCertificates("its certificate", e.Address, e.Chain, now)}
	if !e.Clock.IsZero() {
		all = append(all, judgeSkew(e.Address+"'s", e.ClockSkew, directorySkewFails))
	}
	return all
}

// judgeStrangers says what the directory shows to somebody without an account. The agent needs no more than that: it reads a person's own
// entry, as that person, on the connection on which the password was right.
func judgeStrangers(e ldap.Examination) Finding {
	f := Finding{OK, "directory rights", e.Address, "without an account only the root entry can be read, as it should be; the agent has and needs none: it reads a person's own entry as that person", ""}
	if e.Rights.People || e.Rights.Domain {
		what := "the domain's entry"
		if e.Rights.People {
			what = "entries of people"
		}
		f.Severity, f.Says = Warning, "anybody on the network can read "+what+" without an account"
		f.Remedy = "Forbid anonymous access (dSHeuristics, the seventh character), unless something old needs it; the agent does not."
	}
	return f
}

// judgeAccount says what the account that was given may read.
func judgeAccount(address string, r ldap.Rights, err error) Finding {
	const check = "directory rights"
	switch {
	case err != nil:
		return Finding{Warning, check, address, "nothing was read with the account: " + err.Error(), "Check name and password (sallyport-agent test-signin); a wrong one has counted once."}
	case !r.People:
		return Finding{Warning, check, address, "the account reads no entries of people: attributes of people who sign in may be missing, too",
			"Give authenticated users the right to read (Pre-Windows 2000 Compatible Access, or the permissions of the domain)."}
	case !r.Domain:
		return Finding{Note, check, address, "the account reads entries of people, and not the domain's own", ""}
	}
	return Finding{OK, check, address, "an ordinary account reads the domain's entry and those of people", ""}
}

// judgeGuard says what the lockout guard can see.
func judgeGuard(address string, g ldap.GuardStatus, err error) Finding {
	const check = "lockout guard"
	switch {
	case err != nil:
		return Finding{Warning, check, address, "could not be tried: " + err.Error(), "Look at the domain controller and the reader account, and try again."}
	case g.State == ldap.GuardOff:
		return Finding{Note, check, address, "no reader account: the agent spares no attempt that would lock somebody in the directory, and knows protected accounts by name alone",
			"Make an account that may read little (docs/operating/agent.md) and set reader-name and reader-password-file."}
	case g.State == ldap.GuardRefused:
		return Finding{Warning, check, address, "the directory does not accept the reader account: " + g.LastError,
			"Put the right password into the reader's file; each try with a wrong one counts."}
	case g.State == ldap.GuardPartial:
		return Finding{Warning, check, address, "the reader account may not read " + strings.Join(g.Missing, "; "), "Give it the rights that docs/operating/agent.md names."}
	case g.Domain == nil:
		return Finding{Warning, check, address, "nothing was read: " + g.LastError, "Look at the domain controller, and try again."}
	}
	return Finding{OK, check, address, fmt.Sprintf("the reader sees the domain's policy, %d password settings objects and counts of wrong passwords; %d attempts are kept in reserve",
		g.Objects, g.Reserve), ""}
}

// judgeCertificates judges the ends of a chain.
func judgeCertificates(check, subject string, chain []*x509.Certificate, now time.Time) Finding {
	if len(chain) == 0 {
		return Finding{Note, check, subject, "not seen", ""}
	}
	first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	f := Finding{OK, check, subject, fmt.Sprintf("issued by %s; the chain ends at %s", issuerOf(chain), stamp(first.NotAfter)), ""}
	if left := first.NotAfter.Sub(now); left < certificateWarns {
		f.Severity, f.Says = Warning, fmt.Sprintf("%s ends in %s, at %s", first.Subject, max(left, 0).Round(time.Hour), stamp(first.NotAfter))
		f.Remedy = "Have it renewed; see that whatever renews it works."
	}
	return f
}

// defaultThreshold is the service's lockout.threshold where nobody has set another.
const defaultThreshold = 4

// judgeLockout compares the directory's lockout with the service's threshold, 0 if that is not known.
func judgeLockout(address string, p *ldap.LockoutPolicy, threshold int) Finding {
	const check = "lockout policy"
	service := fmt.Sprintf("the service's %d", threshold)
	if threshold == 0 {
		threshold, service = defaultThreshold, fmt.Sprintf("the service's default, %d (its real one is not known here: --service-threshold)", defaultThreshold)
	}
	switch {
	case p == nil:
		return Finding{Note, check, address, "not told without an account, as usual: doctor --as NAME reads it, or net accounts /domain on a joined computer",
			fmt.Sprintf("See that the directory locks later than the service does. To be compared with: %s.", service)}
	case p.Threshold == 0:
		return Finding{OK, check, address, "the directory never locks accounts; the service's own smart lockout stands alone", ""}
	}
	f := Finding{OK, check, address, fmt.Sprintf("the directory locks after %d wrong passwords within %s, for %s; compared with %s", p.Threshold, p.Window, forHowLong(p.Duration), service), ""}
	switch {
	case p.Threshold <= threshold:
		f.Severity = Warning
		f.Remedy = fmt.Sprintf("Strangers at the sign-in page could lock accounts in the directory. Ask the operator for lockout.threshold: %d, or raise the directory's.", max(p.Threshold-1, 1))
	case p.Threshold == threshold+1:
		f.Severity = Note
		f.Remedy = "One wrong password elsewhere (a phone, a drive) and the directory locks first. A distance of two or more is better."
	}
	return f
}

// forHowLong prints a lockout's duration; zero is until an administrator unlocks (MS-ADA1 lockoutDuration), or was not told.
func forHowLong(d time.Duration) string {
	if d == 0 {
		return "as long as nobody unlocks it"
	}
	return d.String()
}

// judgeContexts sees to it that all domain controllers serve one domain.
func judgeContexts(contexts map[string][]string) []Finding {
	if len(contexts) < 2 {
		return nil
	}
	var parts []string
	for _, base := range slices.Sorted(maps.Keys(contexts)) {
		parts = append(parts, fmt.Sprintf("%s: %s", base, strings.Join(contexts[base], ", ")))
	}
	return []Finding{{Error, "domain controllers", "", "they serve different domains: " + strings.Join(parts, "; "),
		"One agent asks the domain controllers of one domain. Give those of one, and run another agent for the other."}}
}

// judgeFound says what DNS said about the domain controllers of --domain; given is how many there are besides.
func judgeFound(domain, site string, given int, f locate.Found, err error) []Finding {
	const check = "DNS"
	if err != nil {
		bad := Finding{Error, check, domain, fmt.Sprintf("%s: %v", locate.Name(domain, ""), err),
			"Check --domain, and this host's resolver (nslookup -type=SRV " + locate.Name(domain, "") + "). Domain controllers with names outside of the domain are given with --dc."}
		if given > 0 {
			bad.Severity = Warning // those that are given are asked
		}
		return []Finding{bad}
	}
	var hosts []string
	for _, t := range f.Targets {
		hosts = append(hosts, t.Host)
	}
	said := Finding{OK, check, domain, fmt.Sprintf("%d domain controllers: %s", len(hosts), strings.Join(hosts, ", ")), ""}
	if f.Beyond > 0 {
		said.Says += fmt.Sprintf("; %d more are not needed", f.Beyond)
	}
	if len(hosts)+given < 2 {
		said.Severity, said.Remedy = Warning, "With one domain controller nobody can sign in while it restarts: set up a second, or give one with --dc."
	}
	all := []Finding{said}
	if f.SiteUnknown {
		all = append(all, Finding{Warning, check, domain, "it knows no domain controllers of the site " + site, "Correct --site, or leave it out: a domain controller tells which site this host is in."})
	}
	if len(f.Foreign) > 0 {
		all = append(all, Finding{Warning, check, domain, "names outside of the domain are not used: " + strings.Join(f.Foreign, ", "),
			"If they are domain controllers of the domain, give each with --dc; else find out who put them into DNS."})
	}
	return all
}

// judgePreference says which server is asked first, and why.
func judgePreference(examined []ldap.Examination, ranks []int) []Finding {
	order, why := ldap.Preference(examined, ranks)
	if len(order) == 0 {
		return nil // each has been complained of
	}
	var names []string
	for _, i := range order {
		names = append(names, examined[i].Address)
	}
	f := Finding{OK, "preference", names[0], "is asked first: " + why, ""}
	if len(names) > 1 {
		f.Says += "; then " + strings.Join(names[1:], ", ")
	}
	return []Finding{f}
}

// judgeSRV compares the configured servers with those that DNS names.
func judgeSRV(domain string, configured []string, r records) []Finding {
	const check = "DNS"
	name := "_ldap._tcp.dc._msdcs." + domain
	if r.err != nil || len(r.hosts) == 0 {
		says := name + " names no domain controllers"
		if r.err != nil {
			says = fmt.Sprintf("%s: %v", name, r.err)
		}
		return []Finding{{Note, check, domain, says, "The agent uses the domain controllers of its settings, so this is no fault; this host's resolver does not know the domain."}}
	}
	slices.Sort(r.hosts)
	f := Finding{OK, check, domain, fmt.Sprintf("%d domain controllers: %s", len(r.hosts), strings.Join(r.hosts, ", ")), ""}
	if len(configured) < 2 && len(r.hosts) > 1 {
		f.Severity, f.Remedy = Warning, "Only one of them is in the settings: add a second --dc, so that it can be restarted, or give --domain in place of them."
	}
	return []Finding{f}
}

// issuerOf names who issued a chain's first certificate.
func issuerOf(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return "nobody known"
	}
	return fmt.Sprintf("%q", chain[0].Issuer.String())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
