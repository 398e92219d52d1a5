package ldap

import (
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

func TestSplitExtended(t *testing.T) {
	const guid, sid = "11f3650c-e625-4bce-b544-d4d5d1c3d11a", "S-1-5-21-2079283981-299419374-711697537"
	for text, want := range map[string][3]string{
		"DC=corp,DC=example": {"DC=corp,DC=example", "", ""},
		"<GUID=" + guid + ">;<SID=" + sid + ">;DC=corp,DC=example": {"DC=corp,DC=example", guid, sid},
		"<guid=" + strings.ToUpper(guid) + ">;DC=corp":             {"DC=corp", guid, ""},
		"<WKGUID=x>;DC=corp":                 {"DC=corp", "", ""},
		"<WKGUID=x":                          {"<WKGUID=x", "", ""},
		"<WKGUID>;DC=corp":                   {"<WKGUID>;DC=corp", "", ""},
		"DC=" + strings.Repeat("a", maxDN-3): {"DC=" + strings.Repeat("a", maxDN-3), "", ""},
		"":                                   {"", "", ""},
		// In hexadecimal, cut, or something else: a plain name that is no domain's.
		"<GUID=0c65f31125e6ce4bb544d4d5d1c3d11a>;DC=corp":  {"<GUID=0c65f31125e6ce4bb544d4d5d1c3d11a>;DC=corp", "", ""},
		"<GUID=" + guid + ">":                              {"<GUID=" + guid + ">", "", ""},
		"<SID=S-1-5-x>;DC=corp":                            {"<SID=S-1-5-x>;DC=corp", "", ""},
		"<GUID=00000000-0000-0000-0000-000000000000>;DC=c": {"<GUID=00000000-0000-0000-0000-000000000000>;DC=c", "", ""},
		"<SID=" + strings.Repeat("S-1-", 60) + ">;DC=corp": {"<SID=" + strings.Repeat("S-1-", 60) + ">;DC=corp", "", ""},
		"DC=" + strings.Repeat("a", maxDN) + ",DC=toolong": {"", "", ""},
	} {
		if dn, g, s := splitExtended(text); [3]string{dn, g, s} != want {
			t.Errorf("%.60q: %q %q %q", text, dn, g, s)
		}
	}
}

func TestIsSID(t *testing.T) {
	long := "S-1-" + strings.Repeat("999999999999-", 13) + "12345678901" // 184 characters
	for s, want := range map[string]bool{
		"S-1-5-21-2079283981-299419374-711697537": true, "S-1-281474976710655": true, long: true,
		"": false, "S-1-": false, "S-1-5-": false, "S-1--5": false, "1-5-21": false, "S-1-5-2x": false, "S-1-2814749767106550": false, long + "2": false,
	} {
		if isSID(s) != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
}

func FuzzSplitExtended(f *testing.F) {
	f.Add("<GUID=11f3650c-e625-4bce-b544-d4d5d1c3d11a>;<SID=S-1-5-21-1-2-3>;DC=corp,DC=example")
	f.Add("<GUID=>;<SID=>;<")
	f.Fuzz(func(t *testing.T, text string) {
		dn, guid, sid := splitExtended(text)
		if len(dn) > len(text) || !strings.HasSuffix(text, dn) {
			t.Errorf("%q is no part of %q", dn, text)
		}
		if guid != "" && (len(guid) != 36 || !strings.Contains(strings.ToLower(text), guid)) || sid != "" && !(isSID(sid) && strings.Contains(text, sid)) {
			t.Errorf("%q has no GUID %q or SID %q", text, guid, sid)
		}
		if (guid != "" || sid != "") && dn == text {
			t.Errorf("%q was taken apart and left whole", text)
		}
	})
}

func TestExpectation(t *testing.T) {
	corp := directory.Domain{NamingContext: "DC=corp", GUID: "11f3650c-e625-4bce-b544-d4d5d1c3d11a", SID: "S-1-5-21-1-2-3"}
	again := corp
	again.GUID = "22f3650c-e625-4bce-b544-d4d5d1c3d11a"
	e := &expectation{}
	if err := e.admit(directory.Domain{}); err != nil || e.known {
		t.Errorf("a server that tells nothing decides something: %v", err)
	}
	if err := e.admit(corp); err != nil {
		t.Error(err)
	}
	if err := e.admit(corp); err != nil {
		t.Error(err)
	}
	if err := e.admit(again); err == nil || remedy(err) == "" {
		t.Errorf("a domain of the same name: %v, %q", err, remedy(err))
	}
}
