package windows

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	win "golang.org/x/sys/windows"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

var (
	advapi   = win.NewLazySystemDLL("advapi32.dll")
	logonW   = advapi.NewProc("LogonUserW")
	lsaOpen  = advapi.NewProc("LsaOpenPolicy")
	lsaQuery = advapi.NewProc("LsaQueryInformationPolicy")
	lsaFree  = advapi.NewProc("LsaFreeMemory")
	lsaClose = advapi.NewProc("LsaClose")

	netapi  = win.NewLazySystemDLL("netapi32.dll")
	getDC   = netapi.NewProc("DsGetDcNameW")
	netFree = netapi.NewProc("NetApiBufferFree")

	ntdsapi  = win.NewLazySystemDLL("ntdsapi.dll")
	dsBind   = ntdsapi.NewProc("DsBindWithSpnExW")
	dsUnbind = ntdsapi.NewProc("DsUnBindW")
	dsCrack  = ntdsapi.NewProc("DsCrackNamesW")
	dsFree   = ntdsapi.NewProc("DsFreeNameResultW")
)

const (
	logonNetwork    = 3          // LOGON32_LOGON_NETWORK: nothing is cached on this host
	providerDefault = 0          // LOGON32_PROVIDER_DEFAULT: Kerberos, else NTLM
	viewLocal       = 1          // POLICY_VIEW_LOCAL_INFORMATION
	dnsDomainInfo   = 12         // PolicyDnsDomainInformation (MS-LSAD 2.2.4.1)
	dcAnew          = 0x1        // DS_FORCE_REDISCOVERY
	dcDirectory     = 0x10       // DS_DIRECTORY_SERVICE_REQUIRED
	dcByDNS         = 0x20000    // DS_IS_DNS_NAME
	dcReturnDNS     = 0x40000000 // DS_RETURN_DNS_NAME
	bindKerberos    = 4          // NTDSAPI_BIND_FORCE_KERBEROS: the domain controller proves itself
	crackFound      = 0          // DS_NAME_NO_ERROR
	crackNoMapping  = 3          // DS_NAME_ERROR_NO_MAPPING: the account has no name of this kind
)

// DS_NAME_FORMAT (ntdsapi.h).
const (
	formatAccount = 2
	formatDisplay = 3
	formatUnique  = 6
	formatUPN     = 8
	formatSID     = 11
)

// system is this Windows.
type system struct{}

func thisHost() (host, error) {
	for _, p := range []*win.LazyProc{logonW, lsaOpen, lsaQuery, lsaFree, lsaClose, getDC, netFree} {
		if err := p.Find(); err != nil {
			return nil, err
		}
	}
	return system{}, nil
}

// dnsDomain is POLICY_DNS_DOMAIN_INFO (ntsecapi.h).
type dnsDomain struct {
	name, dns, forest win.NTUnicodeString
	guid              win.GUID
	sid               *win.SID
}

func (system) member() (Member, error) {
	var attributes win.OBJECT_ATTRIBUTES
	attributes.Length = uint32(unsafe.Sizeof(attributes))
	var policy win.Handle
	if status, _, _ := lsaOpen.Call(0, uintptr(unsafe.Pointer(&attributes)), viewLocal, uintptr(unsafe.Pointer(&policy))); uint32(status) != 0 {
		return Member{}, fmt.Errorf("this computer's domain: LsaOpenPolicy: %w", win.NTStatus(status))
	}
	defer lsaClose.Call(uintptr(policy))
	var d *dnsDomain
	if status, _, _ := lsaQuery.Call(uintptr(policy), dnsDomainInfo, uintptr(unsafe.Pointer(&d))); uint32(status) != 0 || d == nil {
		return Member{}, fmt.Errorf("this computer's domain: LsaQueryInformationPolicy: %w", win.NTStatus(status))
	}
	defer lsaFree.Call(uintptr(unsafe.Pointer(d)))
	m := Member{DNS: d.dns.String(), NetBIOS: d.name.String()}
	// A workgroup has a name, but neither of these (MS-LSAD 2.2.4.14).
	if m.DNS == "" || d.sid == nil {
		return Member{}, ErrNotMember
	}
	m.Domain = directory.Domain{NamingContext: namingContext(m.DNS), Forest: namingContext(d.forest.String()), GUID: plain(d.guid), SID: d.sid.String()}
	for _, kind := range []uint32{win.ComputerNameNetBIOS, win.ComputerNameDnsHostname, win.ComputerNameDnsFullyQualified} {
		name := make([]uint16, 256)
		n := uint32(len(name))
		if err := win.GetComputerNameEx(kind, &name[0], &n); err != nil {
			return Member{}, fmt.Errorf("this computer's names: %w", err)
		}
		m.Computer = append(m.Computer, win.UTF16ToString(name))
	}
	return m, nil
}

