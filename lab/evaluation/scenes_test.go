package evaluation_test

import (
	"fmt"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// The directory of the transcript. Names in asks may hold {guid:SAM} and {sid:SAM}, which differ from one directory to the next.
const (
	baseDN    = "DC=corp,DC=example,DC=com"
	netBIOS   = "CORP"
	suffix    = "corp.example.com"
	hostName  = "dc1.corp.example.com"
	threshold = 10
)

// ask is one request. The field that is set tells its kind; an ask with none of them is a search of the root DSE.
type ask struct {
	Bind     *bindAsk   `json:"bind,omitempty"`
	SASL     string     `json:"sasl,omitempty"` // the mechanism of a SASL bind without credentials
	Search   *searchAsk `json:"search,omitempty"`
	Extended string     `json:"extended,omitempty"` // the object identifier
	Write    string     `json:"write,omitempty"`    // the DN whose description is modified
	Unlock   string     `json:"unlock,omitempty"`   // no request: an administrator unlocks this sAMAccountName
	// Critical, if set, is the object identifier of a critical control that goes with the request.
	Critical string `json:"critical,omitempty"`
}

type bindAsk struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Version  int    `json:"version,omitempty"` // 0 means 3
}

type searchAsk struct {
	Base       string   `json:"base"`
	Scope      int      `json:"scope"`
	Filter     string   `json:"filter"`
	Attributes []string `json:"attributes,omitempty"`
	TypesOnly  bool     `json:"types_only,omitempty"`
}

// scene is a sequence of asks on one connection, begun with everybody unlocked who is not locked by their state.
type scene struct {
	Name string `json:"name"`
	// Transport is "ldaps", "starttls" or "plain".
	Transport string `json:"transport"`
	Asks      []ask  `json:"asks"`
}

const (
	base = iota
	one
	sub
)

func bind(name, password string) ask { return ask{Bind: &bindAsk{Name: name, Password: password}} }

func search(dn string, scope int, filter string, attributes ...string) ask {
	return ask{Search: &searchAsk{Base: dn, Scope: scope, Filter: filter, Attributes: attributes}}
}

// dn returns the DN that both directories give a person.
func dn(p people.Person) string { return "CN=" + p.CN() + ",OU=People," + baseDN }

