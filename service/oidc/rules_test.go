package oidc

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseParameters(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      map[string]string
		repeated  []string
		refused   error
	}{
		{"empty", "", map[string]string{}, nil, nil},
		{"plain", "a=1&b=x%20y+z", map[string]string{"a": "1", "b": "x y z"}, nil, nil},
		{"without value is omitted", "a=&b", map[string]string{}, nil, nil},
		{"repeated", "a=1&b=2&a=1", map[string]string{"b": "2"}, []string{"a"}, nil},
		{"repeated and empty", "state=&state=", map[string]string{}, []string{"state"}, nil},
		{"bad escape", "a=%zz", nil, nil, errParametersEncoding},
		{"semicolon", "a=1;b=2", nil, nil, errParametersEncoding},
		{"NUL", "a=%00", nil, nil, errParametersEncoding},
		{"NUL in a name", "%00=a", nil, nil, errParametersEncoding},
		{"not UTF-8", "a=%ff", nil, nil, errParametersEncoding},
		{"too large", "a=" + strings.Repeat("x", maxQueryBytes), nil, nil, errParametersTooLarge},
		{"as large as may be", "a=" + strings.Repeat("x", maxQueryBytes-2), map[string]string{"a": strings.Repeat("x", maxQueryBytes-2)}, nil, nil},
		{"too large by one", "a=" + strings.Repeat("x", maxQueryBytes-1), nil, nil, errParametersTooLarge},
		{"as many as may be", strings.Repeat("a&", maxParameters-1) + "b=1", map[string]string{"b": "1"}, []string{"a"}, nil},
		{"too many", strings.Repeat("a&", maxParameters), nil, nil, errParametersTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parseParameters(c.raw, maxQueryBytes)
			if err != c.refused || !reflect.DeepEqual(p.values, c.want) || !reflect.DeepEqual(p.repeated, c.repeated) {
				t.Errorf("got %v, %v, %v", p.values, p.repeated, err)
			}
		})
	}
}

