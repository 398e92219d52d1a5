package demo

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// In a real browser, one person types her mail address, her NetBIOS name and her user principal name, and the application sees the same person.
func TestBrowserByOtherNames(t *testing.T) {
	sambatest.Require(t)
	person := func(sam, mail string) people.Person {
		return people.Person{SAM: sam, UPN: sam + "@" + evaluationDomain, Mail: mail, DisplayName: sam, Password: wire.NewSecret([]byte(people.RightPassword))}
	}
	dc := sambatest.Start(t, samba.Options{}, person("ada", "Ada.Lovelace@mail.example"), person("reader", ""))
	w := startWorld(t, Options{Directory: dc.LDAPS(), CAFile: dc.CAFile})
	file := filepath.Join(t.TempDir(), "reader-password")
	if err := os.WriteFile(file, []byte(people.RightPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	w.StopAgents()
	w.directory.flags = []string{"--reader-name", "reader@" + evaluationDomain, "--reader-password-file", file}
	for i := range agentCount {
		if err := w.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AwaitAgents(t.Context(), agentCount); err != nil {
		t.Fatal(err)
	}
	corp, mail, netbios := "corp", "mail", dc.NetBIOS
	for _, change := range []struct {
		method, path string
		in           admin.DomainInput
	}{
		{http.MethodPost, admin.Path("tenants", tenantName, "domains"), admin.DomainInput{Name: "mail.example", Directory: &corp, SignInAttribute: &mail}},
		{http.MethodPatch, admin.Path("tenants", tenantName, "domains", evaluationDomain), admin.DomainInput{NetBIOSName: &netbios}},
	} {
		if err := w.api.Do(t.Context(), change.method, change.path, change.in, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx := openBrowser(t, w)
	for _, c := range []struct{ typed, picture string }{
		{"ada.lovelace@mail.example", "mail"}, {netbios + `\ADA`, "netbios"}, {"ada@" + evaluationDomain, "upn"},
	} {
		do(t, ctx, "typing "+c.typed, chromedp.Navigate(w.SampleURL()), chromedp.WaitVisible(chromedp.ID("signin")), chromedp.Click(chromedp.ID("signin")),
			chromedp.WaitVisible(chromedp.ID("username")), chromedp.SendKeys(chromedp.ID("username"), c.typed+kb.Enter), chromedp.WaitVisible(chromedp.ID("password")))
		shot(t, ctx, "name-"+c.picture)
		do(t, ctx, "its password", chromedp.SendKeys(chromedp.ID("password"), people.RightPassword+kb.Enter), chromedp.WaitVisible(chromedp.ID("claims")))
		shot(t, ctx, "claims-"+c.picture)
		if got := text(t, ctx, "upn"); got != "ada@"+evaluationDomain {
			t.Errorf("%s: the application says that %q signed in", c.typed, got)
		}
		do(t, ctx, "signing out", chromedp.Click(chromedp.ID("signout")), chromedp.WaitVisible(chromedp.ID("signin")))
	}
}
