package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"golang.org/x/term"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/agent/doctor"
)

// directoryFlags say how to reach the directory; run, doctor and test-signin share them.
type directoryFlags struct {
	Domain     string   `help:"Active Directory domain, such as corp.example, whose domain controllers DNS names. They are asked after those of --dc." placeholder:"DOMAIN"`
	Site       string   `help:"Active Directory site whose domain controllers go first. By default the one that a domain controller says this host is in." placeholder:"SITE"`
	DCStartTLS bool     `help:"Ask domain controllers that DNS names by StartTLS on the port that DNS says (389), in place of LDAPS on 636." name:"dc-starttls"`
	DC         []string `help:"Domain controller: ldaps://dc1.corp.example, or ldap://… (StartTLS). Repeat it for each." placeholder:"URL" name:"dc"`
	DCCAFile   string   `help:"PEM file of the CA that issued the domain controllers' certificates. The system's roots by default." name:"dc-ca-file" placeholder:"FILE" type:"path"`

	Validator        agent.Kind `help:"How passwords are checked: ldap (a bind), kerberos (needs --keytab), windows (this host, a member of the domain, judges), or auto: kerberos if there is a keytab, windows if this host is a member of a domain and there is neither --dc nor --domain, else ldap." enum:"auto,ldap,kerberos,windows" default:"auto" placeholder:"KIND"`
	Keytab           string     `help:"Keytab with the AES key of this host's own account, such as host/agent1.corp.example: KDCs prove themselves by it." placeholder:"FILE" type:"path"`
	Realm            string     `help:"Kerberos realm. That of the keytab by default." placeholder:"REALM"`
	KDC              []string   `help:"KDC: dc1.corp.example, with a port if it is not 88. The domain controllers by default. Repeat it for each." placeholder:"HOST" name:"kdc"`
	KDCUDP           bool       `help:"Ask a KDC's first question, which counts nothing, by UDP and by TCP where that brings no answer. The password's proof always goes by TCP. Not with --kerberos-armor." name:"kdc-udp"`
	KerberosArmor    string     `help:"Account whose key the keytab has, such as AGENT1$: exchanges with KDCs are armoured with its ticket (FAST, RFC 6113), and nobody on the network between sees or changes them. Domain controllers must support armouring." placeholder:"ACCOUNT"`
	KerberosUnproven bool       `help:"Let --validator kerberos work without a keytab. Whoever is on the network between can then sign in as anybody: for tests only."`
}

// errNoDC refuses to work without a directory.
var errNoDC = errors.New("no domain controller is given: add --domain corp.example or --dc ldaps://dc1.corp.example, or domain or dc to the settings file")

// usable refuses what cannot work together. With Windows as the validator there need not be a domain controller.
func (d directoryFlags) usable(byWindows bool) error {
	switch {
	case d.Domain == "" && (d.Site != "" || d.DCStartTLS):
		return errors.New("--site and --dc-starttls are about domain controllers that DNS names: add --domain")
	case d.Domain == "" && len(d.DC) == 0 && !byWindows:
		return errNoDC
	}
	return nil
}

// ldap is how domain controllers are found and asked.
func (d directoryFlags) ldap(roots *x509.CertPool) ldap.Config {
	return ldap.Config{Servers: d.DC, Domain: d.Domain, Site: d.Site, StartTLS: d.DCStartTLS, RootCAs: roots}
}

// validator chooses how passwords are checked; both configurations are nil for LDAP.
func (d directoryFlags) validator() (agent.Choice, *kerberos.Config, *windows.Config, error) {
	given := agent.Given{Keytab: d.Keytab != "", Unproven: d.KerberosUnproven, Servers: len(d.DC) > 0 || d.Domain != ""}
	given.Domain, given.NoDomain = windows.MemberOf()
	choice, err := agent.Choose(d.Validator, given)
	if err != nil {
		return choice, nil, nil, err
	}
	if choice.Kind != agent.Kerberos && (d.Realm != "" || len(d.KDC) > 0 || d.KDCUDP || d.KerberosArmor != "") {
		return choice, nil, nil, errors.New("--realm, --kdc, --kdc-udp and --kerberos-armor belong to the validator kerberos, which needs --keytab")
	}
	switch choice.Kind {
	case agent.LDAP:
		return choice, nil, nil, nil
	case agent.Windows:
		return choice, nil, &windows.Config{}, nil
	}
	c := &kerberos.Config{KDCs: d.KDC, Realm: d.Realm, UDP: d.KDCUDP, Armor: d.KerberosArmor, Unproven: d.KerberosUnproven}
	if d.Keytab != "" {
		if info, err := os.Stat(d.Keytab); err == nil && exposed(info.Mode()) {
			return choice, nil, nil, fmt.Errorf("keytab %s can be read by everybody on this host (mode %v): chmod 600 it, and take a new key", d.Keytab, info.Mode().Perm())
		}
		if c.Keytab, err = kerberos.ReadKeytab(d.Keytab); err != nil {
			return choice, nil, nil, err
		}
	}
	return choice, c, nil, nil
}

