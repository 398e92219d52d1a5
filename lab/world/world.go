package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/process"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/localca"
)

const (
	tenantName = "contoso"
	// firstDirectory is the directory that every world has.
	firstDirectory = "corp"
	// Domain is the UPN suffix of the people in the embedded directory.
	Domain = "corp.example.com"
	// redirect is where the application would be; visitors stop there and redeem the code themselves.
	redirect = "https://app.example.com/callback"
)

// Programs are the paths of the programs.
type Programs struct{ Service, Agent string }

// Build builds the programs into a folder, or finds them beside this executable.
func Build(ctx context.Context, into string) (Programs, error) {
	found, err := process.Find(ctx, into, nil, "sallyport", "sallyport-agent")
	if err != nil {
		return Programs{}, err
	}
	return Programs{found[0], found[1]}, nil
}

// Directory is one that runs already, such as a Samba domain controller.
type Directory struct {
	// Addresses are what agents are given as --dc, CAFile is the CA of their certificates, Domain the UPN suffix of the users.
	Addresses      []string
	CAFile, Domain string
	// NameServers are the IP addresses of those that agents ask about everything, and about the domain controllers of Domain, in place of Addresses:
	// each agent gets an /etc/resolv.conf of its own, on Linux as root.
	NameServers []string
	// Suffixes are further ones.
	Suffixes []string
}

// Options say what to run.
type Options struct {
	Programs Programs
	// Dir is a folder of the installation's own; logs lie there.
	Dir string
	// Database and Broker, both set, split the service: two sign-in processes and two gateways, on this PostgreSQL and the NATS
	// server at this host:port. Both empty, one process does everything.
	Database, Broker string
	// Agents is how many to run.
	Agents int
	// CertificateLife is how long agents' certificates last; 0 is the service's default.
	CertificateLife time.Duration
	// TPM is the device of a TPM that the agents have their keys in; empty for files.
	TPM string
	// Quiet is for measuring: processes log at info level, and agents and service
	// processes dial the first gateway and the broker without a line of the lab between.
	Quiet bool
	// People fill the embedded directory.
	People []people.Person
	// Directory is asked in place of the embedded one, if Addresses or NameServers are set.
	Directory Directory
	// Settings are further ones of every service process, "log.level=info"; they go before the lab's own.
	Settings []string
}

// World is a running installation.
type World struct {
	// Signins serve browsers; Gateways hold agents. In one process, both name the same node.
	Signins, Gateways []*Node
	Agents            []*Node
	// Front leads browsers to the sign-in processes, in turn.
	Front *Line
	// Directory is the embedded one; nil when another is asked.
	Directory *evaluation.Server
	// App is what visitors sign in to, API the admin API.
	App visitor.App
	API *admin.Client
	// DatabaseURL is where the rows lie.
	DatabaseURL string

	o       Options
	ports   process.Ports
	base    int
	roots   *x509.CertPool
	tls     []string // settings
	caFile  string
	admins  *Line
	lines   []*Line
	closers []func()
	dcs     Directory
}

// Start brings an installation up, or nothing. The caller must Close it.
func Start(ctx context.Context, o Options) (_ *World, err error) {
	if (o.Database == "") != (o.Broker == "") {
		return nil, errors.New("world: a split service needs a database and a broker")
	}
	w := &World{o: o}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if err := w.claimPorts(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{w.makeCertificates, w.openDirectory, w.startService, w.fillTenant, w.startAgents} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Close ends everything, without ceremony.
func (w *World) Close() {
	var all sync.WaitGroup
	for _, n := range w.nodes() {
		if n.Alive() {
			all.Go(n.Kill)
		}
	}
	all.Wait()
	for _, l := range w.lines {
		l.close()
	}
	for _, f := range w.closers {
		f()
	}
}

// nodes lists every process once.
func (w *World) nodes() []*Node {
	all := append([]*Node{}, w.Signins...)
	if w.split() {
		all = append(all, w.Gateways...)
	}
	return append(all, w.Agents...)
}

func (w *World) logLevel() string {
	if w.o.Quiet {
		return "info"
	}
	return "debug"
}

func (w *World) split() bool { return w.o.Broker != "" }

// claimPorts takes a range of ports that no other world uses, of this process or another, as long as this one lives: ports are free
// while their process is down, and must still be there when it comes back. Who listens on the first port has the range.
func (w *World) claimPorts() error {
	var err error
	for range portTries {
		base := firstPort + rand.N(portSpread/portRange)*portRange
		var claim net.Listener
		if claim, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base))); err == nil {
			w.closers = append(w.closers, func() { _ = claim.Close() })
			w.base = base + 1
			return nil
		}
	}
	return fmt.Errorf("world: no range of ports is free: %w", err)
}

// address takes a port for a process.
func (w *World) address() (string, error) {
	at, err := w.ports.Take("a process of the lab", w.base)
	w.base++
	return at, err
}

// line opens a line that ends with the world.
func (w *World) line(proxy, rotate bool, targets ...string) (*Line, error) {
	l, err := newLine(proxy, rotate, targets...)
	if err == nil {
		w.lines = append(w.lines, l)
	}
	return l, err
}

