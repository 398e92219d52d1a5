package password

import "net/netip"

// network is who an address stands for: an IPv4 address for itself, an IPv6 address for all with the same prefix of that many
// bits. It is "" for what is no address.
func network(address string, bits6 int) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = bits6
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