type doctorCommand struct {
	directoryFlags
	guardFlags
	Proxy            string `help:"HTTP proxy for the link to the gateway. What HTTPS_PROXY says by default." placeholder:"URL"`
	Service          string `help:"Address of the service, to look at it before the registration." placeholder:"URL"`
	CAFile           string `help:"PEM file of the CA that issued the service's certificate, if it is a private one; for --service." name:"ca-file" placeholder:"FILE" type:"path"`
	ServiceThreshold int    `help:"After how many wrong passwords the service locks (its lockout.threshold), to compare with the directory's. Not known by default." placeholder:"N"`
	As               string `help:"Also look at what this account may read, such as the lockout policy: name@domain. Its password is asked for and sent once." placeholder:"NAME"`
	PasswordFile     string `help:"Read the password for --as from this file, or with - from standard input." placeholder:"FILE"`
	Output           string `help:"How to print: text or json." enum:"text,json" default:"text" placeholder:"FORMAT" short:"o"`
}

// Help is printed below the flags.
func (doctorCommand) Help() string {
	return `Looks at this host's state folder, certificate, clock, proxy and DNS, at the service, its gateway, and each domain controller, and says what to do
about whatever it finds. It changes nothing, sends nobody's password (but those of --as and the reader account), and takes half a minute at most. Run it as the agent's
user or as root, who becomes that user, with the agent's settings. Before the registration it looks at the
service of --service and at the directory.

Each finding is ok, a note, a warning (will fail one day, or costs something) or an error (keeps passwords from being checked). The exit code is
1 with an error; warnings and notes do not count.

Examples:
  sallyport-agent doctor --service https://login.example.com --domain corp.example --dc-ca-file corp-ca.pem
  sallyport-agent doctor --service https://login.example.com --dc ldaps://dc1.corp.example --dc-ca-file corp-ca.pem
  sudo -u sallyport-agent sallyport-agent doctor --config /etc/sallyport-agent.yaml
  sallyport-agent doctor --config /etc/sallyport-agent.yaml --as ada@corp.example --service-threshold 4
  sallyport-agent doctor --dc ldaps://dc1.corp.example --output json | jq '.findings[] | select(.severity != "ok")'`
}

// errUnwell ends `doctor` when what it has printed is not good news.
var errUnwell = errors.New("something is wrong")

// Run is called by kong.
func (d *doctorCommand) Run(ctx context.Context, c *cli, t *terminal, s settings) error {
	if err := d.usable(true); err != nil { // no domain controller is a finding
		return &usageError{err}
	}
	roots, err := readRoots(d.DCCAFile)
	if err != nil {
		return &usageError{err}
	}
	proxy, err := parseProxy(d.Proxy)
	if err != nil {
		return err
	}
	ca, err := readPEM(d.CAFile)
	if err != nil {
		return &usageError{err}
	}
	if service, err := url.Parse(d.Service); d.Service != "" && (err != nil || service.Scheme != "https" || service.Host == "" || service.User != nil) {
		return &usageError{errors.New("--service: want https://host, as for register")}
	}
	choice, byKerberos, byWindows, err := d.validator()
	if err != nil {
		return &usageError{err}
	}
	config := doctor.Config{Kerberos: byKerberos, Windows: byWindows, Validator: string(choice.Kind), Why: choice.Why, State: c.State, Service: d.Service, ServiceCA: string(ca),
		Servers: d.DC, Domain: d.Domain, Site: d.Site, StartTLS: d.DCStartTLS, RootCAs: roots, Proxy: proxy, Threshold: d.ServiceThreshold, Account: d.As}
	if d.As != "" {
		if config.Password, err = passwordFrom(d.PasswordFile, bufio.NewReader(t.in), t); err != nil {
			return err
		}
		defer config.Password.Wipe()
	}
	if config.Guard, err = d.guard(s.within); err != nil {
		return err
	}
	if f, ok := t.err.(*os.File); ok && d.Output == "text" && term.IsTerminal(int(f.Fd())) {
		config.Progress = func(what string) { fmt.Fprintf(f, "looking at %s …\n", what) }
	}
	if err := actAsOwner(c.State); err != nil {
		return err
	}
	findings := doctor.Examine(ctx, config)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.Output == "json" {
		e := json.NewEncoder(t.out)
		e.SetIndent("", "  ")
		err = e.Encode(struct {
			Worst    doctor.Severity  `json:"worst"`
			Findings []doctor.Finding `json:"findings"`
		}{doctor.Worst(findings), findings})
	} else {
		err = printFindings(t.out, findings)
	}
	if err == nil && doctor.Worst(findings) == doctor.Error {
		err = errUnwell
	}
	return err
}

// marks begin the lines of findings; words and not colours alone, for whoever cannot see these.
var marks = map[doctor.Severity]string{doctor.OK: "   ok   ", doctor.Note: "  note  ", doctor.Warning: "WARNING ", doctor.Error: " ERROR  "}

func printFindings(w io.Writer, all []doctor.Finding) error {
	counts := map[doctor.Severity]int{}
	for _, f := range all {
		counts[f.Severity]++
		subject := f.Check
		if f.Subject != "" {
			subject += " " + f.Subject
		}
		fmt.Fprintf(w, "%s %s: %s\n", marks[f.Severity], subject, f.Says)
		if f.Remedy != "" {
			fmt.Fprintf(w, "         what to do: %s\n", f.Remedy)
		}
	}
	_, err := fmt.Fprintf(w, "\nerrors: %d, warnings: %d, notes: %d, as it should be: %d\n", counts[doctor.Error], counts[doctor.Warning], counts[doctor.Note], counts[doctor.OK])
	return err
}

// parseProxy reads --proxy; nil for none.
func parseProxy(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, &usageError{errors.New("--proxy is not a URL")} // the cause could repeat a password in it
	}
	return u, nil
}
