package service

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// findings gathers what is wrong.
type findings []Finding

func (f *findings) add(key, remedy, format string, args ...any) {
	*f = append(*f, Finding{Key: key, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// Check returns everything that is wrong or unsafe about the settings, all at once, in the order of the settings.
func (c Config) Check() []Finding {
	var f findings
	if c.Data == "" {
		f.add("data", "Name a folder.", "is empty")
	}
	c.checkPublicURL(&f)
	if len(c.Roles) == 0 {
		f.add("roles", "Give at least one of signin, gateway, admin.", "is empty")
	}
	for _, r := range c.Roles {
		if !slices.Contains([]string{RoleSignin, RoleGateway, RoleAdmin}, r) {
			f.add("roles", "Use signin, gateway, admin.", "%q is no role", r)
		}
	}
	c.checkListeners(&f)
	c.checkTLS(&f)
	c.checkStores(&f)
	if c.Agents.Limit < 1 || c.Agents.Limit > maxAgentLimit {
		f.add("agents.limit", "Give something between 1 and 10000; 40 is the default.", "%d is out of range", c.Agents.Limit)
	}
	if c.Agents.ProbeEvery < minProbeEvery || c.Agents.ProbeEvery > maxProbeEvery {
		f.add("agents.probe_every", "Give something between 5s and 1h; 1m is the default.", "%s is out of range", c.Agents.ProbeEvery)
	}
	if c.Agents.CertificateLife < minCertificateLife || c.Agents.CertificateLife > maxCertificateLife {
		f.add("agents.certificate_life", "Give something between 30s (for tests; days for real use) and 8760h; 720h is the default.", "%s is out of range", c.Agents.CertificateLife)
	}
	if c.Lockout.Threshold < 1 || c.Lockout.Threshold > maxThreshold {
		f.add("lockout.threshold", "Give a number below the directory's own lockout threshold; 4 is the default, and nothing switches smart lockout off.", "%d is out of range", c.Lockout.Threshold)
	}
	for _, l := range []struct {
		key string
		d   time.Duration
	}{{"lockout.duration", c.Lockout.Duration}, {"lockout.window", c.Lockout.Window}} {
		if l.d <= 0 || l.d > maxLockout {
			f.add(l.key, "Give something up to 24h, and not less than the directory's 'reset account lockout counter after'; 30m is the default.", "%s is out of range", l.d)
		}
	}
	c.checkRegistrationLog(&f)
	c.checkNotify(&f)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		f.add("log.level", "Use debug, info, warn or error.", "%q is no level", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		f.add("log.format", "Use text or json.", "%q is no format", c.Log.Format)
	}
	if c.Drain < 0 || c.Drain > maxDrain {
		f.add("drain", "Give something between 0s and 10m.", "%s is out of range", c.Drain)
	}
	return f
}

// checkPublicURL holds issuers to one spelling: applications compare them character by character.
func (c Config) checkPublicURL(f *findings) {
	const key = "public_url"
	public, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || public.Hostname() == "" || public.Path != "" || public.RawQuery != "" || public.Fragment != "" || public.User != nil ||
		strings.HasSuffix(public.Host, ":") || public.Port() != "" && !isPort(public.Port()):
		f.add(key, "Give an address such as https://login.example.com.", "%q is not scheme, host and perhaps port alone", c.PublicURL)
	case public.Scheme != "https":
		f.add(key, "Use https: sign-in cookies are bound to it.", "%q is not https: passwords would travel in the open", c.PublicURL)
	case public.Host != strings.ToLower(public.Host):
		f.add(key, "Write the host in lower case: applications compare issuers character by character.", "%q has capitals", c.PublicURL)
	case public.Port() == "443":
		f.add(key, "Leave :443 out: applications compare issuers character by character, and browsers leave it out.", "%q names the port that https has anyway", c.PublicURL)
	case public.Port() == "0" && (!c.TLS.LocalCA || !c.Has(RoleSignin)):
		f.add(key, "Name the port that browsers use, or none for 443.", "%q would change at every start, and the issuers with it", c.PublicURL)
	}
}

// checkListeners looks at the addresses of the roles that the process has, and at what agents are told.
func (c Config) checkListeners(f *findings) {
	taken := map[string]string{}
	listen := func(key, value string, remote bool) (port string) {
		host, port, err := net.SplitHostPort(value)
		if err != nil || !isPort(port) {
			f.add(key, "Give host:port, for example 127.0.0.1:8443 or :8443.", "%q is not host:port", value)
			return ""
		}
		if !remote && !loopback(host) {
			f.add(key, "Listen on 127.0.0.1, or set "+strings.TrimSuffix(key, "listen")+"allow_remote: true if a firewall guards it.",
				"%q can be reached from other machines", value)
		}
		if other, twice := taken[value]; twice && port != "0" {
			f.add(key, "Give each listener a port of its own.", "%q is the address of %s, too", value, other)
		}
		taken[value] = key
		return port
	}
	if c.Has(RoleSignin) {
		port := listen("signin.listen", c.Signin.Listen, true)
		if public, err := url.Parse(c.PublicURL); err == nil && port == "0" && public.Port() != "0" {
			f.add("signin.listen", "Name a port; or, for an evaluation, write port 0 in public_url too.",
				"%q takes any free port, and public_url names another", c.Signin.Listen)
		}
	}
	for _, p := range c.Signin.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			if _, err := netip.ParseAddr(p); err != nil {
				f.add("signin.trusted_proxies", "Give addresses or networks such as 10.0.0.0/8.", "%q is neither an address nor a network", p)
			}
		}
	}
	if c.Has(RoleGateway) {
		listen("gateway.listen", c.Gateway.Listen, true)
	}
	host, port, err := net.SplitHostPort(c.Gateway.PublicAddress)
	switch {
	case c.Gateway.PublicAddress != "" && (err != nil || host == "" || !isPort(port) || port == "0"):
		f.add("gateway.public_address", "Give host:port as agents see it.", "%q is not host:port", c.Gateway.PublicAddress)
	case c.Gateway.PublicAddress == "" && c.Has(RoleSignin) && !c.Has(RoleGateway):
		f.add("gateway.public_address", "Give the host:port under which agents reach the gateways.",
			"is empty, and no gateway runs in this process: agents that register here could not be told where to connect")
	}
	if c.Has(RoleAdmin) {
		listen("admin.listen", c.Admin.Listen, c.Admin.AllowRemote)
	}
	if c.Monitor.Listen != "" {
		listen("monitor.listen", c.Monitor.Listen, c.Monitor.AllowRemote)
	}
}

