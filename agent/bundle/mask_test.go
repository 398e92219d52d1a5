package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSecretsGo(t *testing.T) {
	for text, want := range map[string]string{
		"password=hunter2 x":                                              "password=[secret] x",
		`{"password":"hun\"ter2","a":1}`:                                  `{"password":[secret],"a":1}`,
		"proxy: http://svc:p%40ss@proxy.corp:3128":                        "proxy: http://[secret]@proxy.corp:3128",
		"proxy: http://svc:p@ss@proxy.corp:3128/x":                        "proxy: http://[secret]@proxy.corp:3128/x",
		"Proxy-Authorization: Basic c3ZjOnBhc3M=":                         "Proxy-Authorization: Basic [secret]",
		"token spt_AbC-123_xyz.":                                          "token [secret].",
		"enrolment_token='spt_abcdefgh'":                                  "enrolment_token=[secret]",
		"client_secret: s3cr3t":                                           "client_secret: [secret]",
		"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln and":                   "[secret] and",
		"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nx": "-----BEGIN PRIVATE KEY-----[secret]\nx",
		"-----BEGIN SALLYPORT ENVELOPE PRIVATE KEY-----\nMIIE":            "-----BEGIN SALLYPORT ENVELOPE PRIVATE KEY-----[secret]",
		`msg="password check" outcome=right`:                              `msg="password check" outcome=right`,
		"token-file: /etc/sallyport-agent/token.txt":                      "token-file: /etc/sallyport-agent/token.txt",
		"ldaps://dc1.corp.example:636":                                    "ldaps://dc1.corp.example:636",
	} {
		if got := NewMasker().Mask(text); got != want {
			t.Errorf("%q became %q, not %q", text, got, want)
		}
	}
}

// P stands for a pseudonym.
func TestNamesGo(t *testing.T) {
	alias := regexp.MustCompile(`person-[0-9a-f]{8}`)
	for text, want := range map[string]string{
		"bind of anna@corp.example failed":            "bind of P@corp.example failed",
		"anna.bell+x@corp.example, müller@corp":       "P@corp.example, P@corp",
		`name=CORP\anna outcome=right`:                `name=CORP\P outcome=right`,
		`{"name":"CORP\\anna"}`:                       `{"name":"CORP\\P"}`,
		`name="anna bell" x=1`:                        `name="P" x=1`,
		`"name":"anna@corp.example","agent_name":"h"`: `"name":"P@corp.example","agent_name":"h"`,
		"name=a…@corp.example":                        "name=a…@corp.example",
		"CN=Anna Bell,OU=Sales,DC=corp,DC=example":    "CN=P,OU=Sales,DC=corp,DC=example",
		`issued by "CN=Corp Web Filter,O=Corp"`:       `issued by "CN=Corp Web Filter,O=Corp"`,
		"S-1-5-21-1-2-3-1104":                         "S-1-5-21-1-2-3-P",
		`C:\ProgramData\Sallyport\agent`:              `C:\ProgramData\Sallyport\agent`,
		"dc1.corp.example:636 serving 10.0.0.7":       "dc1.corp.example:636 serving 10.0.0.7",
		"trace=4bf92f3577b34da6a3ce929d0e0e4736":      "trace=4bf92f3577b34da6a3ce929d0e0e4736",
	} {
		m := NewMasker()
		got := m.Mask(text)
		if shown := alias.ReplaceAllString(got, "P"); shown != want {
			t.Errorf("%q became %q, not %q", text, shown, want)
		}
		if again := m.Mask(got); again != got {
			t.Errorf("%q became %q when masked again", got, again)
		}
	}
}

// One person has one pseudonym in every form and file of an archive, and another in the next archive.
func TestLinesCanBePutTogether(t *testing.T) {
	const log = "name=anna@corp.example\nbind as CORP\\ANNA\nsomething about anna, Anna\nand joanna"
	const other = "name=anna.bell@corp.example name=\"anna d. bell\"\n/home/anna.bell/x anna.bell.txt x-anna-y Anna D. Bell"
	one := func() string {
		m := NewMasker()
		m.Learn(log)
		return m.Mask(log)
	}
	alias := regexp.MustCompile(`person-[0-9a-f]{8}`)
	first, second := one(), one()
	m := NewMasker()
	m.Learn(log)
	m.Learn(other)
	if got := alias.ReplaceAllString(m.Mask(other), "P"); got != "name=P@corp.example name=\"P\"\n/home/P/x P.txt x-P-y P" {
		t.Errorf("%s", got)
	}
	found := alias.FindAllString(first, -1)
	if len(found) != 4 || strings.Count(first, found[0]) != 4 || !strings.Contains(first, "joanna") {
		t.Errorf("%s", first)
	}
	if strings.Contains(second, found[0]) {
		t.Error("two archives share a pseudonym")
	}
}

func TestWrite(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var b bytes.Buffer
	if err := Write(&b, "f", []File{{"a.txt", "anna wrote password=x"}, {"b.txt", "name=anna"}}, now); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	var all []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || !h.ModTime.Equal(now) || h.Mode != 0o600 {
			t.Fatal(h, err)
		}
		if strings.Contains(string(text), "anna") || strings.Contains(string(text), "=x") {
			t.Errorf("%s: %s", h.Name, text)
		}
		all = append(all, h.Name)
	}
	if strings.Join(all, " ") != "f/a.txt f/b.txt" {
		t.Error(all)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("name=anna@corp.example password=\"x")
	f.Add("CORP\\\\anna CN=a\\,b,DC=x http://a:b@c@d/ \xff spt_abcdefgh")
	f.Fuzz(func(t *testing.T, text string) {
		m := NewMasker()
		m.Learn(text)
		got := m.Mask(text + "\npassword=canary-17\nbind of canaryname@corp.example")
		if strings.Contains(got, "canary-17") && !strings.Contains(text, "canary-17") || strings.Contains(got, "canaryname") && !strings.Contains(text, "canaryname") {
			t.Fatalf("%q", got)
		}
		if utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Fatalf("%q", got)
		}
	})
}
