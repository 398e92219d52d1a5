// Command sallyport-sample-app is a small, ordinary application that signs people in with OpenID Connect. It shows what an
// application has to do, with the libraries that any Go program would take, and what it learns about the person.
//
// It knows Sallyport by its issuer address alone and shares no code with it: the same program signs in at any other
// provider. It keeps its sessions in memory and serves plain HTTP, on loopback addresses only.
//
//	/            home: "Sign in", or the claims of the person who has
//	/signin      makes state, nonce and PKCE verifier, and goes to the provider
//	/callback    takes the answer: state, issuer, code, ID token, nonce
//	/signout     forgets the person, and goes to the provider to sign out there
//	/signed-out  where the provider sends the browser afterwards
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "sallyport-sample-app:", err)
		os.Exit(1)
	}
}

const usage = `usage: sallyport-sample-app --issuer URL --client-id ID [flags]

A small application that signs people in with OpenID Connect and shows what it learns about them.
Register it with the redirect address http://HOST:PORT/callback and the post-logout address http://HOST:PORT/signed-out.

`

const (
	// headerTimeout is how long a client may take to send its headers: all clients are on this machine.
	headerTimeout = 10 * time.Second
	// drainTimeout is how long requests may take to end after a signal.
	drainTimeout = 5 * time.Second
)

// run serves until ctx ends. It prints one line to out once it listens.
func run(ctx context.Context, args []string, out, help io.Writer) error {
	flags := flag.NewFlagSet("sallyport-sample-app", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and printed once
	var c config
	flags.StringVar(&c.issuer, "issuer", "", "`URL` of the provider: https://login.example/t/tenant")
	flags.StringVar(&c.clientID, "client-id", "", "`ID` of this application at the provider")
	secretFile := flags.String("client-secret-file", "", "`file` with the client secret; none for a public application")
	listen := flags.String("listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks a free one")
	caFile := flags.String("ca-file", "", "PEM `file` with the CA of the provider's certificate, if it is a private one")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		flags.SetOutput(help)
		flags.PrintDefaults()
		return nil
	}
	if err != nil {
		return err
	}
	if c.issuer == "" || c.clientID == "" || flags.NArg() > 0 {
		return errors.New("--issuer and --client-id are needed, and nothing but flags (see --help)")
	}
	if *secretFile != "" {
		secret, err := os.ReadFile(*secretFile)
		if err != nil {
			return fmt.Errorf("read --client-secret-file: %w", err)
		}
		if c.secret = strings.TrimSpace(string(secret)); c.secret == "" {
			return fmt.Errorf("the file %s is empty", *secretFile)
		}
	}
	if c.client, err = clientFor(*caFile); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(*listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen: %q is no loopback address; this program speaks plain HTTP", host)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	c.url = "http://" + net.JoinHostPort(host, port)

	server := &http.Server{Handler: newApplication(c).routes(), ReadHeaderTimeout: headerTimeout}
	fmt.Fprintln(out, "sample app ready on", c.url)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("end open requests: %w", err)
	}
	return nil
}
