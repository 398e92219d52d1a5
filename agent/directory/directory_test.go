package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/wire"
)

var ad = directorytest.Diagnostic

func TestFromDiagnostic(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   int
		text   string
		reason wire.Reason // "" for no verdict
		win32  int
		code2  wire.Code // of the trouble
	}{
		{"success", 0, "", wire.Accepted, 0, 0},
		{"success with text", 0, ad("52e"), wire.Accepted, 0, 0},
		{"wrong", 49, ad("52e"), wire.BadPassword, 1326, 0},
		{"wrong, NUL", 49, ad("52e") + "\x00", wire.BadPassword, 1326, 0},
		{"wrong, NUL at once", 49, "data 52e\x00", wire.BadPassword, 1326, 0},
		{"wrong, end of text", 49, "data 52e", wire.BadPassword, 1326, 0},
		{"wrong, capitals", 49, "data 52E, v", wire.BadPassword, 1326, 0},
		{"wrong, leading zeros", 49, "data 0000052e, v", wire.BadPassword, 1326, 0},
		{"unknown", 49, ad("525"), wire.NoSuchUser, 1317, 0},
		{"restricted", 49, ad("52f"), wire.AccountRestricted, 1327, 0},
		{"hours", 49, ad("530"), wire.LogonHours, 1328, 0},
		{"workstation", 49, ad("531"), wire.Workstation, 1329, 0},
		{"expired", 49, ad("532"), wire.PasswordExpired, 1330, 0},
		{"disabled", 49, ad("533"), wire.AccountDisabled, 1331, 0},
		{"groups", 49, ad("568"), wire.TooManyGroups, 1384, 0},
		{"account expired", 49, ad("701"), wire.AccountExpired, 1793, 0},
		{"must change", 49, ad("773"), wire.MustChange, 1907, 0},
		{"locked", 49, ad("775"), wire.AccountLocked, 1909, 0},
		{"another version", 49, "8009030C: LdapErr: DSID-0C090334, comment: AcceptSecurityContext error, data 775, v4f7c", wire.AccountLocked, 1909, 0},
		{"no text", 49, "", wire.BadPassword, 0, 0},
		{"another directory", 49, "invalid credentials", wire.BadPassword, 0, 0},
		{"metadata is not data", 49, "metadata_x data_1 data nothing, data 52e, v1", wire.BadPassword, 1326, 0},
		{"nothing is no number", 49, "data , data 52e", wire.BadPassword, 1326, 0},
		{"first number counts", 49, "data 775, data 52e", wire.AccountLocked, 1909, 0},

		{"unknown sub-code", 49, ad("999"), "", 0, wire.DirectoryUnusable},
		{"zero", 49, ad("0"), "", 0, wire.DirectoryUnusable},
		{"an organisational unit", 49, ad("1f"), "", 0, wire.DirectoryUnusable},
		{"Windows' word that LDAP never uses", 49, ad("52b"), "", 0, wire.DirectoryUnusable},
		{"no logon server", 49, ad("51f"), "", 0, wire.DirectoryUnreachable},
		{"clock", 49, ad("576"), "", 0, wire.ClockSkew},
		{"starting", 49, ad("548"), "", 0, wire.DirectoryUnreachable},
		{"all digits count", 49, "data 775A", "", 0, wire.DirectoryUnusable},
		{"to the last", 49, "data 775F", "", 0, wire.DirectoryUnusable},
		{"52e under another result", 1, ad("52e"), "", 0, wire.DirectoryUnusable},
		{"775 under another result", 53, ad("775"), "", 0, wire.DirectoryUnusable},
		{"protocol", 2, "", "", 0, wire.DirectoryUnusable},
		{"needs TLS", 8, "BindSimple: Transport encryption required.", "", 0, wire.DirectoryUnusable},
		{"referral", 10, "", "", 0, wire.DirectoryUnusable},
		{"busy", 51, "", "", 0, wire.DirectoryUnreachable},
		{"unavailable", 52, "00000000: LdapErr: DSID-0C090627, comment: data 52e, v", "", 0, wire.DirectoryUnreachable},
		{"other", 80, "", "", 0, wire.DirectoryUnusable},
		{"out of range", 65535, "", "", 0, wire.DirectoryUnusable},
		{"negative", -1, "", "", 0, wire.DirectoryUnusable},
	} {
		v, ok := directory.FromDiagnostic(c.code, c.text)
		if ok != (c.reason != "") || v.Reason != c.reason || v.Win32 != c.win32 {
			t.Errorf("%s: %+v, %v", c.name, v, ok)
		}
		if !ok && directory.TroubleCode(c.code, c.text) != c.code2 {
			t.Errorf("%s: trouble %d, want %d", c.name, directory.TroubleCode(c.code, c.text), c.code2)
		}
	}
	for _, text := range []string{ad("52e"), "invalid credentials"} {
		if v, _ := directory.FromDiagnostic(49, text+"\x00"); v.Diagnostic != text {
			t.Errorf("diagnostic %q", v.Diagnostic)
		}
	}
	if c := directory.TroubleCode(0, ""); c != wire.DirectoryUnusable {
		t.Errorf("a success that is no verdict: %d", c)
	}
}

