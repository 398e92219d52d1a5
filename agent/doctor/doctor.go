// Package doctor examines an agent's host and says what stands in the way of passwords being checked, or will: the state folder and
// certificate, the proxy, the service and the gateway, and each domain controller.
//
//	Examine ── probes, all at once ──▶ what was seen ── rules (judge…) ──▶ findings with severity and remedy
//
// It refuses to change anything, to send anybody's password unless it is given an account to look as, and to accept a certificate that the agent would not: an interceptor is found
// because verification fails, and named from what it showed.
//
// The command line calls it.
package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
)

// Severity is how bad a finding is.
type Severity string

// The severities. Only an Error keeps passwords from being checked now.
const (
	OK      Severity = "ok"
	Note    Severity = "note"    // for information: something that could not be looked at, or that is as it should be but worth knowing
	Warning Severity = "warning" // will fail one day, or already costs something
	Error   Severity = "error"
)

// Finding is one thing that was looked at.
type Finding struct {
	Severity Severity `json:"severity"`
	// Check is what was looked at ("state", "service", "gateway", "domain controller" …), Subject which one.
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"`
	// Says is what was seen, Remedy what to do; empty when nothing is to be done.
	Says   string `json:"says"`
	Remedy string `json:"remedy,omitempty"`
}

// Config says what to examine.
type Config struct {
	// State is the state folder.
	State string
	// Service and ServiceCA are where the agent is to register, and the authorities in PEM that the service's certificate must lead to (empty:
	// the system's). They are used before the registration, after which the state folder knows better.
	Service, ServiceCA string
	// Servers and RootCAs are those of the agent's settings, as are Domain, Site and StartTLS for servers that DNS names. Neither servers nor a domain is a
	// finding.
	Servers      []string
	RootCAs      *x509.CertPool
	Domain, Site string
	StartTLS     bool
	// Resolver is asked for domain controllers and their addresses; nil means the system's.
	Resolver *net.Resolver
	// Validator and Why are which one checks passwords ("ldap", "kerberos", "windows") and why; Kerberos and Windows are its configuration, nil for others.
	Validator, Why string
	Kerberos       *kerberos.Config
	Windows        *windows.Config
	// Proxy is that of the settings; nil means that of the environment.
	Proxy *url.URL
	// Threshold is after how many wrong passwords the service locks (its lockout.threshold); 0 means that it is not known.
	Threshold int
	// Account and Password, if given, are used for one bind at the first domain controller that is well, to see what an account may read.
	Account  string
	Password wire.Secret
	// Guard is that of the settings: its reader binds once. WithoutGuard says that nothing is known of it, and so nothing is said.
	Guard        ldap.Guard
	WithoutGuard bool
	// Progress is told what is looked at, by one goroutine at a time; nil is allowed.
	Progress func(string)
}

