package ldap_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

func person(dn, upn, sam, sid string) *goldap.Entry {
	values := map[string][]string{"objectGUID": {sid + strings.Repeat("g", 16-len(sid))}, "objectSid": {sid}, "sAMAccountName": {sam}, "givenName": {dn}}
	if upn != "" {
		values["userPrincipalName"] = []string{upn}
	}
	return goldap.NewEntry("CN="+dn+",DC=corp,DC=example", values)
}

func TestAttributes(t *testing.T) {
	a := newAuthority(t)
	entries := []*goldap.Entry{
		person("Sam", "sam@corp.example", "sam", "s1"),
		person("Tim", "", "tim", "s2"),
		person("Twin", "twin@corp.example", "twin1", "s3"),
		person("Other twin", "twin@corp.example", "twin2", "s4"),
		person("Star", `st*r)(@corp.example`, "star", "s5"),
	}
	for _, c := range []struct {
		name, typed string
		token       []string
		want        string // givenName; "" for none
	}{
		{"explicit UPN", "sam@corp.example", nil, "Sam"},
		{"explicit UPN with spaces", " sam@corp.example ", nil, "Sam"},
		{"implicit UPN, proven by the token", "tim@corp.example", []string{"x", "s2"}, "Tim"},
		{"implicit UPN, no token, the domain's own name", "tim@CORP.example", nil, "Tim"},
		{"implicit UPN of another domain", "tim@child.corp.example", nil, ""},
		{"implicit UPN, but somebody else is bound", "tim@corp.example", []string{"s9"}, ""},
		{"short domain name, proven", `CORP\tim`, []string{"s2"}, "Tim"},
		{"short domain name, not proven", `CORP\tim`, nil, ""},
		{"another domain's account of that name", `OTHER\tim`, []string{"s9"}, ""},
		{"two entries", "twin@corp.example", nil, ""},
		{"filter characters", `st*r)(@corp.example`, nil, "Star"},
		{"wildcard", "*@corp.example", nil, ""},
		{"injected filter", "x)(objectClass=*@corp.example", nil, ""},
		{"nobody", "nobody@corp.example", nil, ""},
		{"no form that is looked up", "CN=Sam,DC=corp,DC=example", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t, a, func(s *scripted) { s.entries, s.token = entries, c.token })
			v := validator(t, a, false, s.url())
			check := ask(c.typed, "p")
			check.WantAttributes = true
			r, err := v.Validate(t.Context(), check.Check)
			if err != nil || !r.Verdict.Reason.Right() {
				t.Fatal(err)
			}
			got := ""
			if r.Verdict.Attributes != nil {
				got = r.Verdict.Attributes.GivenName
			}
			if unproven := strings.HasPrefix(r.Verdict.Diagnostic, "identity not proven: "); unproven != (c.want == "") {
				t.Errorf("diagnostic %q", r.Verdict.Diagnostic)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAttributesOnlyWhenAskedAndAccepted(t *testing.T) {
	a := newAuthority(t)
	var searches atomic.Int32
	s := begin(t, a, func(s *scripted) {
		s.entries = []*goldap.Entry{person("Sam", "sam@corp.example", "sam", "s1")}
		s.searches = func(string) { searches.Add(1) }
		s.bind = func(_, password string) said {
			if password == "right" {
				return said{}
			}
			return said{code: 49, text: ad("52e")}
		}
	})
	v := validator(t, a, false, s.url())
	wrong, unasked := ask("sam@corp.example", "wrong"), ask("sam@corp.example", "right")
	wrong.WantAttributes = true
	for _, c := range []*directorytest.Asked{wrong, unasked} {
		if r, err := v.Validate(t.Context(), c.Check); err != nil || r.Verdict.Attributes != nil {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n := searches.Load(); n != 0 {
		t.Errorf("%d searches", n)
	}
}

// The verdict stands when the attributes cannot be read.
func TestAttributesAreNotTheVerdict(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(st *scripted) {
		st.entries = []*goldap.Entry{person("Sam", "sam@corp.example", "sam", "s1")}
		st.searches = func(string) { st.hangUp() }
	})
	var log bytes.Buffer
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, false)
	check := ask("sam@corp.example", "canary")
	check.WantAttributes = true
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || !r.Verdict.Reason.Right() || r.Verdict.Attributes != nil || len(bindsOf(s)) != 1 || !strings.HasPrefix(r.Verdict.Diagnostic, "identity not proven: ") {
		t.Errorf("%+v, %v", r, err)
	}
	if text := log.String(); !strings.Contains(text, "attributes left out") || strings.Contains(text, "canary") || strings.Contains(text, "sam@") {
		t.Errorf("log: %s", text)
	}
	if _, err := v.Validate(t.Context(), ask("n", "p").Check); err != nil {
		t.Error(err)
	}
}
