package samba

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingNamesFilesAndPackages(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	what, packages := missing([]need{
		{"one", "package-one", []string{"/nonexistent/a", there}}, {"two", "package-two", []string{"/nonexistent/*/b"}},
	})
	if len(what) != 1 || what[0] != "two" || len(packages) != 1 || packages[0] != "package-two" {
		t.Errorf("missing: %q, %q", what, packages)
	}
	for _, n := range needs() {
		if n.what == "" || n.pack == "" || len(n.patterns) == 0 {
			t.Errorf("need %+v", n)
		}
	}
}

func TestDomainNames(t *testing.T) {
	d, err := newDomain("averyveryverylongname.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if d.workgroup != "AVERYVERYVERYLO" || d.realm != "AVERYVERYVERYLONGNAME.EXAMPLE.COM" || d.host() != "dc1.averyveryverylongname.example.com" ||
		d.baseDN() != "DC=averyveryverylongname,DC=example,DC=com" {
		t.Errorf("%+v, %s, %s", d, d.host(), d.baseDN())
	}
	for _, bad := range []string{"", "CORP", "CORP.", ".COM", "A B.COM", "A.B\n", "DC1.COM", strings.Repeat("A.", 100) + "COM"} {
		if _, err := newDomain(bad); err == nil {
			t.Errorf("%q is a domain", bad)
		}
	}
}

func TestSettingsStayInTheirDirectory(t *testing.T) {
	dir := t.TempDir()
	d, err := newDomain("corp.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.writeSettings(dir, onLoopback(netip.MustParseAddr("127.77.9.9"))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(settingsFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if ok && strings.HasPrefix(value, "/") && !strings.HasPrefix(value, dir+"/") && value != "/bin/true" {
			t.Errorf("%s leaves the directory: %s", strings.TrimSpace(key), value)
		}
	}
	for _, want := range []string{"interfaces = 127.77.9.9/8", "realm = CORP.EXAMPLE.COM", "workgroup = CORP\n", "netbios name = DC1\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "private")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("private: %v, %v", info, err)
	}
}

func TestNamesOfAnotherServer(t *testing.T) {
	header := func(kind byte) string {
		h := make([]byte, recordHeader)
		h[recordType], h[8] = kind, 0xe5 // a serial that is no UTF-8
		return string(h)
	}
	one, two := netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("198.18.1.2")
	address := func(a netip.Addr) string { return header(recordA) + string(a.AsSlice()) }
	srv := func(name string) string {
		return header(recordSRV) + "\x00\x00\x00\x64\x01\x85\x04\x03" + label(name) + label("corp") + "\x00"
	}
	for name, c := range map[string]struct{ from, moved, doubled []string }{
		"nothing":          {[]string{header(6) + label("dc1")}, nil, nil},
		"an address":       {[]string{address(one)}, []string{address(two)}, []string{address(one), address(two)}},
		"another address":  {[]string{address(two)}, nil, nil},
		"a service":        {[]string{srv("dc1")}, nil, []string{srv("dc1"), srv("dc2")}},
		"in capitals":      {[]string{srv("DC1")}, nil, []string{srv("DC1"), srv("dc2")}},
		"somebody else's":  {[]string{srv("dc9")}, nil, nil},
		"a broken record":  {[]string{"", "\x00\x00\x21"}, nil, nil},
		"one among others": {[]string{header(2) + label("dc1"), address(one)}, []string{header(2) + label("dc1"), address(two)}, []string{header(2) + label("dc1"), address(one), address(two)}},
	} {
		if got := moved(c.from, one, two); !slices.Equal(got, c.moved) {
			t.Errorf("%s, moved: %q", name, got)
		}
		if got := doubled(c.from, namesake{"dc1", one}, namesake{"dc2", two}); !slices.Equal(got, c.doubled) {
			t.Errorf("%s, doubled: %q", name, got)
		}
	}
}
