package service

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/sallyport-auth/sallyport/service/reglog"
)

// checkRegistrationLog looks at the receivers' addresses. An address may hold a secret and is not repeated whole.
func (c Config) checkRegistrationLog(f *findings) {
	if w := c.RegistrationLog.Webhook; w != "" {
		u, err := url.Parse(w)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			f.add("registration_log.webhook", "Give an address such as https://siem.example.com/sallyport; http:// is allowed to this machine alone.", "it is no https address")
		}
	}
	if a := c.RegistrationLog.Syslog; a != "" {
		if _, err := reglog.ParseSyslog(a); err != nil {
			f.add("registration_log.syslog", "Give an address such as tls://logs.example.com:6514.", "%v", err)
		}
	}
}

// openReceivers makes what the registration log is exported to.
func (s *Service) openReceivers() error {
	cfg, log := s.cfg.RegistrationLog, s.store.log
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return fmt.Errorf("registration_log.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("registration_log.ca_file: %s holds no certificate. Give the PEM file of the CA", cfg.CAFile)
		}
	}
	if cfg.File != "" {
		log.Receivers = append(log.Receivers, reglog.File{Path: cfg.File})
	}
	if cfg.Webhook != "" {
		log.Receivers = append(log.Receivers, reglog.Webhook{URL: cfg.Webhook,
			HTTP: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf},
				// The operator has named one receiver; a redirect would give what it is sent, and its address, to another.
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}})
	}
	if cfg.Syslog != "" {
		log.Receivers = append(log.Receivers, reglog.Syslog{Address: cfg.Syslog, TLS: conf})
	}
	return log.Register(s.metrics)
}