// Examine looks at everything, and returns what it found in the order of the drawing's duties: host, service, gateway, domain controllers.
// Probes run at once and each has a time limit of its own, so that it takes half a minute at most, however much is broken.
func Examine(ctx context.Context, c Config) []Finding {
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	var all []Finding
	add := func(f ...Finding) { all = append(all, f...) }

	c.Progress("state folder")
	id, err := identity.Open(c.State)
	ranks, dns := c.find(ctx)
	var (
		probes  sync.WaitGroup
		service reply
		gateway link.Look
		servers = make([]ldap.Examination, len(c.Servers))
		kdcs    []kerberos.Look
		refused error
		host    hostLook
	)
	if id != nil {
		c.Service, c.ServiceCA = id.Facts().Service, id.Facts().GatewayCA
		c.Progress("gateway " + id.Gateway())
		probes.Go(func() { gateway = probeGateway(ctx, id, c.Proxy) })
	}
	if c.Service != "" {
		c.Progress("service " + c.Service)
		probes.Go(func() { service = askService(ctx, c.Service, c.ServiceCA, c.Proxy) })
	}
	for i, server := range c.Servers {
		c.Progress("domain controller " + server)
		probes.Go(func() { servers[i] = ldap.Examine(ctx, server, c.RootCAs, c.Resolver) })
	}
	if c.Kerberos != nil {
		c.Progress("KDCs")
		if len(c.Kerberos.KDCs) == 0 {
			byDefault := *c.Kerberos
			byDefault.Hosts = func() []string { return hostsOf(c.Servers) }
			c.Kerberos = &byDefault
		}
		if v, err := kerberos.New(*c.Kerberos); err != nil {
			refused = err
		} else {
			probes.Go(func() { kdcs = v.Look(ctx) })
		}
	}
	if c.Windows != nil {
		c.Progress("Windows")
		probes.Go(func() { host = lookAtWindows(ctx, *c.Windows) })
	}
	probes.Wait()

	now := time.Now()
	add(judgeState(c.State, id, err, c.Service, now)...)
	if id != nil {
		add(judgeKeys(id.KeyStore(), id.KeyDevice(), id.CheckKeys()))
	}
	if c.Service != "" {
		add(judgeService(c.Service, service)...)
	}
	if id != nil {
		add(judgeGateway(id.Gateway(), gateway, now)...)
	}
	if c.Validator != "" {
		add(judgeValidator(c.Validator, c.Why, c.Kerberos, refused))
	}
	for _, k := range kdcs {
		add(judgeKDC(k)...)
	}
	if c.Windows != nil {
		add(judgeWindows(host)...)
	}
	add(dns...)
	if len(c.Servers) == 0 && c.Domain == "" && c.Windows == nil {
		add(Finding{Error, "domain controller", "", "no domain controller is given", "Give the domain with --domain or each with --dc, or as domain or dc in the settings file of --config."})
	}
	contexts, well := map[string][]string{}, ""
	for i, e := range servers {
		add(judgeServer(e, now)...)
		if e.Err == nil {
			contexts[strings.ToLower(e.NamingContext)] = append(contexts[strings.ToLower(e.NamingContext)], e.Address)
			well = cmp.Or(well, c.Servers[i])
		}
	}
	add(judgeContexts(contexts)...)
	add(judgePreference(servers, ranks)...)
	if well != "" {
		add(c.directory(ctx, well, servers)...)
	}
	if c.Domain != "" {
		return all
	}
	domains := map[string][]string{}
	for base, addresses := range contexts {
		domains[domainOf(base)] = addresses
	}
	if len(domains) == 0 { // none answers; the name of one may tell where others are
		for _, e := range servers {
			if domain := domainOfHost(e.Address); domain != "" {
				domains[domain] = append(domains[domain], e.Address)
			}
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(domains)) {
		if domain != "" {
			c.Progress("DNS of " + domain)
			add(judgeSRV(domain, domains[domain], lookSRV(ctx, domain))...)
		}
	}
	return all
}

// find adds the servers that DNS names, and returns the rank of each server, and what there is to say about DNS.
func (c *Config) find(ctx context.Context) (ranks []int, all []Finding) {
	for i := range c.Servers {
		ranks = append(ranks, i)
	}
	if c.Domain == "" {
		return ranks, nil
	}
	c.Progress("DNS of " + c.Domain)
	limited, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	found, err := locate.Find(limited, c.Resolver, locate.Query{Domain: c.Domain, Site: c.Site}, nil)
	all = judgeFound(c.Domain, c.Site, len(c.Servers), found, err)
	given := hostsOf(c.Servers)
	c.Servers = slices.Clone(c.Servers)
	for i, rank := range found.Ranks(len(c.Servers)) {
		if t := found.Targets[i]; !slices.ContainsFunc(given, func(host string) bool { return strings.EqualFold(host, t.Host) }) {
			c.Servers, ranks = append(c.Servers, t.URL(c.StartTLS)), append(ranks, rank)
		}
	}
	return ranks, all
}

// hostsOf are the hosts of domain controllers' addresses, each once; what is no address is refused elsewhere.
func hostsOf(servers []string) []string {
	var hosts []string
	for _, server := range servers {
		if !strings.Contains(server, "://") {
			server = "ldaps://" + server
		}
		if u, err := url.Parse(server); err == nil && u.Hostname() != "" && !slices.Contains(hosts, u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// directory is what can be read of the directory, with the account if there is one: rights, and the policy of lockout.
func (c Config) directory(ctx context.Context, well string, servers []ldap.Examination) []Finding {
	first := servers[slices.IndexFunc(servers, func(e ldap.Examination) bool { return e.Err == nil })]
	all := []Finding{judgeStrangers(first)}
	policy := first.Lockout
	if c.Account != "" {
		c.Progress("directory as " + c.Account)
		rights, told, err := ldap.ExamineAs(ctx, well, c.RootCAs, c.Resolver, c.Account, c.Password)
		all = append(all, judgeAccount(first.Address, rights, err))
		if told != nil {
			policy = told
		}
	}
	if !c.WithoutGuard {
		c.Progress("directory as the reader account")
		status, err := ldap.ExamineGuard(ctx, well, c.RootCAs, c.Resolver, c.Guard)
		all = append(all, judgeGuard(first.Address, status, err))
		if d := status.Strictest; d != nil {
			policy = &ldap.LockoutPolicy{Threshold: d.Threshold, Duration: d.Duration, Window: d.Window}
		}
	}
	return append(all, judgeLockout(first.Address, policy, c.Threshold))
}

// Worst returns the highest severity; OK for none.
func Worst(all []Finding) Severity {
	worst := OK
	for _, f := range all {
		for _, s := range []Severity{Note, Warning, Error} {
			if f.Severity == s && rank(s) > rank(worst) {
				worst = s
			}
		}
	}
	return worst
}

func rank(s Severity) int {
	switch s {
	case Error:
		return 3
	case Warning:
		return 2
	case Note:
		return 1
	}
	return 0
}

// reply is what the service answered to a request without meaning.
type reply struct {
	err  error
	took time.Duration
	// proxy is what it went through; chain what the other side showed, also when it was refused.
	proxy string
	chain []*x509.Certificate
	// foreign says that the chain leads to a root of the system and not to the authority that the installation named.
	foreign bool
	// skew is how far the service's clock is ahead of this host's; known only with a Date header.
	skew      time.Duration
	skewKnown bool
}

// askService asks for a page of the service over HTTPS, as a registration would.
func askService(ctx context.Context, service, ca string, proxy *url.URL) reply {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	var r reply
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: serviceRoots(ca)}, MaxResponseHeaderBytes: 64 << 10}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimRight(service, "/")+"/", nil)
	if err != nil {
		return reply{err: err}
	}
	if through, err := transport.Proxy(request); err == nil && through != nil {
		r.proxy = (&url.URL{Scheme: through.Scheme, Host: through.Host}).String()
	}
	began := time.Now()
	answer, err := transport.RoundTrip(request)
	r.took = time.Since(began)
	if err != nil {
		var refused *tls.CertificateVerificationError
		if errors.As(err, &refused) {
			r.chain = refused.UnverifiedCertificates
		}
		r.err = err
		return r
	}
	_ = answer.Body.Close()
	if answer.TLS != nil {
		r.chain = answer.TLS.PeerCertificates
		r.foreign = !leadsTo(r.chain, ca)
	}
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		// The header counts whole seconds, cut off.
		r.skew, r.skewKnown = date.Add(500*time.Millisecond).Sub(began.Add(r.took/2)), true
	}
	return r
}

