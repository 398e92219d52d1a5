package samba

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed provision.py
var provisionScript string

// hostname is that of a domain's first domain controller, within the domain.
const hostname = "dc1"

// madeAt is the address under which a domain is made; it is in its DNS until a domain controller in a [Network] corrects that.
var madeAt = netip.AddrFrom4([4]byte{127, 77, 0, 1})

// settings is smb.conf. DIR and the other capitals are replaced; everything Samba writes stays below DIR.
//
// Alone on loopback there is no file server, winbind or replication: nothing needs them, and without them a domain controller
// starts in half a second.
const settings = `[global]
  netbios name = HOST
  workgroup = WORKGROUP
  realm = REALM
  server role = active directory domain controller
  server services = SERVICES
  interfaces = INTERFACES
  bind interfaces only = yes
  disable netbios = yes
  dns forwarder =
  private dir = DIR/private
  state directory = DIR/state
  cache directory = DIR/cache
  lock directory = DIR/lock
  pid directory = DIR/run
  ncalrpc dir = DIR/ncalrpc
  winbindd socket directory = WINBIND
  ntp signd socket directory = DIR/run/ntp_signd
  binddns dir = DIR/bind-dns
  log file = DIR/log/log.%m
  log level = LOGLEVEL
  panic action = /bin/true
  ldb:nosync = true
[sysvol]
  path = DIR/state/sysvol
[netlogon]
  path = DIR/state/sysvol/scripts
`

// domain names what is provisioned, and which of its domain controllers.
type domain struct {
	realm     string // upper case, "CORP.EXAMPLE.COM"
	workgroup string // the NetBIOS name, "CORP"
	name      string // of the host, "dc1"
}

// place says where a domain controller listens and what it does there.
type place struct{ interfaces, services, winbind, log string }

// onLoopback is the place of a domain controller that is alone. The /8 is required: with a bare address Samba runs and listens
// nowhere.
func onLoopback(address netip.Addr) place {
	return place{interfaces: address.String() + "/8", services: "ldap cldap kdc rpc dns", winbind: "DIR/run/winbindd", log: "0"}
}

// inNetwork is the place of one in a namespace of its own. Trusts need the file server, over whose pipes domains talk about them, and winbind.
func inNetwork(trusts bool) place {
	p := place{interfaces: "lo " + memberLink, services: "ldap cldap kdc rpc dns drepl kcc", winbind: winbindSockets,
		log: "0 auth_audit:3"} // see DC.Attempts
	if trusts {
		p.services += " s3fs winbindd"
	}
	return p
}

// newDomain checks the realm, which goes into a settings file, and derives the NetBIOS name from its first label.
func newDomain(realm string) (domain, error) {
	realm = strings.ToUpper(realm)
	labels := strings.Split(realm, ".")
	if len(realm) > 200 || len(labels) < 2 {
		return domain{}, fmt.Errorf("samba: realm %q: needs two labels or more and at most 200 characters", realm)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return domain{}, fmt.Errorf("samba: realm %q: %q is not a label", realm, label)
		}
	}
	workgroup := labels[0]
	if len(workgroup) > 15 { // NetBIOS names have 15 characters
		workgroup = workgroup[:15]
	}
	if strings.EqualFold(workgroup, hostname) {
		return domain{}, fmt.Errorf("samba: realm %q: its first label is also the name of the host", realm)
	}
	return domain{realm: realm, workgroup: workgroup, name: hostname}, nil
}

func (d domain) suffix() string { return strings.ToLower(d.realm) }

func (d domain) host() string { return d.name + "." + d.suffix() }

func (d domain) baseDN() string {
	return "DC=" + strings.ReplaceAll(d.suffix(), ".", ",DC=")
}

// writeSettings writes smb.conf for a tree in dir and makes the directories that Samba expects. It leaves out run/ntp_signd and
// run/winbindd: Samba insists on modes of its own there.
func (d domain) writeSettings(dir string, at place) error {
	for _, sub := range []string{"etc", "private/tls", "state", "cache", "lock", "run", "ncalrpc", "bind-dns", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("samba: %w", err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "private"), 0o700); err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	text := strings.NewReplacer("HOST", strings.ToUpper(d.name), "WORKGROUP", d.workgroup, "REALM", d.realm,
		"LOGLEVEL", at.log, "INTERFACES", at.interfaces, "SERVICES", at.services, "WINBIND", strings.ReplaceAll(at.winbind, "DIR", dir), "DIR", dir).Replace(settings)
	if err := os.WriteFile(settingsFile(dir), []byte(text), 0o600); err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	return nil
}

func settingsFile(dir string) string { return filepath.Join(dir, "etc", "smb.conf") }

// passwordFile holds Administrator's password beside the domain it belongs to.
func passwordFile(dir string) string { return filepath.Join(dir, "administrator") }

// cached returns the directory of the domain's tree in the cache, and makes it first if it is not there. The name in the cache
// tells Samba's version and everything that goes into the domain, so an update of either makes a new one. The only file in
// a tree that names addresses and paths is smb.conf, which is why a tree can be copied anywhere.
func (d domain) cached(ctx context.Context, progress func(string)) (string, error) {
	samba, err := version()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(provisionScript + "\x00" + settings + "\x00" + d.name + "\x00" + d.realm + "\x00" + d.workgroup))
	root, err := os.UserCacheDir()
	if err != nil { // no home directory
		root = filepath.Join(os.TempDir(), "sallyport-cache-"+strconv.Itoa(os.Getuid()))
	}
	home := filepath.Join(root, "sallyport-samba", samba+"-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("samba: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("samba: %w", err)
	}
	defer lock.Close()
	if _, err := lockFile(lock, true); err != nil {
		return "", fmt.Errorf("samba: locking the cache: %w", err)
	}
	tree := filepath.Join(home, "tree")
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	progress("making the domain " + d.suffix() + " (once, a few seconds)")
	fresh := filepath.Join(home, "new")
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700)); err != nil {
		return "", fmt.Errorf("samba: %w", err)
	}
	if err := d.provision(ctx, fresh); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, tree); err != nil {
		return "", fmt.Errorf("samba: %w", err)
	}
	return tree, nil
}

// provision makes the domain in dir, with a random password for Administrator.
func (d domain) provision(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, provisionTime)
	defer cancel()
	if err := d.writeSettings(dir, onLoopback(madeAt)); err != nil {
		return err
	}
	// The prefix satisfies the complexity rules that every new domain has.
	password := "Lab-7-" + rand.Text()
	if err := os.WriteFile(passwordFile(dir), []byte(password), 0o600); err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	script := filepath.Join(dir, "provision.py")
	if err := os.WriteFile(script, []byte(provisionScript), 0o600); err != nil {
		return fmt.Errorf("samba: %w", err)
	}
	cmd := exec.CommandContext(ctx, python, script, settingsFile(dir), d.realm, d.workgroup, d.name, madeAt.String())
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("samba: making the domain: %w\n%s", err, tail(out))
	}
	return nil
}

// copyTree copies a domain to dir, which must be empty or absent, keeping the holes of its sparse database files.
func copyTree(ctx context.Context, tree, dir string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--sparse=always", tree+"/.", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("samba: copying the domain: %w: %s", err, tail(out))
	}
	return nil
}

// holdsDomain reports whether a domain was put into dir before.
func holdsDomain(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "private", "sam.ldb"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// tail shortens output to its end.
func tail(out []byte) string {
	if len(out) > logTail {
		out = out[len(out)-logTail:]
	}
	return strings.TrimSpace(string(out))
}
