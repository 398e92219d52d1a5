package web

import "net/netip"

// Network is who an address stands for: an IPv4 address for itself, an IPv6 address for its /64, since one host has all of it. The zero prefix stands
// for what is no address.
func Network(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // never fails for these lengths
	return p
}
