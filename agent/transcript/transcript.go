// Package transcript records what a domain controller says of accounts in known states, word for word and without names and secrets, so
// that what this product takes for an answer can be held to it later, without the controller.
//
//	accounts of a test domain ──▶ Record ──▶ Transcript (JSON) ──▶ testdata of package directory, replayed by its tests
//	                                │ one bind with the right password, one with a wrong one, for each name of each account
//	                                ▼
//	                            domain controller
//
// It refuses accounts in a state that it does not know, to keep a name or a password, and to guess what an answer means: package directory
// says what it makes of each.
//
// cmd/sallyport-agent calls it.
package transcript

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

// Limits of what is read: a file of accounts, how many they are, and how many names each has.
const (
	maxFile     = 64 << 10
	maxAccounts = 64
	maxNames    = 8
)

// States are those that an account of a test domain can be in, and what they mean to whoever makes it.
var States = map[string]string{
	"normal":           "nothing special",
	"disabled":         "disabled",
	"locked":           "locked out by wrong passwords",
	"password_expired": "its password is older than the domain allows",
	"must_change":      "must change its password at the next logon",
	"account_expired":  "its expiry date has passed",
	"logon_hours":      "no hour of the week is allowed",
	"workstation":      "may log on to one other computer only",
	"restricted":       "member of Protected Users",
	"unknown":          "does not exist",
}

// alone are the states beside which there is no other.
var alone = map[string]bool{"normal": true, "unknown": true}

// Account is one account of a test domain.
type Account struct {
	// State is one of [States]. Also is a second one that the account is in at the same time, if any: which of the two a domain controller
	// tells depends on where it looks first.
	State string `json:"state"`
	Also  string `json:"also,omitempty"`
	// Names are the forms of its name, by what they are called in the transcript: "upn", "down-level", "implicit-upn" …
	Names map[string]string `json:"names"`
	// Password is the right one.
	Password string `json:"password"`
}

// hidden are the words of an account that must not stand in a transcript.
func (a Account) hidden() []string {
	all := []string{a.Password}
	for _, name := range a.Names {
		all = append(all, name)
		all = append(all, strings.FieldsFunc(name, func(c rune) bool { return c == '@' || c == '\\' })...)
	}
	return all
}

// ErrAccounts is wrapped by every refusal of a file of accounts.
var ErrAccounts = errors.New("accounts")

// ReadAccounts reads a JSON list of at most 64 KB; unknown members are refused. No error repeats what stands in the file.
func ReadAccounts(in io.Reader) ([]Account, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAccounts, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrAccounts, maxFile)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var all []Account
	if err := d.Decode(&all); err != nil || d.More() {
		return nil, fmt.Errorf(`%w: want a JSON list of {"state": …, "names": {"upn": …}, "password": …}`, ErrAccounts)
	}
	if len(all) == 0 || len(all) > maxAccounts {
		return nil, fmt.Errorf("%w: %d of them, want 1 to %d", ErrAccounts, len(all), maxAccounts)
	}
	for i, a := range all {
		switch {
		case States[a.State] == "" || a.Also != "" && (States[a.Also] == "" || a.Also == a.State || alone[a.State] || alone[a.Also]):
			return nil, fmt.Errorf("%w: number %d is in no state that is known", ErrAccounts, i+1)
		case len(a.Names) == 0 || len(a.Names) > maxNames:
			return nil, fmt.Errorf("%w: number %d (%s) has %d names, want 1 to %d", ErrAccounts, i+1, a.State, len(a.Names), maxNames)
		}
		for form, name := range a.Names {
			if !isForm(form) || name == "" {
				return nil, fmt.Errorf("%w: number %d (%s): names are like \"upn\": \"alice@corp.example\"", ErrAccounts, i+1, a.State)
			}
		}
		if e := (directory.Check{Name: "x", Password: wire.NewSecret([]byte(a.Password)), Fence: func(context.Context) error { return nil }}).Refuse(); e != nil {
			return nil, fmt.Errorf("%w: number %d (%s): %w", ErrAccounts, i+1, a.State, e.Cause)
		}
	}
	return all, nil
}

