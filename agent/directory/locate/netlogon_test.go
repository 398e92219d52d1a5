package locate_test

import (
	"encoding/hex"
	"fmt"
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

// eight is an answer with a name as that of the domain.
func eight(domain string) []byte {
	return netlogon(23, "", domain, "", "", "", "", "", "")
}

// chain is an answer of which one name goes through as many pointers as told: all but the last lie inside of a label.
func chain(pointers int) []byte {
	label := ""
	for to, at := 24, 28; len(label) < 4*(pointers-1); to, at = at, at+2 {
		label += fmt.Sprintf("c0%02x", to)
	}
	return netlogon(23, "a", fmt.Sprintf("raw:%02x%s00", len(label)/2, label), fmt.Sprintf("raw:c0%02x", 28+len(label)/2-2), "", "", "", "", "")
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
	// A name that ends in a pointer, and one that is a pointer to it: the next name stands behind the first pointer.
	a, err = locate.ParseNetlogon(netlogon(23, "corp.example", "raw:c018", "raw:03444331c018", "raw:c028", "DC1", "", "Berlin", "Rome"))
	if want := (locate.Answer{Domain: "corp.example", Host: "dc1.corp.example", ServerSite: "Berlin", ClientSite: "Rome"}); err != nil || a != want {
		t.Errorf("a pointer to a pointer: %+v, %v", a, err)
	}
	if _, err = locate.ParseNetlogon(chain(16)); err != nil {
		t.Errorf("16 pointers: %v", err)
	}
	if _, err = locate.ParseNetlogon(append(good(), make([]byte, 4096-len(good()))...)); err != nil {
		t.Errorf("an answer as large as may be: %v", err)
	}
	longest := strings.Repeat("a.", 126) + "b"
	if a, err = locate.ParseNetlogon(eight(longest)); err != nil || a.Domain != longest {
		t.Errorf("a name as long as may be: %+v, %v", a, err)
	}
	whole := good()
	for n := range len(whole) - 8 {
		if a, err := locate.ParseNetlogon(whole[:n:n]); err == nil {
			t.Errorf("cut off after %d bytes: %+v", n, a)
		}
	}
	for what, b := range map[string][]byte{
		"another kind": append([]byte{19}, good()[1:]...), "17 pointers": chain(17), "too large by one": append(good(), make([]byte, 4097-len(good()))...),
		"a pointer ahead, to a name": netlogon(23, "raw:c01a", "corp.example", "DC1", "CORP", "DC1", "", "Berlin", ""),
		"a label of another kind":    eight("raw:80" + strings.Repeat("61", 128) + "00"), "a name too long by one": eight(strings.Repeat("a.", 126) + "bc"),
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
