package ldap

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestSplitName(t *testing.T) {
	for in, want := range map[string]typedName{
		"sam@corp.example":    {upn: "sam@corp.example", account: "sam", domain: "corp.example"},
		" sam@corp.example ":  {upn: "sam@corp.example", account: "sam", domain: "corp.example"},
		"\u00a0sam@corp\t":    {upn: "\u00a0sam@corp\t", account: "\u00a0sam", domain: "corp\t"}, // blanks that belong to the name
		"a@b@c":               {upn: "a@b@c", account: "a@b", domain: "c"},
		`CORP\sam`:            {account: "sam", domain: "CORP"},
		`CORP\sam@x`:          {account: "sam@x", domain: "CORP"},
		"sam":                 {},
		"@corp":               {},
		"sam@":                {},
		"CN=Sam,DC=corp":      {},
		"S-1-5-21-1-2-3-1104": {},
		"":                    {},
	} {
		if got := splitName(in); got != want {
			t.Errorf("splitName(%q) = %+v", in, got)
		}
	}
}

func TestDNSName(t *testing.T) {
	for in, want := range map[string]string{
		"DC=corp,DC=example,DC=com": "corp.example.com",
		"dc=corp":                   "corp",
		"OU=x,DC=corp":              "",
		"DC=a+DC=b":                 "",
		"":                          "",
		"nonsense":                  "",
	} {
		if got := dnsName(in); got != want {
			t.Errorf("dnsName(%q) = %q", in, got)
		}
	}
}

func TestGUID(t *testing.T) {
	b := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	if got, err := guid(b); err != nil || got != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:15], append(slices.Clone(b), 0), make([]byte, 16)} {
		if got, err := guid(bad); err == nil {
			t.Errorf("guid(%x) = %q", bad, got)
		}
	}
}

func TestGroupNames(t *testing.T) {
	got := groupNames([]string{
		"CN=Sales,OU=Groups,DC=corp,DC=example",
		`CN=Smith\, and sons,DC=corp`,
		`cn=Caf\C3\A9,DC=corp`,
		`CN=#0403466F6F,DC=corp`,
		"OU=Not a group,DC=corp",
		"CN=a+OU=b,DC=corp",
		"CN=,DC=corp",
		"not a name",
		"",
		"CN=" + strings.Repeat("x", maxDN) + ",DC=corp",
	})
	if want := []string{"Café", "Foo", "Sales", "Smith, and sons"}; !cmp.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	var many, long []string
	for i := range maxGroups + 10 {
		many = append(many, fmt.Sprintf("CN=g%d,DC=corp", i))
		long = append(long, fmt.Sprintf("CN=%d%s,DC=corp", i, strings.Repeat("y", 200)))
	}
	if n := len(groupNames(many)); n != maxGroups {
		t.Errorf("%d of many groups", n)
	}
	if size := len(strings.Join(groupNames(long), "")); size > maxGroupBytes {
		t.Errorf("long group names have %d bytes", size)
	}

	// Names up to the limits are told: of one, and of all together, each of them being quoted and followed by a comma in JSON.
	if names := groupNames([]string{"CN=a," + strings.Repeat("x", maxDN-len("CN=a,")-len("=x")) + "=x"}); !cmp.Equal(names, []string{"a"}) {
		t.Errorf("a DN as long as may be: %q", names)
	}
	full := slices.Repeat([]string{"CN=" + strings.Repeat("y", 61) + ",DC=corp"}, maxGroupBytes/64+1)
	if n := len(groupNames(full)); n != maxGroupBytes/64 {
		t.Errorf("%d groups of 64 bytes each", n)
	}

	// The largest attributes there can be fit into an answer.
	for i := range long {
		long[i] = "CN=" + strings.Repeat("<", 64) + fmt.Sprint(i) + ",DC=corp"
	}
	worst := strings.Repeat("<", maxText)
	text, err := json.Marshal(wire.Answer{Verdict: &wire.Verdict{Reason: wire.Accepted, Attributes: &wire.Attributes{Anchor: worst[:36], UPN: worst,
		DisplayName: worst, GivenName: worst, FamilyName: worst, Email: worst, Groups: groupNames(long)}}})
	if err != nil || len(text) > envelope.MaxAnswer-1024 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

func FuzzGroupNames(f *testing.F) {
	f.Add("CN=Sales,OU=Groups,DC=corp,DC=example")
	f.Add(`CN=Smith\, and sons,DC=corp`)
	f.Add(`CN=\C3,DC=x`)
	f.Add("CN=#04,DC=x")
	f.Fuzz(func(t *testing.T, dn string) {
		for _, name := range groupNames([]string{dn}) {
			if name == "" || !utf8.ValidString(name) {
				t.Fatalf("%q", name)
			}
		}
		dnsName(dn)
		splitName(dn)
	})
}

func entry(values map[string][]string) *goldap.Entry {
	return goldap.NewEntry("CN=x,DC=corp,DC=example", values)
}

func TestFromEntry(t *testing.T) {
	id := string([]byte{1, 0, 0, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11})
	full := map[string][]string{"objectGUID": {id}, "userPrincipalName": {"sam@corp.example"}, "sAMAccountName": {"sam"},
		"displayName": {"Sam Smith"}, "givenName": {"Sam"}, "sn": {"Smith"}, "mail": {"sam@mail.example"}, "memberOf": {"CN=Sales,DC=corp"}}
	got, err := fromEntry(entry(full), "DC=corp,DC=example")
	want := &wire.Attributes{Anchor: "00000001-0002-0003-0405-060708090a0b", UPN: "sam@corp.example", DisplayName: "Sam Smith",
		GivenName: "Sam", FamilyName: "Smith", Email: "sam@mail.example", Groups: []string{"Sales"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}

	got, err = fromEntry(entry(map[string][]string{"objectGUID": {id}, "sAMAccountName": {"sam"}, "memberOf;range=0-1499": {"CN=A,DC=x"},
		"displayName": {strings.Repeat("ü", 2000) + "\xff"}}), "DC=corp,DC=example")
	if err != nil {
		t.Fatal(err)
	}
	if got.UPN != "sam@corp.example" || len(got.Groups) != 1 || len(got.DisplayName) > maxText || !utf8.ValidString(got.DisplayName) {
		t.Errorf("%+v", got)
	}

	longest := strings.Repeat("x", maxText)
	got, err = fromEntry(entry(map[string][]string{"objectGUID": {id}, "userPrincipalName": {longest}, "displayName": {longest}, "sn": {longest + "x"}}), "DC=corp")
	if err != nil || got.UPN != longest || got.DisplayName != longest || got.FamilyName != longest {
		t.Errorf("texts as long as may be: %v", err)
	}

	for name, change := range map[string]map[string][]string{
		"no anchor":   {"objectGUID": nil},
		"short":       {"objectGUID": {"x"}},
		"long UPN":    {"userPrincipalName": {strings.Repeat("x", maxText+1)}},
		"invalid UPN": {"userPrincipalName": {"\xff"}},
	} {
		values := map[string][]string{"objectGUID": {id}, "userPrincipalName": {"sam@corp.example"}}
		for k, v := range change {
			values[k] = v
		}
		if got, err := fromEntry(entry(values), "DC=corp"); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
