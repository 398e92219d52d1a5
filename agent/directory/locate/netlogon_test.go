package locate_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

// netlogon makes an answer: the header, then names as given, in wire form.
func netlogon(op byte, names ...string) []byte {
	b := append([]byte{op, 0, 0, 0, 0xfd, 0xf3, 0, 0}, make([]byte, 16)...)
	for _, n := range names {
		if raw, ok := strings.CutPrefix(n, "raw:"); ok {
			bytes, _ := hex.DecodeString(raw)
			b = append(b, bytes...)
			continue
		}
		for label := range strings.SplitSeq(n, ".") {
			if label != "" {
				b = append(append(b, byte(len(label))), label...)
			}
		}
		b = append(b, 0)
	}
	return append(b, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
}

func good() []byte {
	// The domain is a pointer to the forest's name, the client's site one to the server's.
	return netlogon(23, "corp.example", "raw:c018", "DC1.corp.example", "CORP", "DC1", "", "Berlin", "raw:c046")
}

func TestParseNetlogon(t *testing.T) {
	a, err := locate.ParseNetlogon(good())
	if want := (locate.Answer{Domain: "corp.example", Host: "dc1.corp.example", ServerSite: "Berlin", ClientSite: "Berlin"}); err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = locate.ParseNetlogon(netlogon(25, "f.example", "c.example", "dc.c.example", "C", "DC", "", "Rome", ""))
	if err != nil || a.ClientSite != "" || a.ServerSite != "Rome" {
		t.Errorf("no site for this address: %+v, %v", a, err)
	}
	a, err = locate.ParseNetlogon(netlogon(23, "f.example", "c.example", "dc.c.example", "C", "DC", "", "a.b", "raw:036120620000"))
	if err != nil || a.ClientSite != "" || a.ServerSite != "" {
		t.Errorf("sites that are none: %+v, %v", a, err)
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "a header": good()[:24], "another kind": netlogon(19, "a", "b"), "cut off": good()[:40],
		"a pointer to itself": netlogon(23, "raw:c018"), "a pointer ahead": netlogon(23, "raw:c0ff"), "half a pointer": append(netlogon(23)[:24], 0xc0),
		"a kind of label that does not exist": netlogon(23, "raw:8001"), "too large": append(good(), make([]byte, 5000)...),
		"a name without an end": netlogon(23, "raw:"+strings.Repeat("013f", 200)),
	} {
		if a, err := locate.ParseNetlogon(b); err == nil {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

// FuzzNetlogon feeds what a server that is not proven yet may answer.
func FuzzNetlogon(f *testing.F) {
	f.Add(good())
	f.Add(netlogon(23, "raw:c018"))
	f.Add(netlogon(25, "a.b", "a", "b", "c", "d", "", "", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := locate.ParseNetlogon(b)
		if err != nil {
			return
		}
		for _, site := range []string{a.ServerSite, a.ClientSite} {
			if site != "" && (locate.Query{Domain: "corp.example", Site: site}).Check() != nil {
				t.Fatalf("site %q", site)
			}
		}
		if len(a.Domain) > 253 || len(a.Host) > 253 {
			t.Fatalf("%+v", a)
		}
	})
}
