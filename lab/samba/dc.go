package samba

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Model says how Samba spreads its work over processes.
type Model string

// The models. The zero value means [Single], and in a [Network] [Prefork].
const (
	Single   Model = "single"   // one process; starts fastest and dies at once; for tests
	Prefork  Model = "prefork"  // several processes; twice the throughput on two cores; for load
	Standard Model = "standard" // a process for each connection; slowest
)

// Options of a domain controller. The zero value is a good one.
type Options struct {
	// Address on the loopback network, "127.1.2.3"; empty means the first free one. The ports are LDAP's and Kerberos's own and
	// cannot be chosen, so every domain controller needs an address of its own.
	Address string
	Model   Model
	// Realm is the Kerberos realm and, in lower case, the DNS domain; empty means [DefaultRealm].
	Realm string
	// LockoutThreshold is how many wrong passwords lock an account; 0 means [DefaultLockoutThreshold], negative means never
	// (and then Samba does not count them either). A locked account stays so until an administrator unlocks it, unless
	// [DC.SetLockoutPolicy] says otherwise.
	LockoutThreshold int
	// Network puts the domain controller into a namespace of its own in this network, in place of a loopback address.
	Network *Network
	// Join makes it a further domain controller of the domain of this one, which must run, in the same network. Realm and
	// LockoutThreshold are the domain's then.
	Join *DC
	// Trusts lets its domain trust others (see [DC.Trust]); it needs a network, and Samba's file server and winbind.
	Trusts bool
	// Dir keeps the domain: one that lies there is started as it was left, and Stop does not remove it. Empty means a new domain
	// in a new temporary directory, which Stop removes. At most 75 bytes, because Samba's sockets lie in it.
	Dir string
	// Log receives what Samba writes; nil means only the file in the directory, whose end is in the error of a failed start.
	Log io.Writer
	// Progress is told in a few words what takes long; nil is allowed.
	Progress func(string)
}

// DC is one running domain controller. Its methods may be called by several goroutines.
type DC struct {
	// Addr is the loopback address, "127.77.1.1", or the one in the network.
	Addr string
	// Host is the domain controller's DNS name, "dc1.corp.example.com", which no resolver but a network's knows; it stands in the
	// certificate.
	Host string
	// CAFile holds the CA of this domain controller's certificate in PEM; CAPool holds the same. Every [Start] makes a new CA.
	CAFile string
	CAPool *x509.CertPool
	// BaseDN is the root of the domain, "DC=corp,DC=example,DC=com".
	BaseDN string
	// NetBIOS is the domain's short name, "CORP"; Realm its Kerberos name; UPNSuffix its DNS name.
	NetBIOS, Realm, UPNSuffix string
	// AdminPassword is Administrator's.
	AdminPassword wire.Secret

	domain  domain
	model   Model
	dir     string
	keep    bool
	owner   *os.File // its lock tells others that dir is in use
	log     io.Writer
	address *reservation // nil in a network
	network *Network
	space   *namespace // nil on loopback
	trusts  bool

	mu      sync.Mutex // guards what follows
	process *process   // nil when killed or stopped
	stopped bool
}

// process is one run of the program.
type process struct {
	pid   int
	stdin io.Closer     // at its end of file Samba ends itself
	all   *os.File      // at its end of file the last of its processes is gone
	ended chan struct{} // closed when the program is over; err is set before
	err   error
}

// LDAPS returns the URL for LDAP over TLS, LDAP that for StartTLS. Both hold the address, for which the certificate is valid.
func (dc *DC) LDAPS() string { return "ldaps://" + net.JoinHostPort(dc.Addr, "636") }

// LDAP returns the URL for LDAP with StartTLS.
func (dc *DC) LDAP() string { return "ldap://" + net.JoinHostPort(dc.Addr, "389") }

// Network returns the network of the domain controller; nil on loopback.
func (dc *DC) Network() *Network { return dc.network }

// AdminUPN returns the name with which Administrator binds.
func (dc *DC) AdminUPN() string { return "Administrator@" + dc.UPNSuffix }