// transcriptPeople are all of the lab's and a few who are difficult to name.
func transcriptPeople() []people.Person {
	everybody := people.Everybody(suffix)
	odd := people.Everybody(suffix)[0]
	odd.SAM, odd.UPN, odd.DisplayName = "odd", "o'dd+one@"+suffix, `Odd, One "Quote" #1`
	odd.GivenName, odd.Surname, odd.Mail, odd.Groups = "Odd (x)", `O*ne\`, "odd@mail.example", nil
	jurgen := people.Everybody(suffix)[0]
	jurgen.SAM, jurgen.UPN, jurgen.DisplayName = "jürgen", "jürgen@"+suffix, "Jürgen Groß"
	jurgen.GivenName, jurgen.Surname, jurgen.Mail, jurgen.Groups = "Jürgen", "Groß", "", []string{"Staff"}
	bare := people.Person{SAM: "bare", UPN: "bare@other.example", Password: odd.Password.Clone(), State: people.Normal}
	return append(everybody, odd, jurgen, bare)
}

func scenes() []scene {
	everybody := people.Everybody(suffix)
	alice := everybody[0]
	right, wrong := people.RightPassword, people.WrongPassword
	var all []scene
	add := func(name, transport string, asks ...ask) {
		all = append(all, scene{Name: name, Transport: transport, Asks: asks})
	}

	for _, p := range everybody {
		var asks []ask
		for _, name := range []string{p.UPN, netBIOS + `\` + p.SAM, dn(p)} {
			asks = append(asks, bind(name, wrong), bind(name, right))
		}
		for i := range asks { // the last attempts must not lock anybody who is not locked already
			if i%2 == 1 && p.State != people.Locked {
				asks[i].Unlock = p.SAM
			}
		}
		add("state "+string(p.State)+": "+p.SAM, "ldaps", asks...)
	}

	var names []ask
	for _, name := range []string{
		"ALICE@CORP.EXAMPLE.COM", "alice@corp", "alice@CORP", `corp\ALICE`, " alice@corp.example.com", "alice@corp.example.com ",
		"alice@corp.example.com\x00", "alice@corp.example.com\x00junk", "{guid:alice}", "<GUID={guid:alice}>", "{sid:alice}", "<SID={sid:alice}>",
		"cn=ALICE archer , ou=people,dc=CORP,dc=example,dc=com", "CN=Alice\\20Archer,OU=People," + baseDN,
		"alice", "alice@other.example", "alice@mail.example", `corp.example.com\alice`, "CORP/alice", `CORP\alice@corp.example.com`,
		`other\alice`, `\alice`, "alice@", "@corp.example.com", "Alice Archer", "nobody@corp.example.com", `CORP\nobody`,
		"CN=Nobody,OU=People," + baseDN, "OU=People," + baseDN, baseDN, "CN=Staff,OU=Groups," + baseDN, "CN=broken", "CN=,", "DC=com",
		"o'dd+one@corp.example.com", `CORP\odd`, "odd@mail.example", `CN=Odd\, One \"Quote\" \#1,OU=People,` + baseDN,
		`CN=Odd\2C One \22Quote\22 \231,OU=People,` + baseDN, "jürgen@corp.example.com", "JÜRGEN@corp.example.com", `CORP\jürgen`,
		"jurgen@corp.example.com", "CN=JÜRGEN Groß,OU=People," + baseDN, "bare@other.example", "bare@corp.example.com",
		"corp.example.com/People/Alice Archer", "ﬁ\xff@corp.example.com",
	} {
		names = append(names, bind(name, right))
	}
	add("forms of a name", "ldaps", names...)

	add("anonymous and empty", "ldaps",
		bind("", ""), bind("", right), bind(alice.UPN, ""), search(dn(alice), base, "(objectClass=*)", "badPwdCount"),
		bind("nobody@corp.example.com", ""), bind(dn(alice), ""), bind("", ""),
		bind(alice.UPN, right), search(dn(alice), base, "(objectClass=*)", "cn"), bind("", ""), search(dn(alice), base, "(objectClass=*)", "cn"))
	add("an empty password counts", "ldaps",
		bind(everybody[1].UPN, right), bind(alice.UPN, ""), bind(`CORP\alice`, ""), bind(alice.UPN, "\x00"+right),
		search(dn(alice), base, "(objectClass=*)", "badPwdCount"))
	add("NUL in a password", "ldaps",
		bind(alice.UPN, right+"\x00"), bind(alice.UPN, right+"\x00junk"), bind(alice.UPN, "\x00"+right), bind(alice.UPN, "junk\x00"+right),
		bind(alice.UPN, right+"\xff"), bind(alice.UPN, " "+right), bind(alice.UPN, right+" "), bind(alice.UPN, "correct-horse-7"))
	add("versions and SASL", "ldaps",
		ask{Bind: &bindAsk{Name: alice.UPN, Password: right, Version: 2}}, ask{Bind: &bindAsk{Name: alice.UPN, Password: right, Version: 1}},
		ask{Bind: &bindAsk{Name: alice.UPN, Password: right, Version: 4}}, ask{SASL: "PLAIN"}, ask{SASL: "EXTERNAL"})
	add("a refused bind leaves the session", "ldaps",
		bind(alice.UPN, right), search(dn(alice), base, "(objectClass=*)", "cn"),
		bind(alice.UPN, wrong), search(dn(alice), base, "(objectClass=*)", "cn"))

	count := search(dn(alice), base, "(objectClass=*)", "badPwdCount", "lockoutTime")
	var locking []ask
	for range threshold + 2 {
		locking = append(locking, bind(everybody[1].UPN, right), bind(alice.UPN, wrong), bind(everybody[1].UPN, right), count)
	}
	locking = append(locking, bind(alice.UPN, right), bind(`CORP\alice`, wrong), bind(everybody[1].UPN, right), count)
	unlock := bind(alice.UPN, right)
	unlock.Unlock = alice.SAM
	locking = append(locking, unlock, count, bind(alice.UPN, wrong), bind(alice.UPN, wrong), bind(everybody[1].UPN, right), count,
		bind(alice.UPN, right), count)
	add("counting and locking", "ldaps", locking...)
	for _, p := range everybody {
		if p.State == people.Normal || p.State == people.Locked {
			continue
		}
		c := search(dn(p), base, "(objectClass=*)", "badPwdCount")
		add("counting of state "+string(p.State), "ldaps", bind(alice.UPN, right), c, bind(p.UPN, wrong), bind(alice.UPN, right), c,
			bind(p.UPN, right), bind(alice.UPN, right), c, bind(p.UPN, wrong), bind(alice.UPN, right), c)
	}

	add("plain LDAP", "plain",
		bind(alice.UPN, right), bind(alice.UPN, wrong), bind("", ""), search("", base, "(objectClass=*)", "defaultNamingContext"),
		search(baseDN, base, "(objectClass=*)", "cn"), ask{Extended: "1.3.6.1.4.1.1466.20036"})
	add("StartTLS", "starttls",
		bind(alice.UPN, right), bind(alice.UPN, wrong), search(dn(alice), base, "(objectClass=*)", "cn"), ask{Extended: startTLSOID},
		search(baseDN, sub, "(sAMAccountName=alice)", "cn"), search(baseDN, one, "(sAMAccountName=alice)", "cn"))
	add("StartTLS on LDAPS", "ldaps", ask{Extended: startTLSOID}, bind(alice.UPN, right))

	add("root DSE", "ldaps",
		search("", base, "(objectClass=*)", "defaultNamingContext", "rootDomainNamingContext", "dnsHostName", "ldapServiceName",
			"domainControllerFunctionality", "domainFunctionality", "forestFunctionality", "supportedLDAPVersion", "isSynchronized",
			"isGlobalCatalogReady", "serverName", "configurationNamingContext", "schemaNamingContext"),
		search("", base, "(objectClass=*)", "NOSUCHATTRIBUTE", "DNSHOSTNAME"),
		search("", base, "(objectClass=user)", "dnsHostName"), search("", base, "(dnsHostName=*)", "dnsHostName"))

	add("not bound", "ldaps", search(baseDN, base, "(objectClass=*)", "cn"), search(baseDN, sub, "(sAMAccountName=alice)", "cn"),
		ask{Write: dn(alice)}, search("", sub, "(sAMAccountName=alice)", "cn"), search("DC=elsewhere", base, "(objectClass=*)", "cn"))

	asAlice := func(name string, asks ...ask) { add(name, "ldaps", append([]ask{bind(alice.UPN, right)}, asks...)...) }
	agent := []string{"objectGUID", "userPrincipalName", "displayName", "givenName", "sn", "mail", "memberOf", "sAMAccountName"}
	asAlice("what an agent asks",
		search(baseDN, sub, "(userPrincipalName=alice@corp.example.com)", agent...),
		search(baseDN, sub, "(sAMAccountName=alice)", agent...), search(dn(alice), base, "(objectClass=*)", agent...),
		search(baseDN, sub, "(&(objectCategory=person)(objectClass=user)(sAMAccountName=alice))", agent...),
		search("<GUID={guid:alice}>", base, "(objectClass=*)", agent...), search("<SID={sid:alice}>", base, "(objectClass=*)", "cn"),
		search(baseDN, sub, "(objectGUID={octets:alice})", "cn"))
	var filters []ask
	for _, f := range []string{
		"(sAMAccountName=ALICE)", "(samaccountname=alice)", "(sAMAccountName=nobody)", "(mail=alice@corp.example.com)", "(mail=*)",
		"(!(mail=*))", "(&(givenName=Alice)(sn=Archer))", "(|(sAMAccountName=alice)(sAMAccountName=bob))", "(&(sn=A*)(!(sAMAccountName=alice)))",
		"(displayName=Ali*)", "(displayName=*archer)", "(displayName=*c*A*c*)", "(displayName=A*A*r)", "(displayName=*)", "(sn=Ar*er)",
		"(displayName=Alice Archer)", "(displayName=  alice   archer )", `(givenName=Odd \28x\29)`, `(sn=O\2ane\5c)`, "(userAccountControl=514)",
		"(userAccountControl:1.2.840.113556.1.4.803:=2)", "(userAccountControl:1.2.840.113556.1.4.804:=3)", "(userAccountControl>=513)",
		"(userAccountControl<=511)", "(nosuchattribute=1)", "(!(nosuchattribute=1))", "(|(nosuchattribute=1)(sAMAccountName=alice))",
		"(memberOf=CN=Engineering,OU=Groups,DC=corp,DC=example,DC=com)", "(memberOf=cn=engineering, ou=groups,dc=corp,dc=example,dc=com)",
		"(memberOf=CN=Eng*)", "(distinguishedName=CN=Alice Archer,OU=People,DC=corp,DC=example,DC=com)", "(objectCategory=person)",
		"(objectClass=organizationalPerson)", "(&)", "(|)", "(sn=)", "(displayName=jürgen groß)", "(displayName=JÜRGEN*)", "(displayName=jurgen*)",
		"(sAMAccountName~=alice)", "(cn:caseExactMatch:=Alice Archer)", "(userPrincipalName=*@other.example)", "(objectGUID=*)", "(name=Alice Archer)",
		"(description=*)", "(pwdLastSet=0)", "(lockoutTime>=1)", "(badPwdCount=0)", "(accountExpires=9223372036854775807)",
		"(unicodePwd=*)", "(dn=*)",
	} {
		filters = append(filters, search("OU=People,"+baseDN, one, f, "sAMAccountName"))
	}
	asAlice("filters", filters...)
	asAlice("scopes and bases",
		search("OU=People,"+baseDN, base, "(objectClass=*)", "ou", "objectClass", "name"),
		search("OU=People,"+baseDN, base, "(sAMAccountName=alice)", "cn"),
		search("OU=People,"+baseDN, sub, "(sAMAccountName=alice)", "cn"), search("ou=people , dc=corp,dc=example,dc=com", sub, "(sAMAccountName=alice)", "cn"),
		search(baseDN, one, "(objectClass=organizationalUnit)", "ou"), search(baseDN, base, "(objectClass=*)", "objectClass", "dc", "name"),
		search("OU=Groups,"+baseDN, one, "(objectClass=group)", "cn", "member", "objectClass", "sAMAccountName"),
		search("OU=Nowhere,"+baseDN, base, "(objectClass=*)", "cn"), search("CN=x,OU=Nowhere,OU=People,"+baseDN, sub, "(objectClass=*)", "cn"),
		search("DC=elsewhere,DC=test", sub, "(objectClass=*)", "cn"), search("nonsense", base, "(objectClass=*)", "cn"),
		search("CN=x,,"+baseDN, base, "(objectClass=*)", "cn"), search("", one, "(objectClass=*)", "cn"), search("", sub, "(sAMAccountName=alice)", "cn"),
		search(dn(alice), 3, "(objectClass=*)", "cn"), search(baseDN, 7, "(objectClass=*)", "cn"),
		search("<GUID=00000000-0000-0000-0000-000000000001>", base, "(objectClass=*)", "cn"), search("<GUID=nonsense>", base, "(objectClass=*)", "cn"))
	types := search(dn(alice), base, "(objectClass=*)", "cn", "mail")
	types.Search.TypesOnly = true
	asAlice("attributes",
		search(dn(alice), base, "(objectClass=*)"), search(dn(alice), base, "(objectClass=*)", "*"), search(dn(alice), base, "(objectClass=*)", "1.1"),
		search(dn(alice), base, "(objectClass=*)", "*", "primaryGroupToken", "canonicalName"), search(dn(alice), base, "(objectClass=*)", "+"),
		search(dn(alice), base, "(objectClass=*)", "CN", "nosuchattribute", "MAIL"), search(dn(alice), base, "(objectClass=*)", "cn", "cn"),
		search(dn(alice), base, "(objectClass=*)", "unicodePwd", "userPassword", "dBCSPwd", "ntPwdHistory"), types,
		search(dn(alice), base, "(objectClass=*)", "msDS-User-Account-Control-Computed"),
		search("CN=Liam Locke,OU=People,"+baseDN, base, "(objectClass=*)", "msDS-User-Account-Control-Computed"),
		search("CN=Erin Eastwood,OU=People,"+baseDN, base, "(objectClass=*)", "msDS-User-Account-Control-Computed", "pwdLastSet"),
		search("CN=Rita Rowe,OU=People,"+baseDN, base, "(objectClass=*)", "msDS-User-Account-Control-Computed", "memberOf"),
		search("CN=Axel Ashe,OU=People,"+baseDN, base, "(objectClass=*)", "accountExpires", "msDS-User-Account-Control-Computed"),
		search("CN=Nora Night,OU=People,"+baseDN, base, "(objectClass=*)", "logonHours"),
		search("CN=Walt Webb,OU=People,"+baseDN, base, "(objectClass=*)", "userWorkstations"),
		search("OU=People,"+baseDN, one, "(sAMAccountName=odd)", "cn", "givenName", "sn", "name", "canonicalName", "distinguishedName"),
		search("CN=Liam Locke,OU=People,"+baseDN, base, "(objectClass=*)", "badPwdCount", "userAccountControl"),
		search("CN=Mona Müller,OU=People,"+baseDN, base, "(objectClass=*)", "pwdLastSet", "cn", "sn"),
		search("CN=Dora Dale,OU=People,"+baseDN, base, "(objectClass=*)", "userAccountControl", "memberOf"),
		search("CN=Staff,OU=Groups,"+baseDN, base, "(objectClass=*)", "member", "cn", "groupType", "sAMAccountName"),
		search(baseDN, base, "(objectClass=*)", "lockoutThreshold", "lockoutDuration", "lockOutObservationWindow", "objectClass"))
	critical := search(dn(alice), base, "(objectClass=*)", "cn")
	critical.Critical = "1.2.3.4.5"
	criticalBind := bind(alice.UPN, right)
	criticalBind.Critical = "1.2.3.4.5"
	asAlice("what is not served", critical, criticalBind, ask{Extended: "1.2.3.4.5"}, ask{Extended: "1.3.6.1.4.1.4203.1.11.1"})

	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.Name] {
			panic(fmt.Sprintf("two scenes are named %q", s.Name))
		}
		seen[s.Name] = true
	}
	return all
}