// isForm reports whether s can stand in a transcript: lower-case letters and hyphens, short.
func isForm(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// Transcript is what one domain controller said.
type Transcript struct {
	// Root are attributes of its root entry that tell what it is; none of them names it.
	Root  map[string][]string `json:"root"`
	Binds []Bind              `json:"binds"`
	// FastBind is how it took the fast bind, tried with the first account in the state "normal"; nil without one.
	FastBind *FastBind `json:"fast_bind,omitempty"`
}

// FastBind is a server's answer to the request for fast binds, and, if it agreed, to a right and a wrong password, with the time that
// a right one took in that mode and as a plain bind.
type FastBind struct {
	Mode  Answer  `json:"mode"`
	Right *Answer `json:"right,omitempty"`
	Wrong *Answer `json:"wrong,omitempty"`
	// In microseconds, the median of many on one connection.
	PlainUS int64 `json:"plain_us,omitempty"`
	FastUS  int64 `json:"fast_us,omitempty"`
}

// Answer is a result code and the text beside it.
type Answer struct {
	Result int    `json:"result"`
	Text   string `json:"text,omitempty"`
}

// Bind is one bind and its answer.
type Bind struct {
	State string `json:"state"`
	Also  string `json:"also,omitempty"`
	Form  string `json:"form"`
	// Right says that the password was right.
	Right bool `json:"right"`
	// Result and Text are the answer.
	Result int    `json:"result"`
	Text   string `json:"text"`
	// Reason is what the agent took it for; empty for trouble, whose number is then in Code.
	Reason wire.Reason `json:"reason,omitempty"`
	Code   wire.Code   `json:"code,omitempty"`
}

// told are the attributes of the root entry that are kept.
var told = []string{"vendorName", "vendorVersion", "domainFunctionality", "forestFunctionality", "domainControllerFunctionality", "supportedLDAPVersion",
	"supportedCapabilities", "supportedControl", "supportedSASLMechanisms", "isGlobalCatalogReady"}

// Record asks one server about all accounts: for each name once with the right password and once with a wrong one, which counts. progress is
// called before each account. An error says which account was asked last; nothing is asked twice.
func Record(ctx context.Context, server string, roots *x509.CertPool, accounts []Account, progress func(done, of int)) (Transcript, error) {
	root, err := ldap.Root(ctx, server, roots, told...)
	if err != nil {
		return Transcript{}, err
	}
	t := Transcript{Root: root}
	for i, a := range accounts {
		progress(i, len(accounts))
		hide := a.hidden()
		forms := make([]string, 0, len(a.Names))
		for form := range a.Names {
			forms = append(forms, form)
		}
		sort.Strings(forms)
		for _, form := range forms {
			for _, right := range []bool{true, false} {
				b, err := one(ctx, server, roots, a, form, right)
				if err != nil {
					return Transcript{}, fmt.Errorf("account %d (%s), %s: %w", i+1, a.State, form, err)
				}
				b.Text = masked(b.Text, hide)
				t.Binds = append(t.Binds, b)
			}
		}
	}
	if i := slices.IndexFunc(accounts, func(a Account) bool { return a.State == "normal" && a.Names["upn"] != "" }); i >= 0 {
		if t.FastBind, err = tryFastBind(ctx, server, roots, accounts[i]); err != nil {
			return Transcript{}, fmt.Errorf("account %d (normal), fast bind: %w", i+1, err)
		}
	}
	progress(len(accounts), len(accounts))
	return t, nil
}

func tryFastBind(ctx context.Context, server string, roots *x509.CertPool, a Account) (*FastBind, error) {
	right, wrong := wire.NewSecret([]byte(a.Password)), wire.NewSecret([]byte("not-"+rand.Text()))
	defer right.Wipe()
	defer wrong.Wipe()
	said, err := ldap.TryFastBind(ctx, server, roots, a.Names["upn"], right, wrong)
	if err != nil {
		return nil, err
	}
	hide := a.hidden()
	answer := func(s ldap.Said) Answer { return Answer{s.Result, masked(s.Text, hide)} }
	f := &FastBind{Mode: answer(said.Mode)}
	if said.Mode.Result == 0 {
		r, w := answer(said.Right), answer(said.Wrong)
		f.Right, f.Wrong, f.PlainUS, f.FastUS = &r, &w, said.Plain.Microseconds(), said.Fast.Microseconds()
	}
	return f, nil
}

func one(ctx context.Context, server string, roots *x509.CertPool, a Account, form string, right bool) (Bind, error) {
	text := a.Password
	if !right {
		text = "not-" + rand.Text()
	}
	password := wire.NewSecret([]byte(text))
	defer password.Wipe()
	said, err := ldap.Say(ctx, server, roots, a.Names[form], password)
	if err != nil {
		return Bind{}, err
	}
	return Judge(Bind{State: a.State, Also: a.Also, Form: form, Right: right && a.State != "unknown", Result: said.Result, Text: said.Text}), nil
}

// Judge fills in what the agent takes an answer for.
func Judge(b Bind) Bind {
	b.Reason, b.Code = "", 0
	if v, ok := directory.FromDiagnostic(b.Result, b.Text); ok {
		b.Reason = v.Reason
	} else {
		b.Code = directory.TroubleCode(b.Result, b.Text)
	}
	return b
}

// mask stands where a name or a secret was.
const mask = "[masked]"

// masked takes names and secrets out of what a server said. It says nothing of them usually; this is for one that does.
func masked(text string, hide []string) string {
	text = directory.Shown(text)
	sort.Slice(hide, func(i, j int) bool { return len(hide[i]) > len(hide[j]) })
	for _, h := range hide {
		if len(h) < 3 || strings.Contains(mask, h) {
			continue // it would be found by chance
		}
		for from := 0; ; {
			at := strings.Index(strings.ToLower(text[from:]), strings.ToLower(h))
			if at < 0 || from+at+len(h) > len(text) { // lower case of another length; no directory's words are
				break
			}
			text = text[:from+at] + mask + text[from+at+len(h):]
			from += at + len(mask)
		}
	}
	return text
}
