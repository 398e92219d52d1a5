package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/service/localca"
)

// evaluationDomain is the UPN suffix of the people in the embedded directory and in the Samba domain.
const evaluationDomain = "corp.example.com"

// ownTimeout bounds each step of asking a directory of the user's for its domain.
const ownTimeout = 5 * time.Second

// directory is what the agents ask.
type directory struct {
	// addresses are what agents are given as --dc, and caFile the CA of their certificates (empty: the system's).
	addresses []string
	caFile    string
	// flags are given to agents besides, on how to ask it.
	flags []string
	// domain is the UPN suffix of its users.
	domain string
	// label says for people what it is.
	label string
	// evaluation marks a directory that is no real one.
	evaluation bool
	// people are the accounts whose answers are known; none for a directory of the user's own.
	people []people.Person
	stop   func()
}

// openDirectory starts the directory that the options name, or takes the user's own.
func openDirectory(ctx context.Context, o Options, data string, progress func(string, ...any)) (*directory, error) {
	switch {
	case o.Directory == "" || o.Directory == "evaluation":
		return startEvaluation(filepath.Join(data, "directory"), progress)
	case o.Directory == "samba":
		return startSamba(ctx, o, progress)
	case strings.HasPrefix(o.Directory, "ldaps://"), strings.HasPrefix(o.Directory, "ldap://"):
		return useOwn(ctx, o, progress)
	}
	return nil, fmt.Errorf("%q is neither evaluation, samba, ldaps://… nor ldap://…", o.Directory)
}

// useOwn takes an AD of the user's. It asks the root DSE, which needs no account, whether the directory can be reached over
// verified TLS at all, and for the domain's name unless it was given.
func useOwn(ctx context.Context, o Options, progress func(string, ...any)) (*directory, error) {
	progress("asking %s for its domain", o.Directory)
	own := &directory{addresses: []string{o.Directory}, domain: strings.ToLower(o.Domain), label: o.Directory + " (your own)", stop: func() {}}
	var roots *x509.CertPool
	if o.CAFile != "" {
		var err error
		if own.caFile, err = filepath.Abs(o.CAFile); err != nil {
			return nil, err
		}
		pem, err := os.ReadFile(own.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate", own.caFile)
		}
	}
	u, err := url.Parse(o.Directory)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is not the address of a domain controller, such as ldaps://dc1.corp.example", o.Directory)
	}
	naming, err := namingContext(ctx, u, &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nIs the address right, and --ca-file the CA of the domain controllers' certificates?", o.Directory, err)
	}
	if own.domain == "" {
		if own.domain, err = domainOf(naming); err != nil {
			return nil, fmt.Errorf("%s: %w. Give the part after the @ of your users' names with --domain", o.Directory, err)
		}
	}
	return own, nil
}

// namingContext reads the default naming context from the root DSE (RFC 4512 §5.1, MS-ADTS 3.1.1.3.2.3).
func namingContext(ctx context.Context, u *url.URL, conf *tls.Config) (string, error) {
	dialer := &net.Dialer{Timeout: ownTimeout}
	conn, err := ldap.DialURL(u.String(), ldap.DialWithDialer(dialer), ldap.DialWithTLSConfig(conf))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	conn.SetTimeout(ownTimeout)
	if u.Scheme == "ldap" {
		if err := conn.StartTLS(conf); err != nil {
			return "", err
		}
	}
	found, err := conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, int(ownTimeout.Seconds()), false,
		"(objectClass=*)", []string{"defaultNamingContext"}, nil))
	if err != nil {
		return "", err
	}
	if len(found.Entries) != 1 || found.Entries[0].GetAttributeValue("defaultNamingContext") == "" {
		return "", errors.New("its root DSE names no default naming context: is it an Active Directory domain controller?")
	}
	return found.Entries[0].GetAttributeValue("defaultNamingContext"), nil
}

// domainOf turns DC=corp,DC=example into corp.example (RFC 2247 §3).
func domainOf(dn string) (string, error) {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return "", err
	}
	var labels []string
	for _, rdn := range parsed.RDNs {
		if len(rdn.Attributes) != 1 || !strings.EqualFold(rdn.Attributes[0].Type, "DC") {
			return "", fmt.Errorf("its naming context %q is not made of DC parts alone", dn)
		}
		labels = append(labels, strings.ToLower(rdn.Attributes[0].Value))
	}
	return strings.Join(labels, "."), nil
}

// startEvaluation serves the embedded directory in this process, on a port of its own.
func startEvaluation(dir string, progress func(string, ...any)) (*directory, error) {
	progress("starting the evaluation directory (embedded; no real Active Directory)")
	authority, err := localca.OpenOrCreate(dir)
	if err != nil {
		return nil, err
	}
	certificate, err := authority.Server([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		return nil, err
	}
	everybody := people.Everybody(evaluationDomain)
	server, err := evaluation.New(evaluation.Config{People: everybody,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), listener) }() // ends with stop
	return &directory{addresses: []string{"ldaps://" + listener.Addr().String()}, caFile: authority.CertificateFile(),
		domain: evaluationDomain, label: "evaluation directory, embedded (no real Active Directory)", evaluation: true, people: everybody,
		stop: func() {
			_ = server.Close() // it is thrown away
			<-served
		}}, nil
}

// startSamba provisions and starts a Samba AD domain controller, or starts the one kept in the data folder.
func startSamba(ctx context.Context, o Options, progress func(string, ...any)) (*directory, error) {
	if err := samba.Available(); err != nil {
		return nil, err
	}
	progress("starting a Samba AD domain controller (the first time it is provisioned, which takes some seconds)")
	options := samba.Options{Realm: strings.ToUpper(evaluationDomain), Progress: func(s string) { progress("samba: %s", s) }}
	fresh := true
	if o.Data != "" {
		options.Dir = filepath.Join(o.Data, "samba")
		if _, err := os.Stat(options.Dir); err == nil {
			fresh = false
		}
	}
	dc, err := samba.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	everybody := people.Everybody(evaluationDomain)
	if fresh {
		progress("samba: making %d accounts", len(everybody))
		if err := dc.Fill(ctx, everybody); err != nil {
			dc.Stop()
			return nil, err
		}
	}
	return &directory{addresses: []string{dc.LDAPS()}, caFile: dc.CAFile, domain: evaluationDomain,
		label: "Samba AD domain controller at " + dc.Addr, people: everybody, stop: dc.Stop}, nil
}
