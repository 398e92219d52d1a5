package evaluation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// The containers below the domain.
const (
	peopleUnit = "OU=People"
	groupsUnit = "OU=Groups"
)

// directory holds the entries and the ways to find them.
type directory struct {
	baseDN, baseKey string
	suffix          string // the domain's DNS name
	netBIOS         string
	host            string
	shownGUID       string // of the domain, in the root DSE
	shownSID        string
	policy          policy
	started         time.Time

	mu      sync.RWMutex // guards all below; binds and searches read, Add writes
	sid     sid          // of the object made last
	usn     int64
	entries []*entry
	byKey   map[string]*entry   // by DN
	byName  map[string]*entry   // every other name that a bind may use, folded
	found   map[string][]*entry // "attribute\x00value", folded, of the attributes in indexed
}

// indexed are the attributes by which agents look for one person among many.
var indexed = [...]string{"samaccountname", "userprincipalname", "objectguid", "mail"}

func newDirectory(c Config, now time.Time) (*directory, error) {
	parts, err := parseDN(c.BaseDN)
	if err != nil || len(parts) < 2 {
		return nil, fmt.Errorf("evaluation: base DN %q: needs two components DC=… or more", c.BaseDN)
	}
	var labels []string
	for _, p := range parts {
		if fold(p.attribute) != "dc" || strings.Trim(fold(p.value), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return nil, fmt.Errorf("evaluation: base DN %q: %s=%s is not a DNS label", c.BaseDN, p.attribute, p.value)
		}
		labels = append(labels, fold(p.value))
	}
	d := &directory{
		baseDN: "DC=" + strings.Join(labels, ",DC="), suffix: strings.Join(labels, "."), netBIOS: c.NetBIOS, host: c.Host, started: now,
		policy: policy{threshold: c.LockoutThreshold, duration: c.LockoutDuration, window: c.LockoutWindow},
		byKey:  map[string]*entry{}, byName: map[string]*entry{}, found: map[string][]*entry{},
	}
	if d.netBIOS == "" {
		d.netBIOS = strings.ToUpper(labels[0][:min(len(labels[0]), 15)])
	}
	if d.host == "" {
		d.host = "dc1." + d.suffix
	}
	if d.baseKey, err = keyOf(d.baseDN); err != nil {
		return nil, err
	}
	d.sid = newSID(d.baseDN)
	d.shownGUID, d.shownSID = cmp.Or(c.DomainGUID, guidText(guid(d.baseKey, "domain"))), cmp.Or(c.DomainSID, d.sid.String())
	d.plant()
	for _, p := range c.People {
		if err := d.add(p, now); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// plant makes the domain and its containers.
func (d *directory) plant() {
	root := d.object("domain", d.baseDN, "", "Domain-DNS", "top", "domain", "domainDNS")
	root.secured = true
	first := d.suffix
	if i := strings.IndexByte(first, '.'); i > 0 {
		first = first[:i]
	}
	root.set("dc", first)
	root.set("name", first)
	root.set("objectSid", string(d.sid.bytes()))
	root.set("lockoutThreshold", strconv.Itoa(d.policy.threshold))
	root.set("lockoutDuration", strconv.FormatInt(-int64(d.policy.duration/100), 10))
	root.set("lockOutObservationWindow", strconv.FormatInt(-int64(d.policy.window/100), 10))
	d.insert(root)
	for _, unit := range []string{"Domain Controllers", "People", "Groups"} {
		e := d.object("unit "+unit, "OU="+unit+","+d.baseDN, d.baseDN, "Organizational-Unit", "top", "organizationalUnit")
		e.set("ou", unit)
		e.set("name", unit)
		d.insert(e)
	}
	users := d.object("container users", "CN=Users,"+d.baseDN, d.baseDN, "Container", "top", "container")
	users.set("cn", "Users")
	users.set("name", "Users")
	d.insert(users)
	d.sid.rid = 1103 // what a fresh domain gives to its first user
}

// object begins an entry with what every entry has. identity tells it from all others, whatever it is called later.
func (d *directory) object(identity, dn, parent, category string, classes ...string) *entry {
	d.usn++
	e := &entry{dn: dn}
	e.key, _ = keyOf(dn)
	e.parent, _ = keyOf(parent)
	e.set("objectClass", classes...)
	e.set("objectCategory", "CN="+category+",CN=Schema,CN=Configuration,"+d.baseDN)
	e.set("distinguishedName", dn)
	e.set("instanceType", "4")
	e.set("objectGUID", string(guid(d.baseKey, identity)))
	created := d.started.UTC().Format("20060102150405.0Z")
	e.set("whenCreated", created)
	e.set("whenChanged", created)
	e.set("uSNCreated", strconv.FormatInt(d.usn, 10))
	e.set("uSNChanged", strconv.FormatInt(d.usn, 10))
	e.computed("canonicalName", func() string { return d.canonical(dn) })
	return e
}

// insert makes an entry findable.
func (d *directory) insert(e *entry) {
	d.entries = append(d.entries, e)
	d.byKey[e.key] = e
	for _, name := range indexed {
		for _, v := range e.values(name) {
			k := name + "\x00" + v
			if name != "objectguid" {
				k = name + "\x00" + fold(v)
			}
			d.found[k] = append(d.found[k], e)
		}
	}
}

// Errors of add.
var (
	errPerson = errors.New("evaluation: person cannot be created")
	errExists = errors.New("evaluation: name is taken")
)

// add creates a person, and their groups when absent; d.mu must be held for writing, or d not be shared yet.
func (d *directory) add(p people.Person, now time.Time) error {
	if p.SAM == "" || len([]rune(p.SAM)) > 20 || !p.Possible() || p.Password.Len() == 0 || p.In(people.Locked) && d.policy.threshold == 0 {
		return fmt.Errorf("%w: %q in states %q", errPerson, p.SAM, p.States())
	}
	p.Groups = slices.Clone(p.Groups)
	p.Password = p.Password.Clone()
	dn := "CN=" + escapeValue(p.CN()) + "," + peopleUnit + "," + d.baseDN
	e := d.object("person "+fold(p.SAM), dn, peopleUnit+","+d.baseDN, "Person", "top", "person", "organizationalPerson", "user")
	e.secured = true
	a := &account{person: p, created: now}
	e.account = a
	id := d.sid
	names := []string{p.SAM + "@" + d.suffix, p.SAM + "@" + d.netBIOS, d.netBIOS + `\` + p.SAM, id.String(), "<SID=" + id.String() + ">",
		"<GUID=" + guidText([]byte(e.values("objectguid")[0])) + ">", d.canonical(dn)}
	if p.UPN != "" && fold(p.UPN) != fold(names[0]) {
		names = append(names, p.UPN)
	}
	if d.byKey[e.key] != nil || len(d.found["samaccountname\x00"+fold(p.SAM)]) > 0 {
		return fmt.Errorf("%w: %s", errExists, p.SAM)
	}
	for _, n := range names {
		if d.byName[fold(n)] != nil {
			return fmt.Errorf("%w: %s", errExists, n)
		}
	}
	d.describe(e, a, id)
	for _, n := range names {
		d.byName[fold(n)] = e
	}
	d.sid.rid++
	if p.In(people.Locked) {
		a.tally = tally{wrong: d.policy.threshold, lastWrong: now, locked: now}
	}
	d.insert(e)
	for _, g := range p.Groups {
		d.join(e, g, groupsUnit+","+d.baseDN)
	}
	if p.In(people.Restricted) {
		d.join(e, "Protected Users", "CN=Users,"+d.baseDN)
	}
	return nil
}

// describe gives a person's entry its attributes.
func (d *directory) describe(e *entry, a *account, id sid) {
	p := a.person
	e.set("cn", p.CN())
	e.set("name", p.CN())
	e.set("sAMAccountName", p.SAM)
	e.set("sAMAccountType", "805306368") // a normal user
	e.setText("userPrincipalName", p.UPN)
	e.setText("displayName", p.DisplayName)
	e.setText("givenName", p.GivenName)
	e.setText("sn", p.Surname)
	e.setText("mail", p.Mail)
	e.set("objectSid", string(id.bytes()))
	e.set("primaryGroupID", "513") // Domain Users
	e.set("codePage", "0")
	e.set("countryCode", "0")
	e.set("userAccountControl", a.control())
	e.set("pwdLastSet", a.passwordSet())
	e.set("accountExpires", a.expires())
	e.set("lastLogoff", "0")
	if a.person.In(people.LogonHours) {
		e.set("logonHours", string(make([]byte, 21)))
	}
	if a.person.In(people.Workstation) {
		e.set("userWorkstations", "NOSUCHHOST")
	}
	e.live("badPwdCount", func() string { return strconv.Itoa(a.read().wrong) })
	e.live("badPasswordTime", func() string { return filetime(a.read().lastWrong) })
	e.live("lockoutTime", func() string { return filetime(a.read().locked) })
	e.live("lastLogon", func() string { return filetime(a.read().lastRight) })
	e.live("lastLogonTimestamp", func() string { return filetime(a.read().lastRight) })
	e.live("logonCount", func() string { return strconv.Itoa(a.read().logons) })
	e.computed("msDS-User-Account-Control-Computed", func() string { return a.computed(d.policy, time.Now()) })
}

// join makes a person a direct member of a group, which is made when absent.
func (d *directory) join(e *entry, name, container string) {
	dn := "CN=" + escapeValue(name) + "," + container
	k, _ := keyOf(dn)
	group := d.byKey[k]
	if group == nil {
		group = d.object("group "+fold(name), dn, container, "Group", "top", "group")
		group.secured = true
		id := d.sid
		d.sid.rid++
		group.set("cn", name)
		group.set("name", name)
		group.set("sAMAccountName", name)
		group.set("sAMAccountType", "268435456") // a group
		group.set("groupType", "-2147483646")    // global, for security
		group.set("objectSid", string(id.bytes()))
		d.insert(group)
	}
	group.add("member", e.dn)
	e.add("memberOf", dn)
}

// canonical writes a DN as a path: "corp.example.com/People/Alice Archer".
func (d *directory) canonical(dn string) string {
	parts, err := parseDN(dn)
	if err != nil {
		return ""
	}
	path := d.suffix
	for i := len(parts) - 1; i >= 0; i-- {
		if fold(parts[i].attribute) != "dc" {
			path += "/" + strings.ReplaceAll(escapeValue(parts[i].value), "/", `\/`)
		}
	}
	return path
}

// lookup finds what a bind names. Samba ends names at a NUL and does not see spaces around them.
func (d *directory) lookup(name string) *entry {
	if i := strings.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	folded := fold(name)
	d.mu.RLock()
	e := d.byName[folded]
	d.mu.RUnlock()
	if e != nil || !strings.Contains(folded, "=") {
		return e
	}
	k, err := keyOf(name)
	if err != nil {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byKey[k]
}

// account finds a person by sAMAccountName or UPN.
func (d *directory) account(name string) *account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.found["samaccountname\x00"+fold(name)] {
		if e.account != nil {
			return e.account
		}
	}
	if e := d.byName[fold(name)]; e != nil {
		return e.account
	}
	return nil
}