// A number too long to be one, or cut off by the limit on the text, must not become another number.
func TestNoNumberIsMadeUp(t *testing.T) {
	for _, text := range []string{
		"data " + strings.Repeat("0", 9) + "52e",
		"data 52eg",
		"data 52ez",
		"data 52eG",
		"data 52eZ",
		"data 52e_",
		"data  52e",
		"data -52e",
		strings.Repeat("x", 1016) + "data 7750",  // of 1024 bytes that are read the last is the 5
		strings.Repeat("x", 1016) + "data 775, ", // and so nobody saw where it ends
		strings.Repeat("x", 1024) + "data 775",
	} {
		if v, ok := directory.FromDiagnostic(49, text); !ok || v.Reason != wire.BadPassword || v.Win32 != 0 {
			t.Errorf("%q: %+v, %v", text, v, ok)
		}
	}
	for _, text := range []string{"data 775/", "data 775:", "data 775@", "data 775[", "data 775`", "data 775{", "data 775ü",
		strings.Repeat("x", 1016) + "data 775", strings.Repeat("x", 1015) + "data 775, "} {
		if v, ok := directory.FromDiagnostic(49, text); !ok || v.Reason != wire.AccountLocked || v.Win32 != 1909 {
			t.Errorf("%q: %+v, %v", text, v, ok)
		}
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"a\x00b\n\r\tc\x1b[31m":     "abc[31m",
		"  data 52e\x00":            "data 52e",
		"\xff\xfe bad":              "bad",
		"\u202eright to left\u200b": "right to left",
		strings.Repeat("ü", 500):    strings.Repeat("ü", 160),

		strings.Repeat("\x00", 1023) + "ab": "a", // what lies beyond the limit is not read
	} {
		if got := directory.Shown(in); got != want {
			t.Errorf("Shown(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzFromDiagnostic(f *testing.F) {
	f.Add(49, ad("52e"))
	f.Add(49, ad("775")+"\x00")
	f.Add(49, "data ")
	f.Add(0, "")
	f.Add(51, "data ffffffff")
	f.Fuzz(func(t *testing.T, code int, text string) {
		v, ok := directory.FromDiagnostic(code, text)
		if ok != v.Reason.Known() {
			t.Fatalf("%v, %v", v, ok)
		}
		if ok && v.Reason.Right() != (code == 0) {
			t.Fatalf("result %d became %s", code, v.Reason)
		}
		if !ok {
			if _, known := wire.Lookup(directory.TroubleCode(code, text)); !known {
				t.Fatal("a trouble that is not in the catalogue")
			}
		}
		if !utf8.ValidString(v.Diagnostic) || utf8.RuneCountInString(v.Diagnostic) > 160 ||
			strings.ContainsFunc(v.Diagnostic, unicode.IsControl) {
			t.Fatalf("diagnostic %q", v.Diagnostic)
		}
	})
}

func names(found []directory.Explanation) string {
	var n []string
	for _, e := range found {
		n = append(n, strings.TrimPrefix(e.Name, "ERROR_"))
	}
	return strings.Join(n, " ")
}

func TestExplain(t *testing.T) {
	for question, want := range map[string]string{
		"52e":                     "LOGON_FAILURE",
		"52E":                     "LOGON_FAILURE",
		"0x52e":                   "LOGON_FAILURE",
		"data 52e":                "LOGON_FAILURE",
		ad("52e") + "\x00":        "LOGON_FAILURE",
		" 1326\n":                 "LOGON_FAILURE",
		"win32 1326":              "LOGON_FAILURE",
		"ERROR_LOGON_FAILURE":     "LOGON_FAILURE",
		"error_logon_failure":     "LOGON_FAILURE",
		"bad_password":            "LOGON_FAILURE WRONG_PASSWORD",
		"0xC000006D":              "LOGON_FAILURE",
		"0xC000052E":              "", // no HRESULT: 1326 is not inside
		"c000006d":                "LOGON_FAILURE",
		"-1073741715":             "LOGON_FAILURE",
		"0xC000006A":              "LOGON_FAILURE WRONG_PASSWORD",
		"0x8007052E":              "LOGON_FAILURE",
		"STATUS_LOGON_FAILURE":    "LOGON_FAILURE",
		"50126":                   "invalid-password LOGON_FAILURE NO_SUCH_USER WRONG_PASSWORD invalidCredentials",
		"AADSTS50126":             "invalid-password LOGON_FAILURE NO_SUCH_USER WRONG_PASSWORD invalidCredentials",
		"24":                      "LOGON_FAILURE WRONG_PASSWORD",
		"0x18":                    "LOGON_FAILURE WRONG_PASSWORD",
		"Kerberos 24":             "LOGON_FAILURE WRONG_PASSWORD",
		"krb 24":                  "LOGON_FAILURE WRONG_PASSWORD",
		"kdc 24":                  "LOGON_FAILURE WRONG_PASSWORD",
		"code 50144":              "directory-password-expired PASSWORD_EXPIRED PASSWORD_MUST_CHANGE",
		"KDC_ERR_PREAUTH_FAILED":  "LOGON_FAILURE WRONG_PASSWORD",
		"532":                     "PASSWORD_EXPIRED",
		"data 532":                "PASSWORD_EXPIRED",
		"1330":                    "PASSWORD_EXPIRED",
		"50144":                   "directory-password-expired PASSWORD_EXPIRED PASSWORD_MUST_CHANGE",
		"775":                     "ACCOUNT_LOCKED_OUT",
		"0xC0000234":              "ACCOUNT_LOCKED_OUT",
		"18":                      "ACCOUNT_LOCKED_OUT ACCOUNT_DISABLED ACCOUNT_EXPIRED INVALID_LOGON_HOURS",
		"701":                     "ACCOUNT_EXPIRED",
		"31":                      "GEN_FAILURE WRONG_TARGET_NAME", // Win32 and Kerberos
		"data 31":                 "",                              // a sub-code is hexadecimal, and 0x31 means nothing
		"1f":                      "GEN_FAILURE",
		"52":                      "KRB_ERR_RESPONSE_TOO_BIG unavailable", // Kerberos and LDAP
		"ldap 52":                 "unavailable",
		"LDAP result 51":          "busy",
		"80013":                   "TIME_SKEW",
		"90020":                   "lost-after-fence",
		"lost-after-fence":        "lost-after-fence",
		"90030":                   "envelope-stale",
		"80001":                   "no-agent",
		"STATUS_ACCOUNT_DISABLED": "ACCOUNT_DISABLED",

		"KDC_ERR_KEY_EXPIRED":                   "PASSWORD_EXPIRED PASSWORD_MUST_CHANGE",
		"kdc_err 23":                            "PASSWORD_EXPIRED PASSWORD_MUST_CHANGE",
		"0x17":                                  "PASSWORD_EXPIRED PASSWORD_MUST_CHANGE",
		"KRB_AP_ERR_SKEW":                       "TIME_SKEW",
		"KRB_AP_ERR_MODIFIED":                   "WRONG_TARGET_NAME",
		"KDC_ERR_S_PRINCIPAL_UNKNOWN":           "KDC_ERR_S_PRINCIPAL_UNKNOWN",
		"kerberos 9":                            "KDC_ERR_NULL_KEY",
		"kerberos 60":                           "KDC_ERR_BAD_PVNO",
		"0xC0000071":                            "PASSWORD_EXPIRED",
		"STATUS_AUTHENTICATION_FIREWALL_FAILED": "AUTHENTICATION_FIREWALL_FAILED",
		"1935":                                  "AUTHENTICATION_FIREWALL_FAILED",
		"1324":                                  "ILL_FORMED_PASSWORD",
		"1325":                                  "PASSWORD_RESTRICTION",
		"1790":                                  "TRUST_FAILURE",
		"1810":                                  "DOMAIN_TRUST_INCONSISTENT",
		"1937":                                  "NTLM_BLOCKED",

		// Lines of logs, this product's own first.
		directory.KDCWords(18, 0xC0000072):                     "ACCOUNT_DISABLED",
		directory.KDCWords(24, 0):                              "LOGON_FAILURE WRONG_PASSWORD",
		directory.Win32Words(1909):                             "ACCOUNT_LOCKED_OUT",
		directory.Win32Words(0xC00002FA):                       "SEC_E_SMARTCARD_LOGON_REQUIRED",
		"trouble, lockout-spared (90110)":                      "lockout-spared",
		"LDAP error 51":                                        "busy",
		"Failure Code: 0x18":                                   "LOGON_FAILURE WRONG_PASSWORD",
		"Status: 0xC000006D, Sub Status: 0xC0000072":           "LOGON_FAILURE ACCOUNT_DISABLED",
		"NTSTATUS 0xC0000234":                                  "ACCOUNT_LOCKED_OUT",
		"error 1909":                                           "ACCOUNT_LOCKED_OUT",
		"KRB5KDC_ERR_PREAUTH_FAILED":                           "LOGON_FAILURE WRONG_PASSWORD",
		"KRB5KRB_AP_ERR_SKEW":                                  "TIME_SKEW",
		"kinit: KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN while getting": "NO_SUCH_USER",
		"a sentence of 24 words about bad data, 52 of them":    "",

		"":                               "",
		"0":                              "",
		"0x":                             "",
		"-1":                             "",
		"data":                           "",
		"999999":                         "",
		"99999999999999999999999":        "",
		"-99999999999":                   "",
		"-5368709011":                    "", // of whose 64 bits the last 32 are 0xC000006D
		"5368709165":                     "",
		"hello":                          "",
		"accepted":                       "",
		strings.Repeat("data 52e ", 200): "",
	} {
		if got := names(directory.Explain(question)); got != want {
			t.Errorf("Explain(%.40q) = %q, want %q", question, got, want)
		}
	}
	if padded := strings.Repeat(" ", 1021) + "52e"; names(directory.Explain(padded)) != "LOGON_FAILURE" || directory.Explain(padded+" ") != nil {
		t.Error("a question as long as may be, or longer")
	}
	if text := directory.Explain("ldap 51")[0].String(); text != "busy, LDAP result 51, code 80007: The server is too busy to answer." {
		t.Error(text)
	}
	if sub := directory.Explain("ldap 51")[0].SubCode(); sub != "" {
		t.Errorf("what is no Win32 number has the sub-code %s", sub)
	}
	text := directory.Explain("52e")[0].String()
	if text != "ERROR_LOGON_FAILURE, data 52e, Win32 1326, NTSTATUS 0xC000006D, NTSTATUS 0xC000006A, Kerberos 24 KDC_ERR_PREAUTH_FAILED, code 50126: "+
		"The name or the password is wrong; the directory does not say which." {
		t.Error(text)
	}
}

// Every entry is found by each of its own numbers, says something, and agrees with the parser.
func TestTableIsWhole(t *testing.T) {
	found := func(question, name string) {
		t.Helper()
		for _, e := range directory.Explain(question) {
			if e.Name == name {
				return
			}
		}
		t.Errorf("Explain(%q) does not find %s", question, name)
	}
	seen := 0
	for _, c := range wire.Catalogue() {
		all := directory.Explain(c.Code.String())
		if len(all) == 0 {
			t.Errorf("code %d has no explanation", c.Code)
		}
		for _, e := range all {
			seen++
			if e.Words == "" || e.Remedy == "" || e.Name == "" || e.Code != c.Code {
				t.Errorf("%s says nothing, or of code %d instead of %d", e.Name, e.Code, c.Code)
			}
			found(e.Name, e.Name)
			if e.Win32 != 0 {
				found(fmt.Sprint(e.Win32), e.Name)
				found("data "+e.SubCode(), e.Name)
			}
			for _, s := range e.NTStatus {
				found(fmt.Sprintf("0x%08X", s), e.Name)
				found(fmt.Sprintf("%d", int32(s)), e.Name)
			}
			for _, k := range e.Kerberos {
				found(fmt.Sprintf("kerberos %d", k), e.Name)
			}
			if v, ok := directory.FromDiagnostic(49, ad(e.SubCode())); ok && e.Win32 != 0 && v.Reason != e.Reason {
				t.Errorf("data %s is %q to the parser and %q to the table", e.SubCode(), v.Reason, e.Reason)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d entries", seen)
	}
	for _, r := range []wire.Reason{wire.BadPassword, wire.NoSuchUser, wire.AccountLocked, wire.AccountRestricted, wire.AccountDisabled,
		wire.AccountExpired, wire.PasswordExpired, wire.MustChange, wire.LogonHours, wire.Workstation, wire.TooManyGroups} {
		if _, ok := wire.Lookup(directory.CodeOf(r)); !ok || directory.CodeOf(r) == wire.DirectoryUnusable {
			t.Errorf("%s has code %d", r, directory.CodeOf(r))
		}
	}
	if directory.CodeOf(wire.Accepted) != 0 || directory.CodeOf("") != wire.DirectoryUnusable || directory.CodeOf("new") != wire.DirectoryUnusable {
		t.Error("accepted and unknown reasons")
	}
}

func FuzzExplain(f *testing.F) {
	for _, s := range []string{"52e", "data 532", "0xC000006D", "-1073741715", "AADSTS50126", "KDC_ERR_POLICY", "ldap result 51", ad("775"), "0x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, q string) {
		seen := map[string]bool{}
		for _, e := range directory.Explain(q) {
			if e.Words == "" || e.Name == "" || seen[e.Name] {
				t.Fatalf("%+v", e)
			}
			seen[e.Name] = true
			_ = e.String()
		}
	})
}

func TestRefuse(t *testing.T) {
	fence := func(context.Context) error { return nil }
	check := func(name, password string) directory.Check {
		return directory.Check{Name: name, Password: wire.NewSecret([]byte(password)), Fence: fence}
	}
	long := strings.Repeat("x", 1025)
	for name, c := range map[string]struct {
		directory.Check
		says string
	}{
		"empty password":      {check("n", ""), "the password is empty"},
		"zero password":       {directory.Check{Name: "n", Fence: fence}, "the password is empty"},
		"NUL":                 {check("n", "\x00"), "the password holds NUL"},
		"NUL inside":          {check("n", "secret\x00junk"), "the password holds NUL"},
		"NUL after the name":  {check("n\x00", "secret"), "the name holds NUL"},
		"NUL before the name": {check("\x00n", "secret"), "the name holds NUL"},
		"long password":       {check("n", long), "the password is too long"},
		"long name":           {check(long, "secret"), "the name is too long"},
		"empty name":          {check("", "secret"), "the name is empty"},
		"nothing but fence":   {directory.Check{Fence: fence}, "the password is empty"},
	} {
		e := c.Refuse()
		if e == nil || e.Code != wire.PasswordUnusable || e.Fenced || !errors.Is(e, directory.ErrUnusable) || !strings.HasSuffix(e.Error(), ": "+c.says) {
			t.Errorf("%s: %v", name, e)
			continue
		}
		if strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: the error holds the password: %v", name, e)
		}
	}
	if e := (directory.Check{Name: "n", Password: wire.NewSecret([]byte("p"))}).Refuse(); e == nil || e.Code != wire.Internal || !strings.HasSuffix(e.Error(), ": a check without a fence") {
		t.Errorf("no fence: %v", e)
	}
	for _, c := range []directory.Check{check("n", "p"), check(long[:1024], long[:1024]), check(" ", " "), check("n", "\xff\xfe\n\t\x01")} {
		if e := c.Refuse(); e != nil {
			t.Errorf("%d and %d bytes: %v", len(c.Name), c.Password.Len(), e)
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("connection reset")
	for _, c := range []struct {
		e    directory.Error
		want string
	}{
		{directory.Error{Code: wire.DirectoryTimeout, Fenced: true, DC: "dc1:636", Cause: cause}, "80002: dc1:636: the password had been sent: connection reset"},
		{directory.Error{Code: wire.DirectoryUnreachable, Cause: cause}, "80007: the password was not sent: connection reset"},
	} {
		if d := cmp.Diff(c.want, c.e.Error()); d != "" {
			t.Error(d)
		}
		if !errors.Is(&c.e, cause) {
			t.Error("the cause is lost")
		}
	}
}

// Every name of a number leads to an entry, and every number of a table has a name.
func TestNamesLead(t *testing.T) {
	for _, name := range directory.NumberNames() {
		if len(directory.Explain(name)) == 0 {
			t.Errorf("Explain(%q) finds nothing", name)
		}
	}
	for n := 1; n < 100; n++ {
		for _, e := range directory.Explain(fmt.Sprintf("kerberos %d", n)) {
			if !strings.Contains(e.String(), fmt.Sprintf("Kerberos %d K", n)) {
				t.Errorf("%d has no name: %s", n, e)
			}
		}
	}
}