func TestVerifies(t *testing.T) {
	// RFC 7636 appendix B.
	const v, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if !verifies(v, challenge) || !isChallenge(challenge) {
		t.Error("the RFC's own example is refused")
	}
	for _, bad := range []string{"", v[:42], v + "=", v[:42] + "!", strings.Repeat("a", 129), v[:42] + "l"} {
		if verifies(bad, challenge) {
			t.Errorf("%q verifies", bad)
		}
	}
	// What is no verifier does not verify its own challenge either.
	own := func(verifier string) string {
		sum := sha256.Sum256([]byte(verifier))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	for _, good := range []string{strings.Repeat("a", 43), strings.Repeat("a", 128), "azAZ09-._~" + v[:33]} {
		if !verifies(good, own(good)) {
			t.Errorf("%q does not verify", good)
		}
	}
	for _, bad := range []string{"", strings.Repeat("a", 42), strings.Repeat("a", 129), v[:42] + "`", v[:42] + "{", v[:42] + "@", v[:42] + "[", v[:42] + "/", v[:42] + ":", v[:42] + "ä", v[:42] + "\n"} {
		if verifies(bad, own(bad)) {
			t.Errorf("%q verifies its own challenge", bad)
		}
	}
	for _, bad := range []string{"", challenge + "=", challenge[:42] + "N", challenge[:42] + "!", challenge[:42], v[:42] + "\n"} {
		if isChallenge(bad) {
			t.Errorf("%q is a challenge", bad)
		}
	}
}

// A client says who it is in one way, and never with what this server does not understand.
func TestReadCredentials(t *testing.T) {
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	for name, c := range map[string]struct {
		authorization []string
		body          string
		want          credentials
		refused       string
	}{
		"public, in the body":             {nil, "client_id=a", credentials{id: "a"}, ""},
		"confidential, in the body":       {nil, "client_id=a&client_secret=s", credentials{"a", "s"}, ""},
		"Basic":                           {[]string{basic("a", "s")}, "", credentials{"a", "s"}, ""},
		"Basic, form-encoded":             {[]string{basic("a%3A", "%C3%A9+x")}, "", credentials{"a:", "é x"}, ""},
		"Basic, and the same id":          {[]string{basic("a", "s")}, "client_id=a", credentials{"a", "s"}, ""},
		"Basic without a secret":          {[]string{basic("a", "")}, "", credentials{id: "a"}, ""},
		"nobody":                          {nil, "client_secret=s", credentials{}, "invalid_client"},
		"nobody, in Basic":                {[]string{basic("", "s")}, "", credentials{}, "invalid_client"},
		"an assertion":                    {nil, "client_id=a&client_assertion=x", credentials{}, "invalid_client"},
		"a kind of assertion":             {nil, "client_id=a&client_assertion_type=x", credentials{}, "invalid_client"},
		"two headers":                     {[]string{basic("a", "s"), basic("a", "s")}, "", credentials{}, "invalid_request"},
		"another scheme":                  {[]string{"Bearer x"}, "client_id=a", credentials{}, "invalid_client"},
		"a broken id":                     {[]string{basic("%zz", "s")}, "", credentials{}, "invalid_client"},
		"a broken secret":                 {[]string{basic("a", "%zz")}, "", credentials{}, "invalid_client"},
		"an id that is no text":           {[]string{basic("%ff", "s")}, "", credentials{}, "invalid_client"},
		"a secret that is no text":        {[]string{basic("a", "%00")}, "", credentials{}, "invalid_client"},
		"Basic, and a secret in the body": {[]string{basic("a", "s")}, "client_secret=s", credentials{}, "invalid_request"},
		"Basic, and another's id":         {[]string{basic("a", "s")}, "client_id=b", credentials{}, "invalid_request"},
	} {
		p, err := parseParameters(c.body, maxBodyBytes)
		if err != nil {
			t.Fatal(err)
		}
		got, refused := readCredentials(http.Header{"Authorization": c.authorization}, p)
		said := ""
		if refused != nil {
			said = refused.name
		}
		if got != c.want || said != c.refused {
			t.Errorf("%s: %+v, %q, want %q", name, got, said, c.refused)
		}
	}
}

func TestSecrets(t *testing.T) {
	a, b := newSecret(), newSecret()
	if a == b || !isSecret(a) || len(a) != 43 {
		t.Errorf("%q, %q", a, b)
	}
	for _, bad := range []string{"", a + "=", a[:42], a + "A", a[:42] + "\n" + a[42:], strings.Repeat("A", 42) + "B"} {
		if isSecret(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	salt := newSalt()
	next := successor(a, salt)
	if next != successor(a, salt) || next == successor(b, salt) || next == successor(a, newSalt()) {
		t.Error("a successor does not depend on token and salt alone")
	}
	if !isSecret(next) {
		t.Error("a successor has not the form of a token")
	}
}

func TestWithParameters(t *testing.T) {
	for _, c := range [][2]string{
		{"https://a.example/cb", "https://a.example/cb?code=x+%26&state=%C3%A4"},
		{"https://a.example/cb?x=1", "https://a.example/cb?x=1&code=x+%26&state=%C3%A4"},
		{"https://a.example/cb?", "https://a.example/cb?code=x+%26&state=%C3%A4"},
		{"https://a.example/cb?x=%41&", "https://a.example/cb?x=%41&code=x+%26&state=%C3%A4"},
		{"com.example.app:/cb", "com.example.app:/cb?code=x+%26&state=%C3%A4"},
	} {
		if got := withParameters(c[0], "code", "x &", "none", "", "state", "ä"); got != c[1] {
			t.Errorf("got %s, want %s", got, c[1])
		}
	}
}

// Whatever was posted goes into one header's address: nothing in it ends the line or the address.
func TestHeaderSafe(t *testing.T) {
	for in, want := range map[string]string{
		"a=1&b=x+%20~!$'()*,;:@/?":  "a=1&b=x+%20~!$'()*,;:@/?",
		"a=\r\nSet-Cookie: x":       "a=%0D%0ASet-Cookie:%20x",
		" \x00\x1f\x20\x7f\x80\xff": "%20%00%1F%20%7F%80%FF",
		`#"<>`:                      "%23%22%3C%3E",
		"ä":                         "%C3%A4",
	} {
		if got := headerSafe(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestSafeDescription(t *testing.T) {
	got := safeDescription("a\"b\\c\r\nd\x00é~")
	if got != "a'b?c??d??~" {
		t.Errorf("got %q", got)
	}
}

func TestParseClaims(t *testing.T) {
	deep := strings.Repeat(`{"a":`, maxClaimsDepth+1) + "1" + strings.Repeat("}", maxClaimsDepth+1)
	for _, c := range []struct {
		name, raw string
		want      claimsRequest
		refused   bool
	}{
		{name: "none", raw: ""},
		{name: "empty object", raw: "{}"},
		{name: "both", raw: `{"userinfo":{"groups":null,"x":null},"id_token":{"upn":{"essential":true},"auth_time":null},"other":[1]}`,
			want: claimsRequest{IDToken: []string{"upn", "auth_time"}, UserInfo: []string{"groups"}}},
		{name: "null members", raw: `{"userinfo":null,"id_token":null}`},
		{name: "subject", raw: `{"id_token":{"sub":{"value":"u1"}}}`, want: claimsRequest{Subject: "u1"}},
		{name: "any subject", raw: `{"id_token":{"sub":{"value":null}}}`},
		{name: "essential acr", raw: `{"id_token":{"acr":{"essential":true,"values":["a","b"]}}}`,
			want: claimsRequest{IDToken: []string{"acr"}, ACR: []string{"a", "b"}}},
		{name: "voluntary acr", raw: `{"id_token":{"acr":{"values":["a"]}}}`, want: claimsRequest{IDToken: []string{"acr"}}},
		{name: "an acr of null", raw: `{"id_token":{"acr":{"essential":true,"values":[null]}}}`, refused: true},
		{name: "as large as may be", raw: `{"a":"` + strings.Repeat("x", maxClaimsBytes-len(`{"a":""}`)) + `"}`},
		{name: "too large by one", raw: `{"a":"` + strings.Repeat("x", maxClaimsBytes-len(`{"a":""}`)+1) + `"}`, refused: true},
		{name: "as many as may be", raw: `{"a":[` + strings.Repeat("1,", 4*maxClaimsMembers-6) + `1]}`},
		{name: "too many by one", raw: `{"a":[` + strings.Repeat("1,", 4*maxClaimsMembers-5) + `1]}`, refused: true},
		{name: "as deep as may be", raw: strings.Repeat(`{"a":`, maxClaimsDepth) + "1" + strings.Repeat("}", maxClaimsDepth)},
		{name: "two subjects", raw: `{"id_token":{"sub":{"values":["a","b"]}}}`, refused: true},
		{name: "subject is a number", raw: `{"id_token":{"sub":{"value":1}}}`, refused: true},
		{name: "acr is a number", raw: `{"id_token":{"acr":{"essential":true,"value":1}}}`, refused: true},
		{name: "claim is a string", raw: `{"id_token":{"upn":"x"}}`, refused: true},
		{name: "list", raw: `[]`, refused: true},
		{name: "two objects", raw: `{}{}`, refused: true},
		{name: "cut off", raw: `{"id_token":`, refused: true},
		{name: "unclosed", raw: `{`, refused: true},
		{name: "text", raw: `x`, refused: true},
		{name: "spaces", raw: `  `, refused: true},
		{name: "null", raw: `null`, refused: true},
		{name: "twice", raw: `{"id_token":{},"id_token":{}}`, refused: true},
		{name: "twice within", raw: `{"id_token":{"upn":null,"upn":null}}`, refused: true},
		{name: "deep", raw: deep, refused: true},
		{name: "deep list", raw: `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, refused: true},
		{name: "large", raw: `{"a":"` + strings.Repeat("x", maxClaimsBytes) + `"}`, refused: true},
		{name: "many", raw: `{"a":[` + strings.Repeat("1,", 4*maxClaimsMembers) + `1]}`, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseClaims(c.raw)
			if (err != nil) != c.refused || err == nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, want := range []claimsRequest{{}, {IDToken: []string{"upn"}}, {UserInfo: []string{"email"}}, {IDToken: []string{"upn"}, UserInfo: []string{"email"}}} {
		given := want
		given.Subject = "x" // stored beside them
		stored, err := decodeStoredClaims(given.encode())
		if err != nil || !reflect.DeepEqual(stored, want) || (given.encode() == "") != (want.IDToken == nil && want.UserInfo == nil) {
			t.Errorf("stored and read: %+v, %v", stored, err)
		}
	}
}

func TestJudgeCode(t *testing.T) {
	now := time.Unix(1000, 0)
	good := storedCode{RedirectURI: "r", Challenge: challengeOf(verifier), Expires: now.Add(time.Second)}
	g := grant{AppID: "a"}
	change := func(f func(*storedCode)) storedCode { c := good; f(&c); return c }
	for _, c := range []struct {
		name     string
		code     storedCode
		g        grant
		app      string
		redirect string
		verifier string
		want     fate
	}{
		{"good", good, g, "a", "r", verifier, issue},
		{"foreign", good, g, "b", "r", verifier, refuse},
		{"used", change(func(c *storedCode) { c.Used = now }), g, "a", "r", verifier, reuse},
		{"used, by a foreign client", change(func(c *storedCode) { c.Used = now }), g, "b", "r", verifier, refuse},
		{"used, without the verifier", change(func(c *storedCode) { c.Used = now }), g, "a", "r", "x", reuse},
		{"used and expired", change(func(c *storedCode) { c.Used, c.Expires = now, now }), g, "a", "r", verifier, reuse},
		{"expired", change(func(c *storedCode) { c.Expires = now }), g, "a", "r", verifier, refuse},
		{"revoked", good, grant{AppID: "a", Revoked: now}, "a", "r", verifier, refuse},
		{"redirect", good, g, "a", "R", verifier, refuse},
		{"verifier", good, g, "a", "r", verifier + "x", refuse},
	} {
		if got, refused := judgeCode(c.code, c.g, c.app, c.redirect, c.verifier, now); got != c.want || (refused == nil) != (got == issue) {
			t.Errorf("%s: got %v, %v", c.name, got, refused)
		}
	}
}

func TestJudgeRefresh(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	later := now.Add(time.Hour)
	for _, c := range []struct {
		name string
		t    storedRefresh
		want fate
	}{
		{"fresh", storedRefresh{Expires: later}, issue},
		{"expired", storedRefresh{Expires: now}, refuse},
		{"just used", storedRefresh{Expires: later, Used: now, Salt: []byte{1}}, again},
		{"end of the grace time", storedRefresh{Expires: later, Used: now.Add(-refreshGrace), Salt: []byte{1}}, again},
		{"after the grace time", storedRefresh{Expires: later, Used: now.Add(-refreshGrace - time.Millisecond), Salt: []byte{1}}, reuse},
		{"salt erased", storedRefresh{Expires: later, Used: now}, reuse},
	} {
		if got, cause := judgeRefresh(c.t, now); got != c.want || (cause == nil) != (got == issue || got == again) {
			t.Errorf("%s: got %v, %v", c.name, got, cause)
		}
	}
}

func TestFreshEnough(t *testing.T) {
	asked := time.Unix(1000, 0)
	for _, c := range []struct {
		ago    time.Duration
		maxAge time.Duration
		want   bool
	}{
		{time.Hour, anyAge, true}, {0, 0, true}, {time.Second, 0, false}, {-time.Second, 0, true},
		{time.Minute, time.Minute, true}, {time.Minute + time.Second, time.Minute, false},
	} {
		if got := freshEnough(asked.Add(-c.ago), asked, c.maxAge); got != c.want {
			t.Errorf("%v old, %v allowed: %v", c.ago, c.maxAge, got)
		}
	}
}

func TestNarrow(t *testing.T) {
	granted := []string{"openid", "email"}
	for asked, want := range map[string][]string{"": granted, "email": {"email"}, "email openid": {"email", "openid"}, "openid openid": {"openid"}} {
		if got, err := narrow(granted, asked); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", asked, got, err)
		}
	}
	for _, asked := range []string{"profile", "openid groups"} {
		if _, err := narrow(granted, asked); err == nil || err.name != "invalid_scope" {
			t.Errorf("%q: %v", asked, err)
		}
	}
}

func TestFailureLimit(t *testing.T) {
	l, now := newFailureLimit(), time.Unix(1000, 0)
	for range failureBurst {
		if l.exceeded("a", now) {
			t.Fatal("exceeded too early")
		}
		l.failed("a", now)
	}
	if !l.exceeded("a", now) || l.exceeded("b", now) {
		t.Error("the limit does not hold for one address alone")
	}
	if l.exceeded("a", now.Add(time.Second)) {
		t.Error("the limit does not forgive")
	}
	for i := range maxFailureAddresses + 10 {
		l.failed(string(rune(i))+"x", now)
	}
	if len(l.addresses) > maxFailureAddresses {
		t.Errorf("%d addresses", len(l.addresses))
	}
	l.failed("late", now.Add(time.Hour))
	if _, ok := l.addresses["late"]; !ok || len(l.addresses) != 1 {
		t.Errorf("recovered addresses are kept: %d", len(l.addresses))
	}
}
