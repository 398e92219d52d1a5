package service

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/fleet"
)

// Config is everything an operator sets. The yaml names are also, in capitals and joined by underscores behind SALLYPORT_, the
// environment variables (signin.listen is SALLYPORT_SIGNIN_LISTEN). [Defaults] gives the values of an evaluation on one machine;
// the zero Config is not usable. What belongs to a tenant (domains, apps …) is data, not configuration.
type Config struct {
	Data      string         `yaml:"data" doc:"folder of the database, keys and the evaluation CA; made when absent, mode 0700"`
	PublicURL string         `yaml:"public_url" doc:"where browsers and applications reach the service, without a path; issuers begin with it; port 0 (evaluation only): the port of signin.listen"`
	Roles     []string       `yaml:"roles" doc:"what this process does: signin, gateway, admin"`
	Signin    SigninConfig   `yaml:"signin"`
	Gateway   GatewayConfig  `yaml:"gateway"`
	Admin     AdminConfig    `yaml:"admin"`
	Monitor   MonitorConfig  `yaml:"monitor"`
	TLS       TLSConfig      `yaml:"tls"`
	Database  DatabaseConfig `yaml:"database"`
	Queue     QueueConfig    `yaml:"queue"`
	Agents    AgentsConfig   `yaml:"agents"`
	Lockout   LockoutConfig  `yaml:"lockout"`
	Notify    NotifyConfig   `yaml:"notify"`
	Log       LogConfig      `yaml:"log"`
	Drain     time.Duration  `yaml:"drain" doc:"how long SIGTERM waits for work in progress"`

	RegistrationLog RegistrationLogConfig `yaml:"registration_log"`
}

// SigninConfig is the listener of browsers, applications and registering agents.
type SigninConfig struct {
	Listen         string   `yaml:"listen" doc:"host:port of the sign-in pages, OpenID Connect and agent registration"`
	TrustedProxies []string `yaml:"trusted_proxies" doc:"addresses or networks whose X-Forwarded-For is believed"`
}

// GatewayConfig is the listener of agents.
type GatewayConfig struct {
	Listen        string `yaml:"listen" doc:"host:port where agents connect (mutual TLS)"`
	PublicAddress string `yaml:"public_address" doc:"host:port that registering agents are told to connect to; empty: the host of public_url and the port of listen"`
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
	URL    string `yaml:"url" doc:"tls://… of a NATS server or cluster; empty: inside this process"`
	CAFile string `yaml:"ca_file" doc:"PEM file of the CA of the NATS servers' certificates; empty: the system's"`
}

// AgentsConfig is about agents' certificates.
type AgentsConfig struct {
	TrustDomain     string        `yaml:"trust_domain" doc:"SPIFFE trust domain of agents' identities; empty: the host of public_url"`
	CertificateLife time.Duration `yaml:"certificate_life" doc:"life of an agent's certificate"`
	Limit           int           `yaml:"limit" doc:"how many agents a tenant may have"`
	ProbeEvery      time.Duration `yaml:"probe_every" doc:"about how often each agent of a directory with a canary is probed"`
}

// LockoutConfig is smart lockout: how many wrong passwords of one account reach its directory. The numbers must lie on the careful side
// of the directory's own lockout policy, or strangers lock its accounts through us.
type LockoutConfig struct {
	Threshold int           `yaml:"threshold" doc:"number of the wrong password that locks an account here; must be below the directory's own threshold"`
	Duration  time.Duration `yaml:"duration" doc:"the first lock, twice as long each time; at least the directory's 'reset account lockout counter after'"`
	Window    time.Duration `yaml:"window" doc:"how long wrong passwords count; at least the directory's 'reset account lockout counter after'"`
}

// RegistrationLogConfig says where the registration log is brought, beside the database. A checkpoint that has left the service is what
// a rewritten database is held to.
type RegistrationLogConfig struct {
	File    string `yaml:"file" doc:"file that entries and checkpoints of all tenants are appended to; empty: none"`
	Webhook string `yaml:"webhook" doc:"https:// address that they are posted to as JSON; empty: none"`
	Syslog  string `yaml:"syslog" doc:"udp://host:port, tcp://host:port, tls://host:port or unix:///dev/log that they are sent to (RFC 5424); empty: none"`
	CAFile  string `yaml:"ca_file" doc:"PEM file of the CA of the webhook's and the tls:// server's certificate; empty: the system's"`
}

// NotifyConfig is how administrators are told of what happens to agents, beside the log; of processes with the sign-in role.
type NotifyConfig struct {
	CAFile  string        `yaml:"ca_file" doc:"PEM file of the CA of the webhook's and the mail server's certificates; empty: the system's"`
	Webhook WebhookConfig `yaml:"webhook"`
	SMTP    SMTPConfig    `yaml:"smtp"`
}

// WebhookConfig is an address that events are posted to.
type WebhookConfig struct {
	URL        string `yaml:"url" doc:"https address that events are posted to as JSON; empty: none"`
	SecretFile string `yaml:"secret_file" doc:"file with the secret of the header Sallyport-Signature, 16 bytes at least"`
}

// SMTPConfig is a mail server.
type SMTPConfig struct {
	Address      string   `yaml:"address" doc:"host:port of the mail server, with STARTTLS unless it is on this machine; empty: no mail"`
	From         string   `yaml:"from" doc:"sender's address"`
	Username     string   `yaml:"username" doc:"name at the mail server; empty: none"`
	PasswordFile string   `yaml:"password_file" doc:"file with the password at the mail server"`
	To           []string `yaml:"to" doc:"addresses that get the mails of all tenants, beside each tenant's administrators"`
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
		Agents:    AgentsConfig{CertificateLife: 30 * 24 * time.Hour, Limit: fleet.DefaultLimit, ProbeEvery: canary.DefaultEvery},
		Lockout:   LockoutConfig{Threshold: 4, Duration: 30 * time.Minute, Window: 30 * time.Minute},
		Log:       LogConfig{Level: "info", Format: "text"},
		Drain:     20 * time.Second,
	}
}

// Has reports whether the process has a role.
func (c Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

// TokenFile is where Init leaves the admin API's token: the command line on the service's own host finds it there.
func (c Config) TokenFile() string { return filepath.Join(c.Data, "admin-token") }

// LocalCAFile is the PEM file of the evaluation CA's certificate, which exists once a service with tls.local_ca has started.
func (c Config) LocalCAFile() string {
	return filepath.Join(c.Data, localCAFolder, "ca-certificate.pem")
}

// localCAFolder holds the evaluation CA, below the data folder.
const localCAFolder = "local-ca"

// A Finding is something wrong with one setting: the start must not go on. Key is the dotted yaml name.
type Finding struct{ Key, Text, Remedy string }

// Error prints the finding without its place; the command line puts file and line before it.
func (f Finding) Error() string { return f.Key + ": " + f.Text + ". " + f.Remedy }