// serviceRoots are the system's and, for an installation with an authority of its own, that.
func serviceRoots(ca string) *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(ca))
	return roots
}

// leadsTo reports whether a chain that was verified already leads to one of the authorities, in PEM; no authorities means any.
func leadsTo(chain []*x509.Certificate, authorities string) bool {
	if authorities == "" || len(chain) == 0 {
		return true
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authorities))
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err == nil
}

func probeGateway(ctx context.Context, id *identity.Identity, proxy *url.URL) link.Look {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	return link.Probe(ctx, id, proxy)
}

// records are the domain controllers that DNS names for a domain.
type records struct {
	hosts []string
	err   error
}

// lookSRV asks DNS for the domain controllers of a domain (MS-ADTS 6.3.2.3).
func lookSRV(ctx context.Context, domain string) records {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	_, found, err := net.DefaultResolver.LookupSRV(ctx, "ldap", "tcp", "dc._msdcs."+domain)
	r := records{err: err}
	for _, s := range found {
		r.hosts = append(r.hosts, strings.ToLower(strings.TrimSuffix(s.Target, ".")))
	}
	return r
}

// domainOf makes the DNS name of a naming context: "DC=corp,DC=example" is corp.example (RFC 2247). Empty for any other.
func domainOf(base string) string {
	var labels []string
	for part := range strings.SplitSeq(base, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !strings.EqualFold(name, "dc") || value == "" {
			return ""
		}
		labels = append(labels, value)
	}
	return strings.Join(labels, ".")
}

// domainOfHost guesses a domain from a domain controller's address: dc1.corp.example:636 is of corp.example. Empty for numbers and short names.
func domainOfHost(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil {
		return ""
	}
	_, domain, _ := strings.Cut(host, ".")
	return strings.ToLower(domain)
}