func (c Config) checkTLS(f *findings) {
	files := c.TLS.CertificateFile != "" || c.TLS.KeyFile != ""
	switch {
	case c.TLS.LocalCA && files:
		f.add("tls.local_ca", "Remove local_ca, or the two files.", "is set together with certificate files")
	case !c.TLS.LocalCA && !files:
		f.add("tls", "Set tls.certificate_file and tls.key_file; for an evaluation set tls.local_ca: true.", "there is no server certificate")
	case !c.TLS.LocalCA && c.TLS.CertificateFile == "":
		f.add("tls.certificate_file", "Give the PEM file of the certificate that belongs to tls.key_file.", "is empty")
	case !c.TLS.LocalCA && c.TLS.KeyFile == "":
		f.add("tls.key_file", "Give the PEM file of the private key of tls.certificate_file.", "is empty")
	}
}

// checkStores looks at where rows and messages go. Several processes must share both.
func (c Config) checkStores(f *findings) {
	whole := c.Has(RoleSignin) && c.Has(RoleGateway)
	if c.Queue.URL == "" {
		if !whole && (c.Has(RoleSignin) || c.Has(RoleGateway)) {
			f.add("queue.url", "Give the tls:// address of a NATS server that all processes share, or all roles to this process.",
				"is empty, but sign-in and gateway are in different processes and could not reach each other")
		}
		if c.Queue.CAFile != "" {
			f.add("queue.ca_file", "Set queue.url, or remove ca_file.", "is set, but the queue is inside this process")
		}
	} else {
		for address := range strings.SplitSeq(c.Queue.URL, ",") {
			u, err := url.Parse(strings.TrimSpace(address))
			switch {
			case err != nil || u.Hostname() == "" || u.Scheme != "tls" && u.Scheme != "nats":
				f.add("queue.url", "Give tls://host:4222.", "it does not hold the address of a NATS server")
			case u.Scheme != "tls" && !loopback(u.Hostname()):
				f.add("queue.url", "Use tls://.", "%q would carry asks and envelopes in the open between machines", u.Redacted())
			}
		}
	}
	address := c.Database.URL
	postgres := strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
	switch {
	case address != "" && !strings.HasPrefix(address, "sqlite:") && !postgres:
		f.add("database.url", "Use sqlite:/path/file.db or postgres://user@host/database.", "is neither SQLite nor PostgreSQL")
	case postgres:
		u, err := url.Parse(address)
		if err != nil {
			f.add("database.url", "Write postgres://user:password@host/database, with every special character of the password as a %-escape.", "cannot be read")
		} else if u.Hostname() != "" && !loopback(u.Hostname()) && !slices.Contains([]string{"verify-full", "verify-ca"}, u.Query().Get("sslmode")) {
			f.add("database.url", "Add ?sslmode=verify-full (and sslrootcert=FILE for a private CA).", "the database is on another machine and its certificate would not be verified")
		}
	}
	if c.Queue.URL != "" && !postgres && !whole {
		f.add("database.url", "Use PostgreSQL when the work is spread over processes.", "SQLite serves one process")
	}
}

// isPort reports whether s is a number that TCP knows, 0 for "any" included.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// loopback reports whether a listener on host, or a peer at host, stays on this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
