package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/service/localca"
)

// evaluationDomain is the UPN suffix of the people in the embedded directory and in the Samba domain.
const evaluationDomain = "corp.example.com"

// directory is what the agents ask.
type directory struct {
	// addresses are what agents are given as --dc, and caFile the CA of their certificates (empty: the system's).
	addresses []string
	caFile    string
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
		if o.Domain == "" {
			return nil, errors.New("the UPN suffix of the directory's users is missing (--domain)")
		}
		if o.CAFile != "" {
			abs, err := filepath.Abs(o.CAFile)
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(abs); err != nil {
				return nil, fmt.Errorf("--ca-file: %w", err)
			}
			o.CAFile = abs
		}
		return &directory{addresses: []string{o.Directory}, caFile: o.CAFile, domain: strings.ToLower(o.Domain),
			label: o.Directory + " (your own)", stop: func() {}}, nil
	}
	return nil, fmt.Errorf("%q is neither evaluation, samba, ldaps://… nor ldap://…", o.Directory)
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