// Start starts a domain controller and returns once it answers. The caller must Stop it. ctx bounds the start alone.
func Start(ctx context.Context, o Options) (_ *DC, err error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if o.Realm == "" {
		o.Realm = DefaultRealm
	}
	if o.Model == "" {
		if o.Model = Single; o.Network != nil {
			o.Model = Prefork
		}
	}
	if o.Model != Single && o.Model != Prefork && o.Model != Standard {
		return nil, fmt.Errorf("samba: unknown model %q", o.Model)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	var wanted netip.Addr
	if o.Address != "" {
		wanted, err = netip.ParseAddr(o.Address)
		if err != nil || !wanted.Is4() || !wanted.IsLoopback() {
			return nil, fmt.Errorf("samba: address %q is not in 127.0.0.0/8", o.Address)
		}
	}
	if err := o.checkNetwork(); err != nil {
		return nil, err
	}
	d, err := newDomain(o.Realm)
	if err != nil {
		return nil, err
	}
	if o.Join != nil {
		d = o.Join.domain
		d.name = o.Join.nextName()
	}
	dc := &DC{
		Host: d.host(), BaseDN: d.baseDN(), NetBIOS: d.workgroup, Realm: d.realm, UPNSuffix: d.suffix(),
		domain: d, model: o.Model, keep: o.Dir != "", log: o.Log, network: o.Network, trusts: o.Trusts,
	}
	defer func() {
		if err != nil {
			dc.Stop()
		}
	}()
	if err := dc.claimDir(o.Dir); err != nil {
		return nil, err
	}
	address, at, err := dc.settle(ctx, wanted)
	if err != nil {
		return nil, err
	}
	dc.Addr = address.String()
	if o.Join != nil {
		o.Progress("joining the domain as " + dc.Host)
		err = dc.joinDomain(ctx, o.Join)
	} else {
		err = dc.placeDomain(ctx, o.Progress)
	}
	if err != nil {
		return nil, err
	}
	if err := d.writeSettings(dc.dir, at); err != nil {
		return nil, err
	}
	if dc.CAPool, err = writeCertificates(dc.dir, dc.Host, address, time.Now()); err != nil {
		return nil, err
	}
	dc.CAFile = filepath.Join(dc.dir, "ca.pem")
	o.Progress("starting the domain controller at " + dc.Addr)
	if err := dc.run(ctx); err != nil {
		return nil, err
	}
	if dc.network != nil {
		if err := dc.enterNames(ctx, o.Join); err != nil {
			return nil, err
		}
	}
	if o.Join != nil {
		return dc, nil
	}
	threshold := o.LockoutThreshold
	switch {
	case threshold == 0:
		threshold = DefaultLockoutThreshold
	case threshold < 0:
		threshold = 0
	}
	if err := dc.SetLockoutPolicy(ctx, threshold, 0, defaultWindow); err != nil {
		return nil, err
	}
	if err := dc.createUnits(ctx); err != nil {
		return nil, err
	}
	return dc, nil
}

// settle takes an address, on loopback or in a namespace of the network.
func (dc *DC) settle(ctx context.Context, wanted netip.Addr) (address netip.Addr, at place, err error) {
	if dc.network == nil {
		if dc.address, err = reserve(wanted); err != nil {
			return address, at, err
		}
		return dc.address.address, onLoopback(dc.address.address), nil
	}
	dc.space, address, err = dc.network.admit(ctx, dc.dir, dc.UPNSuffix)
	return address, inNetwork(dc.trusts), err
}

// placeDomain puts a copy of the cached domain into the directory, unless one is there, and reads its password.
func (dc *DC) placeDomain(ctx context.Context, progress func(string)) error {
	there, err := holdsDomain(dc.dir)
	if err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	if !there {
		tree, err := dc.domain.cached(ctx, progress)
		if err != nil {
			return err
		}
		if err := copyTree(ctx, tree, dc.dir); err != nil {
			return err
		}
	}
	password, err := os.ReadFile(passwordFile(dc.dir))
	if err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	dc.AdminPassword = wire.NewSecret(password)
	return nil
}

// run starts the program and waits until it answers.
func (dc *DC) run(ctx context.Context) error {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	if dc.stopped || dc.process != nil {
		return errors.New("samba: the domain controller is stopped, or runs already")
	}
	logFile, err := os.OpenFile(dc.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	args := []string{program("samba"), "-i", "--no-process-group", "-M", string(dc.model), "-s", settingsFile(dc.dir)}
	if dc.space != nil {
		// The file server and winbind leave the process group; in a PID namespace they end with it.
		args = append([]string{"unshare", "--pid", "--fork", "--kill-child"}, args...)
	}
	cmd := dc.command(context.Background(), args[0], args[1:]...)
	cmd.Dir = dc.dir
	cmd.Stdout, cmd.WaitDelay = logFile, time.Second
	if dc.log != nil {
		cmd.Stdout = io.MultiWriter(logFile, dc.log)
	}
	cmd.Stderr = cmd.Stdout
	p := &process{ended: make(chan struct{})}
	all, held, err := os.Pipe()
	if err != nil {
		_ = logFile.Close()
		return fmt.Errorf("samba: %w", err)
	}
	p.all, cmd.ExtraFiles = all, []*os.File{held}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		_ = errors.Join(logFile.Close(), all.Close(), held.Close())
		return fmt.Errorf("samba: %w", err)
	}
	err = launch(cmd, func(err error) {
		p.err = err
		_ = logFile.Close()
		close(p.ended)
	})
	_ = held.Close()
	if err != nil {
		_ = errors.Join(logFile.Close(), all.Close())
		return fmt.Errorf("samba: starting: %w", err)
	}
	p.pid = cmd.Process.Pid
	dc.process = p
	if err := dc.awaitAnswer(ctx, p); err != nil {
		dc.end(true)
		out, _ := os.ReadFile(dc.logFile())
		return fmt.Errorf("%w\n%s", err, tail(out))
	}
	return nil
}

// command prepares a program that runs where the domain controller does. It is killed when ctx ends.
func (dc *DC) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if dc.space == nil {
		return exec.CommandContext(ctx, name, args...)
	}
	return dc.space.command(ctx, name, args...)
}

