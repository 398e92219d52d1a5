package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Network is a switch with domain controllers, each in namespaces of its own: they reach each other and this process reaches
// them, but nobody else does, and what happens to one host's network can be made to happen.
//
//	this process ── spN ── switch ──┬── eth0  dc1.corp.example.com     198.18.N.1
//	   198.18.N.254:                ├── eth0  dc2.corp.example.com     198.18.N.2
//	   DNS for all of them          └── eth0  dc1.partner.example.com  198.18.N.3
//
// The addresses are of 198.18.0.0/15, which is kept for benchmarks; N is locked, so that several test processes do not collide. Every
// namespace lives as long as one process in it, which the kernel ends with ours: nothing is left over, also after a kill. A
// Network's methods may be called by several goroutines.
type Network struct {
	number int
	lock   *os.File
	hub    *namespace
	names  *nameserver

	mu      sync.Mutex // guards what follows
	members int
}

const (
	// memberLink is the name of a domain controller's link, in its namespace.
	memberLink = "eth0"
	hubLink    = "hub"
	// winbindSockets is where Samba's libraries look for winbind whatever the settings say; each namespace has a /run of its own.
	winbindSockets = "/run/samba/winbindd"
	// networks is how many can be on one machine at once, maxMembers how many addresses each has for domain controllers.
	networks, maxMembers = 250, 200
)

// NetworkAvailable returns nil when a [Network] can be made here, and with trusts when its domain controllers can trust each other.
// Otherwise its error wraps [ErrMissing] and says what is missing.
func NetworkAvailable(trusts bool) error {
	if err := Available(); err != nil {
		return err
	}
	needs := []need{
		{"the program ip", "iproute2", []string{"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"}},
		{"the program nft", "nftables", []string{"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"}},
		{"the programs nsenter and unshare", "util-linux", []string{"/usr/bin/nsenter"}},
	}
	if trusts {
		needs = append(needs, need{"the program winbindd", "winbind", []string{"/usr/sbin/winbindd"}},
			need{"Samba's file server modules", "samba-vfs-modules", []string{"/usr/lib/*/samba/vfs/acl_xattr.so", "/usr/lib*/samba/vfs/acl_xattr.so"}})
	}
	if err := absent(needs); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: network namespaces that this process can reach need root", ErrMissing)
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "nft", "add", "table", "ip", "lab").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: namespaces, or packet filters in them, are not allowed here: %w: %s", ErrMissing, err, tail(out))
	}
	return nil
}

// NewNetwork makes an empty network. The caller must Close it after its domain controllers are stopped.
func NewNetwork(ctx context.Context) (_ *Network, err error) {
	if err := NetworkAvailable(false); err != nil {
		return nil, err
	}
	dir, err := locksDir()
	if err != nil {
		return nil, err
	}
	for number := 1; number <= networks; number++ {
		n := &Network{number: number}
		n.lock, err = os.OpenFile(filepath.Join(dir, n.link()), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("samba: %w", err)
		}
		taken, err := lockFile(n.lock, false)
		if err == nil && taken && !exists(n.link()) { // the link of somebody who died a moment ago, or of another user
			err = n.open(ctx)
			if err == nil {
				return n, nil
			}
		}
		n.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("samba: no network is free")
}

func exists(link string) bool {
	_, err := os.Stat("/sys/class/net/" + link)
	return err == nil
}

func (n *Network) open(ctx context.Context) (err error) {
	if n.hub, err = newNamespace(); err != nil {
		return err
	}
	hub := strconv.Itoa(n.hub.pid)
	for _, step := range []struct {
		in   *namespace // nil is ours
		args []string
	}{
		{n.hub, []string{"link", "add", hubLink, "type", "bridge"}},
		{n.hub, []string{"link", "set", hubLink, "up"}},
		{nil, []string{"link", "add", n.link(), "type", "veth", "peer", "name", "here", "netns", hub}},
		{n.hub, []string{"link", "set", "here", "master", hubLink, "up"}},
		{nil, []string{"address", "add", n.here().String() + "/24", "dev", n.link()}},
		{nil, []string{"link", "set", n.link(), "up"}},
	} {
		if err := ip(ctx, step.in, step.args...); err != nil {
			return err
		}
	}
	n.names, err = serveNames(netip.AddrPortFrom(n.here(), 53))
	return err
}

// Close takes the network away.
func (n *Network) Close() {
	if n.names != nil {
		n.names.close()
	}
	if n.hub != nil {
		n.hub.close()
	}
	_ = n.lock.Close()
}

// Resolver is the address of a DNS server, host:port, that answers for all domains of the network, by asking their domain controllers.
func (n *Network) Resolver() string { return n.names.address.String() }

// here is this process's address.
func (n *Network) here() netip.Addr { return n.address(254) }

func (n *Network) address(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(n.number), byte(host)})
}

