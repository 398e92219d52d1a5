package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// counter is the whole system before a domain controller that counts. Every play has a person of its own, so that neither smart
// lockout nor the agents' limits of one name get into the way of the next.
type counter struct {
	w      *World
	dc     *samba.DC
	people int
	// handed are those whose one check was handed over: for them one must have counted, now and at the end.
	handed []string
}

// fresh makes somebody whose sAMAccountName is not the first part of the UPN.
func (c *counter) fresh(t *testing.T) (sam, upn string) {
	t.Helper()
	c.people++
	sam, upn = fmt.Sprintf("count%02d", c.people), fmt.Sprintf("Count.Person%02d@%s", c.people, c.dc.UPNSuffix)
	if err := c.dc.CreateUser(t.Context(), people.Person{SAM: sam, UPN: upn, Password: wire.NewSecret([]byte(people.RightPassword))}); err != nil {
		t.Fatal(err)
	}
	c.counts(t, sam, 0)
	return sam, upn
}

// counts demands what the domain controller has counted.
func (c *counter) counts(t *testing.T, sam string, want int) {
	t.Helper()
	if got, err := c.dc.BadPwdCount(t.Context(), sam); err != nil || got != want {
		t.Errorf("the domain controller has counted %d wrong passwords of %s, not %d (%v)", got, sam, want, err)
	}
}

// signIn plays the pages and demands the number on the last one, 0 for somebody who was signed in.
func (c *counter) signIn(t *testing.T, name, password string, want ...int) {
	t.Helper()
	transport, err := c.w.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	saw, err := visitor.New(c.w.app(), transport).SignIn(t.Context(), name, password)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		if saw.Code == w && (saw.SignedIn != "") == (w == 0) {
			return
		}
	}
	t.Errorf("%s: the page ends with %+v, not with %v", name, saw, want)
}

