package locate

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Answer is what of a domain controller's answer to an LDAP ping is of use here.
type Answer struct {
	// Domain and Host are DNS names, of the domain and of the domain controller.
	Domain, Host string
	// ServerSite is the site of the domain controller, ClientSite that of whoever asked, by its address; ClientSite is empty
	// where no subnet of the directory covers the address.
	ServerSite, ClientSite string
}

// Netlogon's numbers (MS-ADTS 6.3.1.3, 6.3.1.9).
const (
	logonSAMResponseEx         = 23
	logonSAMUserUnknownEx      = 25
	netlogonHeader             = 2 + 2 + 4 + 16 // opcode, nothing, flags, the domain's GUID
	maxNetlogon                = 4096
	maxPointers                = 16
	compressed            byte = 0xC0
)

var errNetlogon = errors.New("not an answer to an LDAP ping")

// Filter asks for an LDAP ping's answer in the newest form without an address (MS-ADTS 6.3.3.2; NETLOGON_NT_VERSION_5 and _5EX, as
// little-endian bytes). The attribute is "netlogon", the base the root entry.
func Filter(domain string) string { return "(&(DnsDomain=" + domain + `)(NtVer=\06\00\00\00))` }

// ParseNetlogon reads NETLOGON_SAM_LOGON_RESPONSE_EX (MS-ADTS 6.3.1.9). Names that could not be names of hosts are left empty.
func ParseNetlogon(b []byte) (Answer, error) {
	if len(b) < netlogonHeader || len(b) > maxNetlogon {
		return Answer{}, errNetlogon
	}
	if op := binary.LittleEndian.Uint16(b); op != logonSAMResponseEx && op != logonSAMUserUnknownEx {
		return Answer{}, errNetlogon
	}
	// Forest, domain, host, NetBIOS names of domain and host, user, server's site, client's site.
	var names [8]string
	at := netlogonHeader
	for i := range names {
		var ok bool
		if names[i], at, ok = name(b, at); !ok {
			return Answer{}, errNetlogon
		}
		if !isHost(names[i]) {
			names[i] = ""
		}
	}
	a := Answer{Domain: strings.ToLower(names[1]), Host: strings.ToLower(names[2]), ServerSite: names[6], ClientSite: names[7]}
	for _, site := range []*string{&a.ServerSite, &a.ClientSite} {
		if strings.Contains(*site, ".") {
			*site = ""
		}
	}
	return a, nil
}

// name reads a name in the form of RFC 1035 §4.1.4 (MS-ADTS 6.3.7) and returns where the next one begins. Pointers lead backwards only.
func name(b []byte, at int) (text string, next int, ok bool) {
	var labels []string
	size, limit := 0, len(b)
	for pointers := 0; at < limit; {
		n := int(b[at])
		switch {
		case n == 0:
			if next == 0 {
				next = at + 1
			}
			return strings.Join(labels, "."), next, true
		case b[at]&compressed == compressed:
			if at+1 >= len(b) {
				return "", 0, false
			}
			to := int(b[at]&^compressed)<<8 | int(b[at+1])
			if next == 0 {
				next = at + 2
			}
			if pointers++; pointers > maxPointers || to >= at {
				return "", 0, false
			}
			at = to
		case b[at]&compressed != 0 || at+1+n > len(b):
			return "", 0, false
		default:
			if size += n + 1; size > maxName+1 {
				return "", 0, false
			}
			labels = append(labels, string(b[at+1:at+1+n]))
			at += 1 + n
		}
	}
	return "", 0, false
}
