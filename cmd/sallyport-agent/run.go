package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/identity"
)

type runCommand struct {
	directoryFlags
	guardFlags
	Slots       int    `help:"How many checks to work on at once; 0 is the default (32)." default:"0" placeholder:"N"`
	Connections int    `help:"How many connections to keep to each domain controller; 0 is the default." default:"0" placeholder:"N"`
	NameRate    int    `help:"How many checks a minute for one name, whatever the service asks; 0 is the default (12), negative no limit." default:"0" placeholder:"N"`
	NameBurst   int    `help:"How many checks at once for one name; 0 is the default (10)." default:"0" placeholder:"N"`
	Rate        int    `help:"How many checks a second for all names; 0 is the default (1000), negative no limit." default:"0" placeholder:"N"`
	Burst       int    `help:"How many checks at once for all names; 0 is the default (1000)." default:"0" placeholder:"N"`
	Proxy       string `help:"HTTP proxy for the link to the gateway. What HTTPS_PROXY says by default." placeholder:"URL"`

	Monitor       string `help:"Show health (/healthz, /readyz) and numbers for Prometheus (/metrics) here, such as 127.0.0.1:8449. Off by default: the agent then listens on nothing." placeholder:"ADDRESS"`
	MonitorRemote bool   `help:"Let --monitor be another address than this host's loopback. Keep it behind a firewall: it asks nobody who they are."`
}

// Help is printed below the flags.
func (runCommand) Help() string {
	return `TLS to domain controllers is always verified. SIGTERM finishes the checks in flight.

Examples:
  sallyport-agent run --domain corp.example --dc-ca-file corp-ca.pem
  sallyport-agent run --dc ldaps://dc1.corp.example --dc ldaps://dc2.corp.example --dc-ca-file corp-ca.pem
  sallyport-agent run --dc ldaps://dc1.corp.example --keytab /etc/sallyport-agent/agent.keytab
  sallyport-agent run --validator windows        on a Windows member of the domain, which then judges
  sallyport-agent run --config /etc/sallyport-agent.yaml

  # /etc/sallyport-agent.yaml
  dc: [ldaps://dc1.corp.example, ldaps://dc2.corp.example]
  dc-ca-file: /etc/sallyport-agent/corp-ca.pem
  monitor: 127.0.0.1:8449
  log-format: json

  # Several directories, an agent for each in this process; register each with --instance NAME. What stands above goes for all.
  instances:
    corp:     {dc: [ldaps://dc1.corp.example], monitor: "127.0.0.1:8449"}
    fabrikam: {dc: [ldaps://dc1.fabrikam.example], keytab: /etc/sallyport-agent/fabrikam.keytab}`
}

// Run is called by kong.
func (r *runCommand) Run(ctx context.Context, c *cli, term *terminal, notify *notifier, s settings) error {
	log := c.logs(term.err)
	roots, err := readRoots(r.DCCAFile)
	if err != nil {
		return &usageError{err}
	}
	choice, byKerberos, byWindows, err := r.validator()
	if err != nil {
		return &usageError{err}
	}
	if err := r.usable(byWindows != nil); err != nil {
		return &usageError{err}
	}
	proxy, err := parseProxy(r.Proxy)
	if err != nil {
		return err
	}
	looks, err := r.guard(s.within)
	if err != nil {
		return err
	}
	keeper, err := identity.OpenKeeper(c.State)
	if err != nil {
		return err
	}
	defer keeper.Close()
	var monitor net.Listener
	if r.Monitor != "" {
		if monitor, err = agent.ListenMonitor(r.Monitor, r.MonitorRemote); err != nil {
			return err
		}
		log.Info("monitor listens", "address", monitor.Addr().String())
	}
	v, _ := build()
	byLDAP := r.ldap(roots)
	byLDAP.Connections, byLDAP.Guard, byLDAP.Logger = r.Connections, looks, log
	a, err := agent.New(agent.Config{
		Keeper:   keeper,
		LDAP:     byLDAP,
		Kerberos: byKerberos, Windows: byWindows, Choice: choice,
		Slots:      r.Slots,
		Limits:     agent.Limits{NamePerMinute: r.NameRate, NameBurst: r.NameBurst, PerSecond: r.Rate, Burst: r.Burst},
		Protection: r.protection(),
		Proxy:      proxy, Monitor: monitor, Notify: notify.of(c.Instance), StatusFile: statusFile(c.State), Version: v, Logger: log,
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// statusFile is where the running agent leaves its status.
func statusFile(state string) string { return filepath.Join(state, "status.json") }

// maxRoots bounds a CA file; a company's bundle is rarely 50 KB.
const maxRoots = 1 << 20

func readRoots(path string) (*x509.CertPool, error) {
	text, err := readPEM(path)
	if text == nil || err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots, nil
}

// readPEM reads a file of certificates; nil for no path.
func readPEM(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRoots))
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA file %s holds no certificate in PEM", path)
	}
	return text, nil
}
