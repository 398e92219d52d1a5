package canary_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/canary"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/admin"
)

// TestNoPasswordAnywhere signs in through the pages with passwords that occur nowhere else, in every way that can go right or
// wrong, at debug level and with somebody listening at the broker, and then searches everything that the system has written or
// said. What the browser itself sends is no finding.
func TestNoPasswordAnywhere(t *testing.T) {
	secrets := map[string]string{}
	for _, what := range []string{"right", "wrong", "expired", "must change", "cloud", "lost", "echoed", "misplaced"} {
		secrets[what] = secret()
	}
	w := newWorld(t, []people.Person{
		person("alice", people.Normal, secrets["right"]), person("bob", people.Normal, secrets["lost"]), person("carol", people.Normal, secrets["echoed"]),
		person("expired", people.PasswordExpired, secrets["expired"]), person("mustchange", people.MustChange, secrets["must change"]),
	})
	play := func(want, name, password string) {
		t.Helper()
		if got := w.signIn(name, password); got != want {
			t.Errorf("%s: the page shows %s, not %s", name, got, want)
		}
	}
	play("0", "alice@"+domain, secrets["right"])
	play("0", "ALICE@"+domain, secrets["right"])
	play("50126", "alice@"+domain, secrets["wrong"])
	play("50126", "nobody@"+domain, secrets["wrong"])
	play("50126", "nobody@unknown.example", secrets["wrong"])
	play("50126", `CORP\alice`, secrets["wrong"])
	play("50144", "expired@"+domain, secrets["expired"])
	play("50144", "mustchange@"+domain, secrets["must change"])
	play("50126", w.admin, secrets["cloud"])
	w.wrongForms(secrets["wrong"])
	w.crafted(secrets["echoed"])
	w.lost(secrets["lost"])

	// People type their password where the name belongs, and nothing or the password once more where that belongs, until smart lockout ends it.
	// Names are recorded; see SECURITY.md.
	for _, typed := range []string{secrets["misplaced"], secrets["misplaced"] + "@unknown.example", `UNKNOWN\` + secrets["misplaced"]} {
		b := w.browser()
		b.begin(typed)
		b.password("")
		for range 6 {
			b.password(secrets["misplaced"])
		}
	}

	metrics := w.metrics()
	if !strings.Contains(metrics, "sallyport_") {
		t.Error("the metrics have nothing of Sallyport")
	}
	var log struct{ Items []any }
	if err := w.api.Do(t.Context(), http.MethodGet, admin.Path("tenants", "contoso", "signins")+"?limit=100", nil, &log); err != nil || len(log.Items) < 20 {
		t.Errorf("the sign-in log has %d records, %v", len(log.Items), err)
	}
	if len(w.broker.bytes()) < 10_000 || !strings.Contains(string(w.broker.bytes()), "sallyport.") {
		t.Errorf("only %d bytes were heard at the broker", len(w.broker.bytes()))
	}

	search := func(when string) {
		for what, password := range secrets {
			c := must[*canary.Canary](t)(canary.New(password))
			found := append(w.look(c), c.Search("the metrics", []byte(metrics))...)
			if what == "misplaced" {
				w.misplaced(when, found)
				continue
			}
			for _, f := range found {
				t.Errorf("%s: the password %q: %s", when, what, f)
			}
		}
	}
	search("while it runs")
	core := w.core(secrets["right"])
	w.stop()
	for _, a := range w.agents {
		a.Stop(patience)
	}
	w.sample.Stop(patience)
	search("when it has ended")
	t.Log(core)
}

// wrongForms posts what no browser posts.
func (w *world) wrongForms(password string) {
	w.t.Helper()
	escaped := url.QueryEscape(password)
	for what, body := range map[string]string{
		"too large": "password=" + escaped + "&more=" + strings.Repeat("x", 1<<20), "twice": "password=" + escaped + "&password=" + escaped,
		"a broken escape": "password=" + escaped + "%zz", "NUL": "password=" + escaped + "%00", "not text": "password=" + escaped + "%ff%fe",
		"too long": "password=" + strings.Repeat(escaped, 40), "another field": "passwort=" + escaped, "as a key": escaped + "=password",
		"as the attempt": "attempt=" + escaped + "&password=" + escaped,
	} {
		b := w.browser()
		b.begin("alice@" + domain)
		if status := b.send(http.MethodPost, b.at.String(), body); strings.HasPrefix(b.at.String(), w.sampleURL) {
			w.t.Errorf("a form that is wrong (%s) led on: %d", what, status)
		}
	}
	for _, kind := range []string{"multipart/form-data; boundary=x", "application/json", "text/plain"} {
		b := w.browser()
		b.begin("alice@" + domain)
		req := must[*http.Request](w.t)(http.NewRequestWithContext(w.t.Context(), http.MethodPost, b.at.String(), strings.NewReader("{\"password\":\""+password+"\"}")))
		req.Header.Set("Content-Type", kind)
		resp := must[*http.Response](w.t)(b.http.Do(req))
		_ = resp.Body.Close()
		if resp.StatusCode < 400 {
			w.t.Errorf("a form as %s was answered with %s", kind, resp.Status)
		}
	}
	// A method that does not fit, to an address that does not exist.
	b := w.browser()
	b.begin("alice@" + domain)
	b.send(http.MethodPost, w.cfg.PublicURL+"/t/contoso/nowhere", "password="+escaped)
	b.send(http.MethodPost, w.cfg.PublicURL+"/t/contoso/oauth2/token", "grant_type=password&username=alice&password="+escaped)
}

// crafted has the directory answer binds with what no directory says, the password among it.
func (w *world) crafted(password string) {
	w.t.Helper()
	const words = "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 52e, v3839 "
	for what, answer := range map[string]func(id int64, password string) []byte{
		"the password in a wrong one's words":    func(id int64, p string) []byte { return answered(id, 49, words+p) },
		"the password in unknown words":          func(id int64, p string) []byte { return answered(id, 49, p) },
		"the password with a strange code":       func(id int64, p string) []byte { return answered(id, 80, "operation failed for "+p) },
		"the password with a code of no meaning": func(id int64, p string) []byte { return answered(id, 4711, p) },
		"half a message":                         func(id int64, p string) []byte { b := answered(id, 49, p); return append(b[:2], b[len(b)/2:]...) },
		"no LDAP at all":                         func(_ int64, p string) []byte { return []byte("HTTP/1.1 400 Bad Request: " + p + "\r\n\r\n") },
		"a message without an operation":         func(id int64, p string) []byte { return []byte{0x30, 3, 2, 1, byte(id)} },
		"an operation without a code":            func(id int64, p string) []byte { return []byte{0x30, 5, 2, 1, byte(id), 0x61, 0} },
		"a code that is text": func(id int64, p string) []byte {
			return append([]byte{0x30, byte(7 + len(p)), 2, 1, byte(id), 0x61, byte(2 + len(p)), 4, byte(len(p))}, p...)
		},
	} {
		w.middle.bind(func(id int64, p []byte) ([]byte, bool) { return answer(id, string(p)), false })
		if got := w.signIn("carol@"+domain, password); got == "0" {
			w.t.Errorf("%s was taken for a yes", what)
		}
		w.middle.bind(nil)
	}
	w.await("the directory to be trusted again", func() bool { return w.signIn("alice@"+domain, password) == "50126" })
}

// lost loses agents and the directory while a check is under way.
func (w *world) lost(password string) {
	w.t.Helper()
	var once sync.Once
	holding, release := make(chan struct{}), make(chan struct{})
	w.middle.bind(func(int64, []byte) ([]byte, bool) {
		once.Do(func() { close(holding) })
		<-release
		return nil, false
	})
	b := w.browser()
	b.begin("bob@" + domain)
	ended := make(chan string)
	go func() { ended <- b.password(password) }()
	<-holding
	for _, a := range w.agents { // whichever has it
		a.Kill()
	}
	if got := <-ended; got == "0" || got == "50126" {
		w.t.Errorf("an agent killed in the middle of a check: the page shows %s", got)
	}
	close(release)
	w.middle.bind(nil)
	w.awaitAgents(0)
	if got := w.signIn("bob@"+domain, password); got != "80001" && got != "90021" { // the second when the gateway has not yet told the broker
		w.t.Errorf("without agents the page shows %s", got)
	}
	for i := range w.agents {
		w.startAgent(i)
	}
	w.awaitAgents(agents)
	// The directory drops the connection in place of an answer, and then is gone.
	w.middle.bind(func(int64, []byte) ([]byte, bool) { return nil, false })
	if got := w.signIn("bob@"+domain, password); got == "0" || got == "50126" {
		w.t.Errorf("a directory that hangs up: the page shows %s", got)
	}
	w.middle.bind(nil)
	w.middle.close()
	if got := w.signIn("bob@"+domain, password); got == "0" || got == "50126" {
		w.t.Errorf("a directory that is gone: the page shows %s", got)
	}
	w.middle.listen(w.t)
	w.await("the directory to be back", func() bool { return w.signIn("bob@"+domain, password) == "0" })
}

// misplaced checks that a password typed as a name is where names are, and nowhere else.
func (w *world) misplaced(when string, found []canary.Finding) {
	places := map[string]bool{}
	for _, f := range found {
		place := f.Name
		if strings.HasPrefix(place, filepath.Join(w.dir, "service", "sallyport.db")) {
			place = "the database"
		}
		places[place] = true
	}
	w.t.Logf("%s, a password typed as a name is in %v", when, places)
	for place := range places {
		if place != "the database" && place != "the pages" {
			w.t.Errorf("%s: a password typed as a name is in %s", when, place)
		}
	}
	if !places["the database"] {
		w.t.Errorf("%s: a typed name is not in the database; does this search look at the right one?", when)
	}
}

// core aborts an agent that has just finished a check, and searches its core for the password.
func (w *world) core(password string) string {
	w.t.Helper()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.HasPrefix(string(pattern), "|") || strings.ContainsAny(string(pattern), "/%") {
		return fmt.Sprintf("cores were not searched: the kernel's core_pattern is %q (%v)", pattern, err)
	}
	for _, a := range w.agents[1:] {
		a.Stop(patience)
	}
	w.awaitAgents(1)
	if got := w.signIn("alice@"+domain, password); got != "0" {
		w.t.Errorf("before the core: the page shows %s", got)
	}
	if err := syscall.Kill(w.agents[0].PID(), syscall.SIGABRT); err != nil {
		w.t.Fatal(err)
	}
	<-w.agents[0].Done()
	entries := must[[]os.DirEntry](w.t)(os.ReadDir(filepath.Join(w.cores, "agent-1")))
	if len(entries) == 0 {
		return "cores were not searched: none was written"
	}
	c, known := must[*canary.Canary](w.t)(canary.New(password)), must[*canary.Canary](w.t)(canary.New(w.state(0)))
	size, seen := int64(0), 0
	for _, e := range entries {
		file := filepath.Join(w.cores, "agent-1", e.Name())
		size += must[os.FileInfo](w.t)(e.Info()).Size()
		for _, f := range must[[]canary.Finding](w.t)(c.File(file)) {
			w.t.Errorf("the password of a check that is over is in a core: %s", f)
		}
		seen += len(must[[]canary.Finding](w.t)(known.File(file)))
	}
	if seen == 0 {
		w.t.Error("the agent's own arguments are not in its core: is it one?")
	}
	return fmt.Sprintf("a core of %d MB was searched", size>>20)
}
