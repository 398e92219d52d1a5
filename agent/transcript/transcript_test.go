package transcript

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

var update = flag.Bool("update", false, "record the transcript anew from a Samba domain controller")

const sambaFile = "testdata/samba-4.17.json"

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// accountsOf writes the people of the lab as an administrator would, and reads them as the command does.
func accountsOf(t *testing.T, everybody []people.Person, netBIOS string) []Account {
	t.Helper()
	var all []Account
	for _, p := range everybody {
		all = append(all, Account{State: string(p.States()[0]), Also: string(p.Also), Password: string(p.Password.Reveal()),
			Names: map[string]string{"upn": p.UPN, "down-level": netBIOS + `\` + p.SAM}})
	}
	all = append(all, Account{State: "unknown", Password: people.RightPassword, Names: map[string]string{"upn": "nobody-of-this-name@corp.example.com"}})
	return must(ReadAccounts(bytes.NewReader(must(json.Marshal(all))(t))))(t)
}

func record(t *testing.T, server string, roots *x509.CertPool, accounts []Account) Transcript {
	t.Helper()
	calls := 0
	got := must(Record(t.Context(), server, roots, accounts, func(int, int) { calls++ }))(t)
	if calls != len(accounts)+1 {
		t.Errorf("progress was told %d times", calls)
	}
	return got
}

// TestSambaSaysWhatItSaid asks a real domain controller again. With -update it records.
func TestSambaSaysWhatItSaid(t *testing.T) {
	everybody := append(people.Everybody("corp.example.com"), people.Pairs("corp.example.com")...)
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	got := record(t, dc.LDAPS(), dc.CAPool, accountsOf(t, everybody, dc.NetBIOS))
	text := append(must(json.MarshalIndent(got, "", " "))(t), '\n')
	if *update {
		if err := os.WriteFile(sambaFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, sambaFile); !cmp.Equal(want.Binds, got.Binds) || !cmp.Equal(want.FastBind, got.FastBind) {
		t.Errorf("not what the file has: %s", cmp.Diff(want, got))
	}
	if got.FastBind == nil || got.FastBind.Mode.Result != 2 { // protocolError
		t.Errorf("Samba knows fast binds now: %+v; see docs/decisions/0015", got.FastBind)
	}
	for _, p := range everybody {
		for _, secret := range []string{p.UPN, string(p.Password.Reveal()), "corp", dc.NetBIOS} {
			if bytes.Contains(bytes.ToLower(text), []byte(strings.ToLower(secret))) {
				t.Errorf("the transcript has %q", secret)
			}
		}
	}
}

func read(t *testing.T, file string) Transcript {
	t.Helper()
	var out Transcript
	if err := json.Unmarshal(must(os.ReadFile(file))(t), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestReplay holds the parsers to every transcript that is kept, of whichever kind of domain controller: what was understood is understood
// still, and it is what the account's state means.
func TestReplay(t *testing.T) {
	files := must(filepath.Glob("testdata/*.json"))(t)
	if len(files) == 0 {
		t.Fatal("there is no transcript")
	}
	for _, file := range files {
		for _, b := range read(t, file).Binds {
			if got := Judge(b); got != b {
				t.Errorf("%s: %+v is taken for %s %d now", file, b, got.Reason, got.Code)
			}
			means := []wire.Reason{wire.BadPassword}
			if b.State != "unknown" {
				means[0] = people.State(b.State).Answer(b.Right)
			}
			if b.Also != "" { // either, since domain controllers differ in what they look at first
				means = append(means, people.State(b.Also).Answer(b.Right))
			}
			if !slices.Contains(means, b.Reason) {
				t.Errorf("%s: %s %s, %s, right %t: %q, and the state means %q", file, b.State, b.Also, b.Form, b.Right, b.Reason, means)
			}
		}
	}
}

// TestEvaluationDirectory: the evaluation directory answers as the domain controller did, number by number.
func TestEvaluationDirectory(t *testing.T) {
	certificate, caFile, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	everybody := append(people.Everybody("corp.example.com"), people.Pairs("corp.example.com")...)
	s := must(evaluation.New(evaluation.Config{People: everybody, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}}))(t)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), listener) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(caFile))(t))
	got := record(t, "ldaps://"+listener.Addr().String(), roots, accountsOf(t, everybody, s.NetBIOS()))
	want := read(t, sambaFile)
	for i := range want.Binds {
		want.Binds[i].Text, got.Binds[i].Text = "", "" // identifiers in it are of a version
	}
	if d := cmp.Diff(want.Binds, got.Binds); d != "" {
		t.Error(d)
	}
}

func TestReadAccountsRefuses(t *testing.T) {
	good := `{"state":"normal","names":{"upn":"a@b.example"},"password":"canary-secret"}`
	if all, err := ReadAccounts(strings.NewReader("[" + good + "]")); err != nil || len(all) != 1 {
		t.Fatalf("%v %v", all, err)
	}
	for _, text := range []string{"", "{}", "[]", "[" + good + "] trailing", "[" + strings.Repeat(good+",", 64) + good + "]",
		strings.Replace("["+good+"]", "normal", "happy", 1), strings.Replace("["+good+"]", `"upn"`, `"UPN 1"`, 1),
		strings.Replace("["+good+"]", "canary-secret", "", 1), strings.Replace("["+good+"]", "a@b.example", "", 1),
		strings.Replace("["+good+"]", `"state"`, `"also":"locked","state"`, 1), strings.Replace("["+good+"]", `"state":"normal"`, `"state":"locked","also":"happy"`, 1),
		strings.Replace("["+good+"]", `"state":"normal"`, `"state":"locked","also":"locked"`, 1), strings.Replace("["+good+"]", `"state":"normal"`, `"state":"locked","also":"unknown"`, 1),
		strings.Replace("["+good+"]", `"state"`, `"State2"`, 1), strings.Replace("["+good+"]", "canary-secret", `canary\u0000secret`, 1),
		"[" + good + strings.Repeat(" ", maxFile) + "]"} {
		if _, err := ReadAccounts(strings.NewReader(text)); !errors.Is(err, ErrAccounts) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

func TestMasked(t *testing.T) {
	hide := append(Account{Names: map[string]string{"down-level": `CORP\ada`, "upn": "ada@corp.example"}, Password: "Secret-1"}.hidden(), "e")
	for text, want := range map[string]string{
		"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v4563\x00": "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v4563",
		`no corp\ADA here, nor ada; SECRET-1`: "no [masked] here, nor [masked]; [masked]",
		"CORPCORP":                            "[masked][masked]",
	} {
		if got := masked(text, hide); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzReadAccounts(f *testing.F) {
	f.Add(`[{"state":"normal","names":{"upn":"a@b.example"},"password":"secret"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadAccounts(strings.NewReader(text))
		if err == nil && (len(all) == 0 || len(all) > maxAccounts) {
			t.Errorf("%d accounts", len(all))
		}
		for _, a := range all {
			if States[a.State] == "" || len(a.Names) == 0 || a.Password == "" {
				t.Errorf("%+v", a)
			}
		}
	})
}