// TestCountsOnce: one typed password is one bind. badPwdCount of a real domain controller is read before and after every kind of
// sign-in through the whole path.
func TestCountsOnce(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{LockoutThreshold: 500})
	c := &counter{dc: dc, w: startWorld(t, Options{Directory: dc.LDAPS(), CAFile: dc.CAFile})}
	const right, wrong = people.RightPassword, people.WrongPassword
	suffix := "@" + dc.UPNSuffix

	for _, play := range []struct {
		name  string
		typed func(sam, upn string) string
		// page and counted are what a wrong password leads to.
		page, counted int
	}{
		{"the UPN", func(_, upn string) string { return upn }, 50126, 1},
		{"the UPN in capitals", func(_, upn string) string { return strings.ToUpper(upn) }, 50126, 1},
		{"the UPN in small letters", func(_, upn string) string { return strings.ToLower(upn) }, 50126, 1},
		{"the UPN with spaces around it", func(_, upn string) string { return "  " + upn + "\t" }, 50126, 1},
		{"the account's name before the domain's", func(sam, _ string) string { return sam + suffix }, 50126, 1},
		{"the account's name in capitals before the domain's", func(sam, _ string) string { return strings.ToUpper(sam + suffix) }, 50126, 1},
		{"the down-level name", func(sam, _ string) string { return dc.NetBIOS + `\` + sam }, 50126, 0},
		{"the account's name alone", func(sam, _ string) string { return sam }, 50126, 0},
		{"the account's name before the short domain", func(sam, _ string) string { return sam + "@" + dc.NetBIOS }, 50126, 0},
		{"another domain", func(sam, _ string) string { return sam + "@unknown.example" }, 50126, 0},
		{"the account's DN", func(sam, _ string) string { return dc.DN(people.Person{SAM: sam}) }, 50126, 0},
	} {
		t.Run(play.name, func(t *testing.T) {
			sam, upn := c.fresh(t)
			c.signIn(t, play.typed(sam, upn), wrong, play.page)
			c.counts(t, sam, play.counted)
			c.signIn(t, play.typed(sam, upn), wrong, play.page)
			c.counts(t, sam, 2*play.counted)
		})
	}
	t.Run("right, and right after wrong", func(t *testing.T) {
		sam, upn := c.fresh(t)
		c.signIn(t, upn, right, 0)
		c.counts(t, sam, 0)
		c.signIn(t, upn, wrong, 50126)
		c.counts(t, sam, 1)
		c.signIn(t, upn, right, 0)
		c.counts(t, sam, 0)
		c.signIn(t, sam+suffix, right, 0)
		c.counts(t, sam, 0)
	})
	for what, password := range map[string]string{"empty": "", "NUL": "\x00", "NUL behind the right one": right + "\x00", "NUL within": right + "\x00" + wrong,
		"longer than any": strings.Repeat("x", 1025), "larger than a form may be": strings.Repeat("x", 1<<20)} {
		t.Run("a password that is "+what, func(t *testing.T) {
			sam, upn := c.fresh(t)
			c.refused(t, upn, password)
			c.counts(t, sam, 0)
		})
	}
	t.Run("smart lockout", c.lockedOut)
	t.Run("handed over before the fence", c.handedOver)
	t.Run("the domain controller down and up", func(t *testing.T) {
		sam, upn := c.fresh(t)
		dc.Kill()
		c.signIn(t, upn, wrong, 80007, 80002, 90020)
		if err := dc.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.counts(t, sam, 0)
		c.returned(t, sam, upn)
	})
	t.Run("no agent", func(t *testing.T) {
		sam, upn := c.fresh(t)
		c.w.StopAgents()
		if err := c.w.AwaitAgents(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		c.signIn(t, upn, wrong, 80001)
		c.counts(t, sam, 0)
		for _, sam := range c.handed { // the agents have finished whatever they had
			c.counts(t, sam, 1)
		}
	})
	t.Run("envelopes", c.envelopes)
}

// refused demands that nobody is signed in, whatever the page says.
func (c *counter) refused(t *testing.T, name, password string) {
	t.Helper()
	transport, err := c.w.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	saw, err := visitor.New(c.w.app(), transport).SignIn(t.Context(), name, password)
	if err != nil || saw.SignedIn != "" || saw.Code == 0 && saw.Status < 400 {
		t.Errorf("%s: %+v, %v", name, saw, err)
	}
}

// lockedOut reaches the threshold of smart lockout: from then on the domain controller is not asked, not even with the right
// password.
func (c *counter) lockedOut(t *testing.T) {
	const threshold = 4 // service.Defaults
	sam, upn := c.fresh(t)
	for range threshold {
		c.signIn(t, upn, people.WrongPassword, 50126)
	}
	c.counts(t, sam, threshold)
	for range 3 {
		c.signIn(t, upn, people.WrongPassword, 50126)
	}
	c.signIn(t, upn, people.RightPassword, 50126)
	c.counts(t, sam, threshold) // a right password that had got through would have set it to 0
	record, err := c.w.newest(t.Context(), upn)
	if err != nil || record.Code != wire.AccountLockedOut || record.Agent != "" {
		t.Errorf("the log has %+v, %v", record, err)
	}
}

// handedOver stops two of the three agents' processes, as a host does that stands still: what they were offered is lost before the
// fence and handed over. When they go on, they find the envelopes; but nobody says go any more.
func (c *counter) handedOver(t *testing.T) {
	logFile := filepath.Join(c.w.data, "service.log")
	handovers := func() int {
		raw, err := os.ReadFile(logFile)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(raw), "check handed over to another agent")
	}
	before := handovers()
	for _, a := range c.w.agents[:2] {
		if err := a.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	for try := 0; handovers() == before; try++ {
		if try == 5 {
			t.Fatal("of five sign-ins none was handed over, although two of three agents stand still")
		}
		sam, upn := c.fresh(t)
		c.signIn(t, upn, people.WrongPassword, 50126)
		c.handed = append(c.handed, sam)
		c.counts(t, sam, 1)
	}
	for _, a := range c.w.agents[:2] {
		if err := a.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.w.AwaitAgents(t.Context(), agentCount); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one person would be locked before every agent has had two
		sam, upn := c.fresh(t)
		for range agentCount {
			c.signIn(t, upn, people.WrongPassword, 50126)
		}
		c.counts(t, sam, agentCount)
	}
}

// returned signs in with a wrong password until the agents trust the domain controller again: what fails before that must not count.
func (c *counter) returned(t *testing.T, sam, upn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	transport, err := c.w.transport()
	if err != nil {
		t.Fatal(err)
	}
	for {
		saw, err := visitor.New(c.w.app(), transport).SignIn(ctx, upn, people.WrongPassword)
		if err != nil {
			t.Fatal(err)
		}
		if saw.Code == 50126 {
			c.counts(t, sam, 1)
			return
		}
		c.counts(t, sam, 0)
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// envelopes sends an agent, which has the identity of one that is stopped, what no service in order sends.
func (c *counter) envelopes(t *testing.T) {
	id, err := identity.Open(c.w.agentState(0))
	if err != nil {
		t.Fatal(err)
	}
	validator, err := ldap.New(ldap.Config{Servers: []string{c.dc.LDAPS()}, RootCAs: c.dc.CAPool})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- validator.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	answerer := agent.NewAnswerer(id, validator, agent.Limits{}, nil)
	sam, upn := c.fresh(t)
	seal := func(life time.Duration, password string) (*linkpb.Check, *envelope.Sender) {
		t.Helper()
		binding := envelope.Binding{Tenant: id.Tenant(), Directory: id.Directory(), Agent: id.Agent(), Request: rand.Text(), Expires: time.Now().Add(life)}
		sealed, sender, err := envelope.Seal(id.EnvelopeKey().Public(), binding, envelope.Check{Name: upn, Password: wire.NewSecret([]byte(password))})
		if err != nil {
			t.Fatal(err)
		}
		return &linkpb.Check{RequestId: binding.Request, DirectoryId: id.Directory(), Envelope: sealed}, sender
	}
	check := func(check *linkpb.Check, sender *envelope.Sender) (wire.Code, wire.Answer) {
		t.Helper()
		reply := answerer.Check(t.Context(), check, func(_ context.Context, nonce []byte) ([]byte, error) { return sender.GoToken(nonce), nil })
		if reply.Refused != 0 {
			return reply.Refused, wire.Answer{}
		}
		answer, err := sender.OpenAnswer(reply.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		return 0, answer
	}
	genuine, sender := seal(time.Minute, people.WrongPassword)
	if code, answer := check(genuine, sender); code != 0 || answer.Verdict == nil || answer.Verdict.Reason != wire.BadPassword {
		t.Fatalf("a genuine envelope: %d, %+v", code, answer)
	}
	c.counts(t, sam, 1)
	for what, send := range map[string]func() wire.Code{
		"replayed": func() wire.Code { code, _ := check(genuine, sender); return code },
		"expired": func() wire.Code {
			code, _ := check(seal(-time.Second, people.WrongPassword))
			return code
		},
		"valid for too long": func() wire.Code {
			code, _ := check(seal(envelope.MaxLife+time.Minute, people.WrongPassword))
			return code
		},
		"without a password": func() wire.Code { code, _ := check(seal(time.Minute, "")); return code },
		"with NUL":           func() wire.Code { code, _ := check(seal(time.Minute, people.RightPassword+"\x00")); return code },
		"of another sender's go": func() wire.Code {
			envelopeOfOne, own := seal(time.Minute, people.WrongPassword)
			_, other := seal(time.Minute, people.WrongPassword)
			reply := answerer.Check(t.Context(), envelopeOfOne, func(_ context.Context, nonce []byte) ([]byte, error) { return other.GoToken(nonce), nil })
			answer, err := own.OpenAnswer(reply.Sealed)
			if err != nil || answer.Trouble == nil || answer.Trouble.Fenced {
				t.Errorf("a go that another sender has made: %+v, %v", answer, err)
				return 0
			}
			return answer.Trouble.Code
		},
		"of a service that never says go": func() wire.Code {
			silent, own := seal(time.Minute, people.WrongPassword)
			reply := answerer.Check(t.Context(), silent, func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") })
			answer, err := own.OpenAnswer(reply.Sealed)
			if err != nil || answer.Trouble == nil || answer.Trouble.Fenced {
				t.Errorf("no go: %+v, %v", answer, err)
				return 0
			}
			return answer.Trouble.Code
		},
	} {
		if code := send(); code == 0 {
			t.Errorf("an envelope %s was worked on", what)
		}
		c.counts(t, sam, 1)
	}
}