// plain prints a GUID as directories do: without braces, in lower case.
func plain(g win.GUID) string { return strings.ToLower(strings.Trim(g.String(), "{}")) }

// controller is DOMAIN_CONTROLLER_INFOW (dsgetdc.h).
type controller struct {
	name, address         *uint16
	kind                  uint32
	guid                  win.GUID
	domain, forest        *uint16
	flags                 uint32
	dcSite, thisHostsSite *uint16
}

func (system) locate(dns string, anew bool) (dc, guid string, err error) {
	domain, err := win.UTF16PtrFromString(dns)
	if err != nil {
		return "", "", err
	}
	flags := uintptr(dcDirectory | dcByDNS | dcReturnDNS)
	if anew {
		flags |= dcAnew
	}
	var c *controller
	if code, _, _ := getDC.Call(0, uintptr(unsafe.Pointer(domain)), 0, 0, flags, uintptr(unsafe.Pointer(&c))); uint32(code) != 0 || c == nil {
		return "", "", refusal(code)
	}
	defer netFree.Call(uintptr(unsafe.Pointer(c)))
	return strings.TrimPrefix(win.UTF16PtrToString(c.name), `\\`), plain(c.guid), nil
}

func (system) logon(who account, password []uint16) (string, error) {
	user, err := win.UTF16PtrFromString(who.user)
	if err != nil {
		return "", err
	}
	var domain *uint16 // NULL: the name is a userPrincipalName
	if who.domain != "" {
		if domain, err = win.UTF16PtrFromString(who.domain); err != nil {
			return "", err
		}
	}
	var token win.Token
	yes, _, failure := logonW.Call(uintptr(unsafe.Pointer(user)), uintptr(unsafe.Pointer(domain)), uintptr(unsafe.Pointer(&password[0])),
		logonNetwork, providerDefault, uintptr(unsafe.Pointer(&token)))
	if uint32(yes) == 0 { // a BOOL is half a register, whose other half is anything
		if number, ok := errors.AsType[syscall.Errno](failure); ok {
			return "", refusal(number)
		}
		return "", failure
	}
	defer token.Close()
	u, err := token.GetTokenUser()
	if err != nil {
		return "", nil // a yes that does not say whose it is: nobody believes it
	}
	return u.User.Sid.String(), nil
}

// nameResult is DS_NAME_RESULTW, nameItem DS_NAME_RESULT_ITEMW (ntdsapi.h).
type nameResult struct {
	count uint32
	items *nameItem
}

type nameItem struct {
	status uint32
	_      *uint16 // the domain
	name   *uint16
}

// names asks as the account that the agent runs under, which for a service is the computer's.
func (system) names(dns, sid string) (n names, err error) {
	for _, p := range []*win.LazyProc{dsBind, dsUnbind, dsCrack, dsFree} {
		if err := p.Find(); err != nil {
			return n, err
		}
	}
	domain, err := win.UTF16PtrFromString(dns)
	if err != nil {
		return n, err
	}
	offered, err := win.UTF16PtrFromString(sid)
	if err != nil {
		return n, err
	}
	var ds win.Handle
	if code, _, _ := dsBind.Call(0, uintptr(unsafe.Pointer(domain)), 0, 0, bindKerberos, uintptr(unsafe.Pointer(&ds))); uint32(code) != 0 {
		return n, fmt.Errorf("DsBind: %w", refusal(code))
	}
	defer dsUnbind.Call(uintptr(unsafe.Pointer(&ds)))
	for format, name := range map[uintptr]*string{formatUnique: &n.unique, formatUPN: &n.upn, formatAccount: &n.account, formatDisplay: &n.display} {
		if *name, err = crack(ds, format, offered); err != nil {
			return n, err
		}
	}
	return n, nil
}

func crack(ds win.Handle, format uintptr, sid *uint16) (string, error) {
	var r *nameResult
	if code, _, _ := dsCrack.Call(uintptr(ds), 0, formatSID, format, 1, uintptr(unsafe.Pointer(&sid)), uintptr(unsafe.Pointer(&r))); uint32(code) != 0 || r == nil {
		return "", fmt.Errorf("DsCrackNames: %w", refusal(code))
	}
	defer dsFree.Call(uintptr(unsafe.Pointer(r)))
	switch {
	case r.count != 1 || r.items == nil:
		return "", fmt.Errorf("DsCrackNames: %d answers to one question", r.count)
	case r.items.status == crackNoMapping:
		return "", nil
	case r.items.status != crackFound || r.items.name == nil:
		return "", fmt.Errorf("DsCrackNames: DS_NAME_ERROR %d", r.items.status)
	}
	return win.UTF16PtrToString(r.items.name), nil
}