func (dc *DC) logFile() string { return filepath.Join(dc.dir, "log", "samba.out") }

// awaitAnswer polls until the domain controller accepts Administrator's bind, under this instance's own CA, and listens for
// Kerberos.
func (dc *DC) awaitAnswer(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	var last error
	for {
		if last = dc.probe(ctx); last == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("samba: the program ended before it answered: %v", p.err)
		case <-ctx.Done():
			return fmt.Errorf("samba: no answer: %w (last: %w)", ctx.Err(), last)
		case <-poll.C:
		}
	}
}

func (dc *DC) probe(ctx context.Context) error {
	conn, err := dc.Administrator(ctx)
	if err != nil {
		return err
	}
	_ = conn.Close()
	kdc, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(dc.Addr, "88"))
	if err != nil {
		return err
	}
	return kdc.Close()
}

// end ends the program, if it runs, and waits for it; dc.mu must be held. Data of a killed domain controller survive: its
// database is transactional.
func (dc *DC) end(kill bool) {
	p := dc.process
	if p == nil {
		return
	}
	dc.process = nil
	if !kill {
		_ = signalGroup(p.pid, signalResume) // a paused process would not hear of its end
		_ = signalGroup(p.pid, signalEnd)
		select {
		case <-p.ended:
		case <-time.After(stopTime):
		}
	}
	_ = signalGroup(p.pid, signalKill) // the children too; an error means that nobody is left
	<-p.ended
	_ = p.all.SetReadDeadline(time.Now().Add(stopTime))
	_, _ = p.all.Read(make([]byte, 1)) // nobody writes; until then a port may still be listened on
	_ = errors.Join(p.all.Close(), p.stdin.Close())
}

// Stop ends the domain controller, gives its address back and, unless the directory was chosen by the caller, removes its data.
// Calling it again does nothing.
func (dc *DC) Stop() {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	if dc.stopped {
		return
	}
	dc.stopped = true
	// A single process, or one whose children end with it, need not be asked politely when its data is thrown away.
	dc.end((dc.model == Single || dc.space != nil) && !dc.keep)
	if dc.address != nil {
		dc.address.release()
	}
	if dc.space != nil {
		dc.space.close()
	}
	if !dc.keep && dc.dir != "" {
		_ = os.RemoveAll(dc.dir)
	}
	if dc.owner != nil {
		_ = dc.owner.Close()
	}
}

// Kill ends the domain controller at once, as a power failure would; its address and data are kept for [DC.Restart].
func (dc *DC) Kill() {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	dc.end(true)
}

// Restart starts a killed domain controller again, at the same address with the same certificate, and returns once it answers.
func (dc *DC) Restart(ctx context.Context) error { return dc.run(ctx) }

// Pause stops the domain controller in time: connections stay open, new ones are accepted by the kernel, and nothing is
// answered until [DC.Resume]. That is how an overloaded or frozen host looks from outside.
func (dc *DC) Pause() error {
	return dc.signal(func(p *process) error { return signalGroup(p.pid, signalPause) })
}

// Resume lets a paused domain controller go on.
func (dc *DC) Resume() error {
	return dc.signal(func(p *process) error { return signalGroup(p.pid, signalResume) })
}

func (dc *DC) signal(send func(*process) error) error {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	if dc.process == nil {
		return errors.New("samba: the domain controller does not run")
	}
	if err := send(dc.process); err != nil {
		return fmt.Errorf("samba: signal: %w", err)
	}
	return nil
}

// claimDir makes the directory, or takes the caller's, and marks it as in use.
func (dc *DC) claimDir(dir string) (err error) {
	if dir == "" {
		removeOrphans()
		// Not t.TempDir(): the name of a test makes it too long.
		if dc.dir, err = os.MkdirTemp("", dirPrefix); err != nil {
			return fmt.Errorf("samba: %w", err)
		}
	} else {
		if dir, err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("samba: %w", err)
		}
		if strings.ContainsAny(dir, "\n%") {
			return fmt.Errorf("samba: directory %q has characters that smb.conf gives a meaning", dir)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("samba: %w", err)
		}
		dc.dir = dir
	}
	if len(dc.dir) > maxDir {
		return fmt.Errorf("samba: the directory %s is longer than %d bytes, and Samba's sockets must fit below it; choose a shorter one (TMPDIR)", dc.dir, maxDir)
	}
	if dc.owner, err = own(dc.dir); err != nil {
		return err
	}
	return nil
}