func (n *Network) link() string { return "sp" + strconv.Itoa(n.number) }

// admit gives a domain controller, whose directory is dir, a namespace and an address.
func (n *Network) admit(ctx context.Context, dir, search string) (*namespace, netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.members == maxMembers {
		return nil, netip.Addr{}, errors.New("samba: the network is full")
	}
	resolver := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolver, fmt.Appendf(nil, "search %s\nnameserver %s\noptions timeout:2 attempts:2\n", search, n.here()), 0o644); err != nil {
		return nil, netip.Addr{}, fmt.Errorf("samba: %w", err)
	}
	s, err := newNamespace()
	if err != nil {
		return nil, netip.Addr{}, err
	}
	n.members++
	address, port := n.address(n.members), "port"+strconv.Itoa(n.members)
	for _, step := range []struct {
		in   *namespace
		args []string
	}{
		{nil, []string{"link", "add", memberLink, "netns", strconv.Itoa(s.pid), "type", "veth", "peer", "name", port, "netns", strconv.Itoa(n.hub.pid)}},
		{n.hub, []string{"link", "set", port, "master", hubLink, "up"}},
		{s, []string{"link", "set", "lo", "up"}},
		{s, []string{"address", "add", address.String() + "/24", "dev", memberLink}},
		{s, []string{"link", "set", memberLink, "up"}},
	} {
		if err = ip(ctx, step.in, step.args...); err != nil {
			break
		}
	}
	if err == nil {
		// A /run without the system's Samba, and the resolv.conf that the C library reads.
		err = output(s.command(ctx, "sh", "-ec", `conf=$(readlink -f /etc/resolv.conf)
			mount -t tmpfs none /run
			mkdir -p /run/samba "$(dirname "$conf")"
			[ -e "$conf" ] || : > "$conf"
			mount --bind "$0" "$conf"`, resolver))
	}
	if err != nil {
		s.close()
		return nil, netip.Addr{}, err
	}
	return s, address, nil
}

// namespace is a network and a set of mounts, kept by a process that does nothing.
type namespace struct {
	pid   int
	stdin io.Closer // the process ends with it
	ended chan struct{}
}

func newNamespace() (*namespace, error) {
	cmd := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat")
	s := &namespace{ended: make(chan struct{})}
	var err error
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	if err := launch(cmd, func(error) { close(s.ended) }); err != nil {
		return nil, fmt.Errorf("samba: making a namespace: %w", err)
	}
	s.pid = cmd.Process.Pid
	if _, err := out.Read(make([]byte, 1)); err != nil { // said from inside, so it is made
		s.close()
		return nil, fmt.Errorf("samba: making a namespace: %w", err)
	}
	return s, nil
}

// command prepares a program that runs in the namespace.
func (s *namespace) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append(s.enter(), append([]string{name}, args...)...)...)
}

// enter are the arguments of nsenter.
func (s *namespace) enter() []string {
	return []string{"--target", strconv.Itoa(s.pid), "--net", "--mount", "--"}
}

func (s *namespace) close() {
	_ = s.stdin.Close()
	select {
	case <-s.ended:
	case <-time.After(stopTime):
	}
}

// ip configures a namespace, or our own for nil.
func ip(ctx context.Context, s *namespace, args ...string) error {
	if s == nil {
		return output(exec.CommandContext(ctx, "ip", args...))
	}
	return output(s.command(ctx, "ip", args...))
}

// output runs a program to its end; what it wrote is in the error.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("samba: %s: %w: %s", filepath.Base(cmd.Path), err, tail(out))
	}
	return nil
}
