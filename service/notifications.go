package service

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"strings"

	"github.com/sallyport-auth/sallyport/service/notify"
	"github.com/sallyport-auth/sallyport/wire"
)

// checkNotify looks at where administrators are told of what happens to agents.
func (c Config) checkNotify(f *findings) {
	hook, smtp := c.Notify.Webhook, c.Notify.SMTP
	if hook.URL != "" {
		u, err := url.Parse(hook.URL)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
			f.add("notify.webhook.url", "Give an address such as https://hooks.example.com/sallyport.", "it is no http address, or it holds a user")
		case u.Scheme != "https" && !loopback(u.Hostname()):
			f.add("notify.webhook.url", "Use https.", "%q would carry names of hosts in the open", u.Redacted())
		}
		if hook.SecretFile == "" {
			f.add("notify.webhook.secret_file", "Give a file with a long random text that the receiver knows, too.", "is empty: the receiver could not tell this service from a stranger")
		}
	} else if hook.SecretFile != "" {
		f.add("notify.webhook.secret_file", "Set notify.webhook.url, or remove secret_file.", "is set without an address")
	}
	if smtp.Address == "" {
		if smtp.From != "" || smtp.Username != "" || smtp.PasswordFile != "" || len(smtp.To) > 0 {
			f.add("notify.smtp.address", "Give host:port of the mail server, or remove the other settings of notify.smtp.", "is empty")
		}
		return
	}
	if host, port, ok := strings.Cut(smtp.Address, ":"); !ok || host == "" || !isPort(port) {
		f.add("notify.smtp.address", "Give host:port, for example smtp.example.com:587.", "%q is not host:port", smtp.Address)
	}
	for _, a := range append([]string{smtp.From}, smtp.To...) {
		if parsed, err := mail.ParseAddress(a); err != nil || parsed.Name != "" || parsed.Address != a {
			f.add("notify.smtp", "Give plain addresses, such as sallyport@example.com, in from and to.", "%q is no mail address", a)
		}
	}
	if (smtp.Username == "") != (smtp.PasswordFile == "") {
		f.add("notify.smtp.password_file", "Give username and password_file, or neither.", "only one of username and password_file is set")
	}
}

// openNotify makes the loop that tells administrators. It runs where agents register.
func (s *Service) openNotify() error {
	cfg, st := s.cfg.Notify, s.store
	n := notify.Config{DB: st.db, Tenants: st.tenants, PublicURL: s.cfg.PublicURL, Logger: s.log.With("part", "notify"), Metrics: s.metrics}
	var roots *x509.CertPool
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return fmt.Errorf("notify.ca_file: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("notify.ca_file: %s holds no certificate. Give the PEM file of the CA", cfg.CAFile)
		}
	}
	if cfg.Webhook.URL != "" {
		secret, err := readSecret(cfg.Webhook.SecretFile, minWebhookSecret)
		if err != nil {
			return fmt.Errorf("notify.webhook.secret_file: %w", err)
		}
		n.Webhook = notify.NewWebhook(cfg.Webhook.URL, secret, roots)
	}
	if cfg.SMTP.Address != "" {
		n.Mail = &notify.Mail{Address: cfg.SMTP.Address, From: cfg.SMTP.From, To: cfg.SMTP.To, Username: cfg.SMTP.Username, Roots: roots,
			Administrators: st.users.AdministratorAddresses}
		if cfg.SMTP.PasswordFile != "" {
			password, err := readSecret(cfg.SMTP.PasswordFile, 1)
			if err != nil {
				return fmt.Errorf("notify.smtp.password_file: %w", err)
			}
			n.Mail.Password = wire.NewSecret(password)
		}
	}
	s.loops = append(s.loops, notify.New(n).Run)
	return nil
}

// readSecret reads a secret of at least some bytes from a file; line ends around it do not count.
func readSecret(file string, least int) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < least || len(secret) > maxNotifySecret {
		return nil, errors.New("it must hold a secret of " + fmt.Sprint(least) + " to " + fmt.Sprint(maxNotifySecret) + " bytes and nothing else")
	}
	return []byte(secret), nil
}
