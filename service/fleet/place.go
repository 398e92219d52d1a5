package fleet

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// place is where a token may be used: by hosts whose name fits the pattern ("dc*.corp.example"; "": any) and from addresses within one
// of the networks (none: any). The host's name is the agent's own word; the address is what the gateway has seen.
type place struct {
	hosts    string
	networks []netip.Prefix
}

// parsePlace checks and brings into the form that is stored what an administrator wrote. An address alone is a network of one.
func parsePlace(hosts string, networks []string) (place, error) {
	p := place{hosts: strings.ToLower(strings.TrimSpace(hosts))}
	if len(p.hosts) > maxHost {
		return p, fault.Newf(wire.BadRequest, "the host pattern is longer than %d bytes", maxHost)
	}
	for _, c := range p.hosts {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.*?", c) {
			return p, fault.Newf(wire.BadRequest, "the host pattern %q: letters, digits, dots, hyphens, underscores, * and ? are possible", p.hosts)
		}
	}
	if len(networks) > maxNetworks {
		return p, fault.Newf(wire.BadRequest, "%d networks: at most %d can be named", len(networks), maxNetworks)
	}
	for _, text := range networks {
		n, err := netip.ParsePrefix(strings.TrimSpace(text))
		if a, one := netip.ParseAddr(strings.TrimSpace(text)); err != nil && one == nil && a.Zone() == "" {
			n, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil || n.Addr().Is4In6() {
			return p, fault.Newf(wire.BadRequest, "the network %.60q: addresses and networks such as 10.1.0.0/16 or 2001:db8::/32 are possible", text)
		}
		p.networks = append(p.networks, n.Masked())
	}
	return p, nil
}

// texts are the networks as they are stored and shown.
func (p place) texts() []string {
	out := make([]string, len(p.networks))
	for i, n := range p.networks {
		out[i] = n.String()
	}
	return out
}

// admits is the rule; nil means yes.
func (p place) admits(host, address string) error {
	if p.hosts != "" {
		if ok, err := path.Match(p.hosts, strings.ToLower(host)); err != nil || !ok {
			// The caller is not told which: the name is his own word, and a thief of the token would say the right one next.
			return fault.Wrap(wire.EnrolHostRefused, "", fmt.Errorf("the token is for hosts like %s", p.hosts))
		}
	}
	if len(p.networks) == 0 {
		return nil
	}
	a, err := netip.ParseAddr(address)
	if err == nil {
		a = a.Unmap().WithZone("")
		for _, n := range p.networks {
			if n.Contains(a) {
				return nil
			}
		}
	}
	return fault.Newf(wire.EnrolAddressRefused, "the registration came from %s", clip(address, maxText))
}
