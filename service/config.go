package service

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config is everything an operator sets. The yaml names are also, in capitals and joined by underscores behind SALLYPORT_, the
// environment variables (signin.listen is SALLYPORT_SIGNIN_LISTEN). [Defaults] gives the values of an evaluation on one machine;
// the zero Config is not usable. What belongs to a tenant (domains, apps …) is data, not configuration.
type Config struct {
	Data      string         `yaml:"data" doc:"folder of the database, keys and the evaluation CA; made when absent, mode 0700"`
	PublicURL string         `yaml:"public_url" doc:"where browsers and applications reach the service, without a path; issuers begin with it"`
	Roles     []string       `yaml:"roles" doc:"what this process does: signin, gateway, admin"`
	Signin    SigninConfig   `yaml:"signin"`
	Gateway   GatewayConfig  `yaml:"gateway"`
	Admin     AdminConfig    `yaml:"admin"`
	Monitor   MonitorConfig  `yaml:"monitor"`
	TLS       TLSConfig      `yaml:"tls"`
	Database  DatabaseConfig `yaml:"database"`
	Queue     QueueConfig    `yaml:"queue"`
	Agents    AgentsConfig   `yaml:"agents"`
	Log       LogConfig      `yaml:"log"`
	Drain     time.Duration  `yaml:"drain" doc:"how long SIGTERM waits for work in progress"`
}

// SigninConfig is the listener of browsers, applications and registering agents.
type SigninConfig struct {
	Listen         string   `yaml:"listen" doc:"host:port of the sign-in pages, OpenID Connect and agent registration"`
	TrustedProxies []string `yaml:"trusted_proxies" doc:"addresses or networks whose X-Forwarded-For is believed"`
}

// GatewayConfig is the listener of agents.
type GatewayConfig struct {
	Listen        string `yaml:"listen" doc:"host:port where agents connect (mutual TLS)"`
	PublicAddress string `yaml:"public_address" doc:"host:port under which agents reach this listener; empty: the host of public_url and the port of listen"`
	Name          string `yaml:"name" doc:"this gateway's name on the queue; empty: made at each start"`
}

// AdminConfig is the listener of the admin API.
type AdminConfig struct {
	Listen      string `yaml:"listen" doc:"host:port of the admin API"`
	AllowRemote bool   `yaml:"allow_remote" doc:"let the admin API listen on an address that other machines reach"`
}

// MonitorConfig is the listener of health and metrics: plain HTTP, without passwords or names.
type MonitorConfig struct {
	Listen      string `yaml:"listen" doc:"host:port of /healthz, /readyz and /metrics (plain HTTP); empty: none"`
	AllowRemote bool   `yaml:"allow_remote" doc:"let it listen on an address that other machines reach"`
}

// TLSConfig is the server certificate of all listeners but the monitor.
type TLSConfig struct {
	CertificateFile string   `yaml:"certificate_file" doc:"PEM file of the certificate and its chain"`
	KeyFile         string   `yaml:"key_file" doc:"PEM file of the private key, mode 0600"`
	LocalCA         bool     `yaml:"local_ca" doc:"for evaluation: make a CA in the data folder and certificates from it"`
	LocalHosts      []string `yaml:"local_hosts" doc:"further host names and addresses for the local CA's certificate"`
}

// DatabaseConfig says where rows live.
type DatabaseConfig struct {
	URL string `yaml:"url" doc:"sqlite:/path/file.db or postgres://…; empty: sallyport.db in the data folder"`
}

// QueueConfig says where asks and envelopes travel.
type QueueConfig struct {
	URL string `yaml:"url" doc:"tls://… of a NATS server or cluster; empty: inside this process"`
}

// AgentsConfig is about agents' certificates.
type AgentsConfig struct {
	TrustDomain     string        `yaml:"trust_domain" doc:"SPIFFE trust domain of agents' identities; empty: the host of public_url"`
	CertificateLife time.Duration `yaml:"certificate_life" doc:"life of an agent's certificate"`
}

