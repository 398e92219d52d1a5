package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/wire"
)

type registerCommand struct {
	Service   string `help:"Address of the service. With --again, the one of the former registration by default." placeholder:"URL"`
	Token     string `help:"Enrolment token. Others on this host can see it while the command runs: prefer --token-file." placeholder:"TOKEN" xor:"token"`
	TokenFile string `help:"File that holds the enrolment token; - is standard input. Under systemd the credential enrolment-token by default." placeholder:"FILE" xor:"token"`
	CAFile    string `help:"PEM file of the CA that issued the service's certificate, if it is a private one." name:"ca-file" placeholder:"FILE" type:"path"`
	Name      string `help:"What to call this agent in the fleet. The host's name by default." placeholder:"NAME"`
	Tenant    string `help:"Without a token: the tenant's name, if the service has more than one." placeholder:"NAME"`
	Directory string `help:"Without a token: the directory to serve. The administrator chooses by default." placeholder:"NAME"`
	Proxy     string `help:"HTTP proxy. What HTTPS_PROXY says by default." placeholder:"URL"`
	Replace   bool   `help:"Throw an existing identity in the state folder away and become a new agent." xor:"existing"`
	KeyStore  string `help:"Where the private keys are to be: file (in the state folder) or tpm (made in this host's TPM 2.0, which they cannot leave). With --again, where they were by default; else file." enum:",file,tpm" default:"" placeholder:"STORE"`
	TPMDevice string `help:"The TPM, if it is not the usual one: a device or the socket of a software TPM." name:"tpm-device" placeholder:"PATH"`
	Again     bool   `help:"Stay the agent that the state folder holds, with its name and history, and take fresh keys." xor:"existing"`
}

// Help is printed below the flags.
func (registerCommand) Help() string {
	return `Two key pairs are made on this host, and only their public halves are sent. The token is used up by a registration
that succeeds. Programs give it with --token-file, or in the environment (SALLYPORT_AGENT_TOKEN_FILE, SALLYPORT_AGENT_TOKEN), never on
the command line.

Without a token a code and a link are shown; an administrator of the tenant opens the link, signs in, compares the fingerprint and
approves. The command waits for that.

Examples:
  sallyport-agent register --service https://signin.example.com
  sallyport-agent register --service https://signin.example.com --token-file token.txt
  sallyport-agent register --instance second …               where the host has an agent already; then also: run --instance second
  sallyport-agent register --again --key-store tpm --token-file token.txt     move the keys into the TPM
  sallyport-agent register --again --token-file token.txt     after an expiry, a removal, a reset to a snapshot, a release
  ssh admin@service sallyport agent token create … | sallyport-agent register --service https://signin.example.com --token-file -`
}

// Run is called by kong.
func (r *registerCommand) Run(ctx context.Context, c *cli, term *terminal) error {
	if r.Service == "" && !r.Again {
		return &usageError{errors.New("give the service's address with --service")}
	}
	token, err := r.token(term.in)
	if err == nil && token == "" && r.Again {
		err = errors.New("--again needs a token: give it with --token-file")
	}
	if err != nil {
		return &usageError{err}
	}
	v, _ := build()
	id, err := identity.Register(ctx, identity.Options{
		Service: r.Service, Token: token, Dir: c.State, Name: r.Name, Instance: c.Instance, CAFile: r.CAFile, Proxy: r.Proxy, Version: v, Replace: r.Replace,
		Again: r.Again, KeyStore: r.KeyStore, KeyDevice: r.TPMDevice, Logger: c.logs(term.err),
		Tenant: r.Tenant, Directory: r.Directory, Prompt: func(p identity.Prompt) { prompt(term.out, p) },
	})
	if err != nil {
		return err
	}
	f := id.Facts()
	fmt.Fprintf(term.out, "registered agent %q (%s)\n  tenant:      %s\n  directory:   %s\n  gateway:     %s\n  certificate: until %s\n  keys:        %s\n  state:       %s\n",
		f.AgentName, f.AgentID, f.TenantName, f.DirectoryName, f.Gateway, id.NotAfter().UTC().Format(time.RFC3339), id.KeyStore(), c.State)
	if id.Pending() {
		fmt.Fprintf(term.out, "  fingerprint: %s\n\nIt waits for an administrator's approval (sallyport agent approve %s). Start the agent: it gets work once it is approved.\n",
			id.Fingerprint(), f.AgentName)
	}
	return nil
}

// prompt tells whoever sits at the terminal how the registration goes on.
func prompt(w io.Writer, p identity.Prompt) {
	fmt.Fprintf(w, `To let this agent in, an administrator opens

  %s

or types this code at %s

  code:        %s
  fingerprint: %s

and approves if the page shows this fingerprint. Waiting until %s …
`, p.Link, p.Page, p.Code, p.Fingerprint, p.Expires.Local().Format("15:04"))
}

// credential is the name under which systemd hands the token over (LoadCredential=, systemd.exec(5)).
const credential = "enrolment-token"

// token returns the token from the flag, the file, or what the service manager handed over; "" without any of them.
func (r *registerCommand) token(stdin io.Reader) (string, error) {
	file := r.TokenFile
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && file == "" && r.Token == "" {
		file = filepath.Join(dir, credential)
	}
	switch {
	case file == "" && r.Token == "":
		return "", nil
	case file == "":
		return r.Token, nil
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("token file: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, wire.MaxRegisterToken+3))
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(token) > wire.MaxRegisterToken || bytes.ContainsAny([]byte(token), " \t\r\n") {
		return "", errors.New("token file: it must hold one token and nothing else")
	}
	return token, nil
}