// makeCertificates writes one certificate for all processes, as an operator's files.
func (w *World) makeCertificates(context.Context) error {
	authority, err := localca.OpenOrCreate(filepath.Join(w.o.Dir, "ca"))
	if err != nil {
		return err
	}
	pair, err := authority.Server([]string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	certificate, keyFile := filepath.Join(w.o.Dir, "tls.pem"), filepath.Join(w.o.Dir, "tls.key")
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	w.roots, w.caFile = authority.Pool(), authority.CertificateFile()
	w.tls = []string{"--set", "tls.certificate_file=" + certificate, "--set", "tls.key_file=" + keyFile}
	return errors.Join(os.WriteFile(certificate, chain, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

// openDirectory serves the embedded directory, unless there is another.
func (w *World) openDirectory(context.Context) error {
	if len(w.o.Directory.Addresses)+len(w.o.Directory.NameServers) > 0 {
		w.dcs = w.o.Directory
		return nil
	}
	certificate, caFile, err := evaluation.SelfSigned(w.o.Dir, "127.0.0.1")
	if err != nil {
		return err
	}
	w.Directory, err = evaluation.New(evaluation.Config{People: w.o.People,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- w.Directory.Serve(context.Background(), listener) }() // ends with Close
	w.closers = append(w.closers, func() {
		_ = w.Directory.Close() // it is thrown away
		<-served
	})
	w.dcs = Directory{Addresses: []string{"ldaps://" + listener.Addr().String()}, CAFile: caFile, Domain: Domain}
	return nil
}

// fillTenant makes directory, domain and application.
func (w *World) fillTenant(ctx context.Context) error {
	token, err := os.ReadFile(filepath.Join(w.data(w.Signins[0].Name), "admin-token"))
	if err != nil {
		return err
	}
	w.API = &admin.Client{BaseURL: "https://" + w.admins.Address(), Token: strings.TrimSpace(string(token)),
		HTTP: &http.Client{Transport: w.transportTo(w.admins.Address()), Timeout: startTimeout}}
	name, redirects := "Application of the lab", []string{redirect}
	var app admin.App
	if err := errors.Join(w.addDirectory(ctx, firstDirectory, w.dcs),
		w.API.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "apps"), admin.AppInput{Name: &name, RedirectURIs: &redirects}, &app)); err != nil {
		return err
	}
	w.App = visitor.App{Issuer: w.publicURL() + "/t/" + tenantName, ClientID: app.ID, ClientSecret: app.Secret, Redirect: redirect}
	return nil
}

// addDirectory makes a directory and its domains.
func (w *World) addDirectory(ctx context.Context, name string, d Directory) error {
	all := w.API.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "directories"), admin.DirectoryInput{Name: name, Evaluation: w.Directory != nil}, nil)
	for _, domain := range append([]string{d.Domain}, d.Suffixes...) {
		all = errors.Join(all, w.API.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "domains"), admin.DomainInput{Name: domain, Directory: &name}, nil))
	}
	return all
}

// Connect adds another directory, with one agent of its own.
func (w *World) Connect(ctx context.Context, name string, d Directory) error {
	if err := w.addDirectory(ctx, name, d); err != nil {
		return err
	}
	return w.addAgents(ctx, name, d, 1)
}

// publicURL is where browsers go.
func (w *World) publicURL() string {
	_, port, _ := net.SplitHostPort(w.Front.Address())
	return "https://localhost:" + port
}

// transportTo returns an HTTP transport that trusts the world's CA alone and goes to an address whatever the URL says.
func (w *World) transportTo(address string) *http.Transport {
	var d net.Dialer
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		}}
}

// Transport returns how a browser reaches the front. The caller closes its idle connections.
func (w *World) Transport() *http.Transport { return w.transportTo(w.Front.Address()) }

// SignIn plays one person in a browser of their own: name, password, and what comes of it.
func (w *World) SignIn(ctx context.Context, name, password string) (visitor.Outcome, error) {
	transport := w.Transport()
	defer transport.CloseIdleConnections()
	return visitor.New(w.App, transport).SignIn(ctx, name, password)
}

// Browser returns an HTTP transport of somebody who comes from a loopback address of their own and goes straight to one sign-in
// process, for measurements.
func (w *World) Browser(to *Node, from net.IP) *http.Transport {
	t := w.transportTo(to.browsersAt)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, to.browsersAt)
	}
	return t
}

// GatewayAddress returns where agents find the first gateway.
func (w *World) GatewayAddress() string { return w.Gateways[0].agentsAt }

// DataFolder returns the data folder of a service process.
func (w *World) DataFolder(n *Node) string { return w.data(n.Name) }

// Records returns what the sign-in log has of a typed name, newest first.
func (w *World) Records(ctx context.Context, name string) ([]admin.SignIn, error) {
	var page admin.Page[admin.SignIn]
	err := w.API.Do(ctx, http.MethodGet, admin.Path("tenants", tenantName, "signins")+"?name="+name, nil, &page)
	return page.Items, err
}

// data is the data folder of a service process.
func (w *World) data(name string) string { return filepath.Join(w.o.Dir, name) }

// AwaitAgents waits until exactly count agents are attached, as the gateways that live see it.
func (w *World) AwaitAgents(ctx context.Context, count int) error {
	return Await(ctx, fmt.Sprintf("%d agents are attached", count), func() bool {
		attached := 0
		for _, g := range w.Gateways {
			if g.Alive() {
				attached += g.attached(ctx)
			}
		}
		return attached == count
	})
}