// LogConfig says how logs look.
type LogConfig struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"text or json"`
}

// The roles a process can have.
const (
	RoleSignin  = "signin"
	RoleGateway = "gateway"
	RoleAdmin   = "admin"
)

// Defaults returns the settings of one machine with nothing installed.
func Defaults() Config {
	return Config{
		Data:      "sallyport-data",
		PublicURL: "https://localhost:8443",
		Roles:     []string{RoleSignin, RoleGateway, RoleAdmin},
		Signin:    SigninConfig{Listen: "127.0.0.1:8443"},
		Gateway:   GatewayConfig{Listen: "127.0.0.1:8444"},
		Admin:     AdminConfig{Listen: "127.0.0.1:8445"},
		Monitor:   MonitorConfig{Listen: "127.0.0.1:8446"},
		Agents:    AgentsConfig{CertificateLife: 30 * 24 * time.Hour},
		Log:       LogConfig{Level: "info", Format: "text"},
		Drain:     20 * time.Second,
	}
}

// Has reports whether the process has a role.
func (c Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

// A Finding is something wrong with one setting: the start must not go on. Key is the dotted yaml name.
type Finding struct{ Key, Text, Remedy string }

// Error prints the finding without its place; the command line puts file and line before it.
func (f Finding) Error() string { return f.Key + ": " + f.Text + ". " + f.Remedy }

// Check returns everything that is wrong or unsafe about the settings, all at once, in the order of the settings.
func (c Config) Check() []Finding {
	var out []Finding
	add := func(key, remedy, format string, args ...any) {
		out = append(out, Finding{Key: key, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if c.Data == "" {
		add("data", "Name a folder.", "is empty")
	}
	public, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || public.Host == "" || public.Path != "" || public.RawQuery != "" || public.Fragment != "" || public.User != nil:
		add("public_url", "Give an address such as https://login.example.com.", "%q is not scheme, host and perhaps port alone", c.PublicURL)
	case public.Scheme != "https":
		add("public_url", "Use https: sign-in cookies are bound to it.", "%q is not https: passwords would travel in the open", c.PublicURL)
	}
	if len(c.Roles) == 0 {
		add("roles", "Give at least one of signin, gateway, admin.", "is empty")
	}
	for _, r := range c.Roles {
		if !slices.Contains([]string{RoleSignin, RoleGateway, RoleAdmin}, r) {
			add("roles", "Use signin, gateway, admin.", "%q is no role", r)
		}
	}
	listen := func(key, value string, remote, needed bool) {
		if value == "" && !needed {
			return
		}
		host, _, err := net.SplitHostPort(value)
		if err != nil {
			add(key, "Give host:port, for example 127.0.0.1:8443 or :8443.", "%q is not host:port", value)
			return
		}
		if !remote && !loopback(host) {
			add(key, "Listen on 127.0.0.1, or set "+strings.TrimSuffix(key, "listen")+"allow_remote: true if a firewall guards it.",
				"%q can be reached from other machines", value)
		}
	}
	if c.Has(RoleSignin) {
		listen("signin.listen", c.Signin.Listen, true, true)
	}
	for _, p := range c.Signin.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			if _, err := netip.ParseAddr(p); err != nil {
				add("signin.trusted_proxies", "Give addresses or networks such as 10.0.0.0/8.", "%q is neither an address nor a network", p)
			}
		}
	}
	if c.Has(RoleGateway) {
		listen("gateway.listen", c.Gateway.Listen, true, true)
		if c.Gateway.PublicAddress != "" {
			if _, _, err := net.SplitHostPort(c.Gateway.PublicAddress); err != nil {
				add("gateway.public_address", "Give host:port as agents see it.", "%q is not host:port", c.Gateway.PublicAddress)
			}
		}
	}
	if c.Has(RoleAdmin) {
		listen("admin.listen", c.Admin.Listen, c.Admin.AllowRemote, true)
	}
	listen("monitor.listen", c.Monitor.Listen, c.Monitor.AllowRemote, false)
	files := c.TLS.CertificateFile != "" || c.TLS.KeyFile != ""
	switch {
	case c.TLS.LocalCA && files:
		add("tls.local_ca", "Remove local_ca, or the two files.", "is set together with certificate files")
	case !c.TLS.LocalCA && (c.TLS.CertificateFile == "" || c.TLS.KeyFile == ""):
		add("tls", "Set tls.certificate_file and tls.key_file; for an evaluation set tls.local_ca: true.", "there is no server certificate")
	}
	whole := c.Has(RoleSignin) && c.Has(RoleGateway)
	if c.Queue.URL == "" && !whole && (c.Has(RoleSignin) || c.Has(RoleGateway)) {
		add("queue.url", "Give the tls:// address of a NATS server that all processes share, or all roles to this process.",
			"is empty, but sign-in and gateway are in different processes and could not reach each other")
	}
	for address := range strings.SplitSeq(c.Queue.URL, ",") {
		if c.Queue.URL == "" {
			break
		}
		u, err := url.Parse(strings.TrimSpace(address))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "tls" && u.Scheme != "nats":
			add("queue.url", "Give tls://host:4222.", "it does not hold the address of a NATS server")
		case u.Scheme != "tls" && !loopback(u.Hostname()):
			add("queue.url", "Use tls://.", "%q would carry asks and envelopes in the open between machines", u.Redacted())
		}
	}
	if c.Database.URL != "" && !strings.HasPrefix(c.Database.URL, "sqlite:") && !strings.HasPrefix(c.Database.URL, "postgres://") &&
		!strings.HasPrefix(c.Database.URL, "postgresql://") {
		add("database.url", "Use sqlite:/path/file.db or postgres://user@host/database.", "is neither SQLite nor PostgreSQL")
	}
	if strings.HasPrefix(c.Database.URL, "postgres") {
		if u, err := url.Parse(c.Database.URL); err == nil && !loopback(u.Hostname()) && u.Hostname() != "" &&
			slices.Contains([]string{"", "disable", "allow", "prefer", "require"}, u.Query().Get("sslmode")) {
			add("database.url", "Add ?sslmode=verify-full (and sslrootcert=FILE for a private CA).", "the database is on another machine and its certificate would not be verified")
		}
	}
	if c.Queue.URL != "" && !strings.HasPrefix(c.Database.URL, "postgres") && !whole {
		add("database.url", "Use PostgreSQL when the work is spread over processes.", "SQLite serves one process")
	}
	if c.Agents.CertificateLife < 10*time.Minute || c.Agents.CertificateLife > 365*24*time.Hour {
		add("agents.certificate_life", "Give something between 10m and 8760h; 720h is the default.", "%s is out of range", c.Agents.CertificateLife)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		add("log.level", "Use debug, info, warn or error.", "%q is no level", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		add("log.format", "Use text or json.", "%q is no format", c.Log.Format)
	}
	if c.Drain < 0 || c.Drain > 10*time.Minute {
		add("drain", "Give something between 0s and 10m.", "%s is out of range", c.Drain)
	}
	return out
}

// loopback reports whether a listener on host, or a peer at host, stays on this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
