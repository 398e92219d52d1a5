package kerberos

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jcmturner/gokrb5/v8/pac"
)

// upnDNSInfo is the number of UPN_DNS_INFO among a PAC's buffers (MS-PAC 2.4).
const upnDNSInfo = 12

// upnOf returns the userPrincipalName in a PAC whose signature was found right; "" if it has none. The library reads that buffer too, but makes
// one replacement character of each half of every character beyond the basic plane, so that different names become one.
func upnOf(p pac.PACType) string {
	for _, b := range p.Buffers {
		if b.ULType != upnDNSInfo {
			continue
		}
		size := uint64(len(p.Data))
		if b.Offset > size || uint64(b.CBBufferSize) > size-b.Offset {
			return ""
		}
		return parseUPN(p.Data[b.Offset : b.Offset+uint64(b.CBBufferSize)])
	}
	return ""
}

// parseUPN reads the name in UPN_DNS_INFO (MS-PAC 2.10): its length and its place, in bytes, and there UTF-16, little endian. What is not text is no
// name, "".
func parseUPN(b []byte) string {
	const header = 12
	if len(b) < header {
		return ""
	}
	length, at := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	if length%2 != 0 || length > 2*maxUPN || at < header || at+length > len(b) {
		return ""
	}
	units := make([]uint16, length/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[at+2*i:])
	}
	name := utf16.Decode(units)
	for _, c := range name {
		if c == 0 || c == utf8.RuneError { // half of a character, or one that stands for what could not be read
			return ""
		}
	}
	return string(name)
}
