package kerberos_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

const agentAccount = "AGENT1$"

func (w world) armored(t *testing.T, kdc string) *kerberos.Validator {
	return w.validator(t, func(c *kerberos.Config) { c.KDCs, c.Armor = []string{kdc}, agentAccount })
}

// tapped is what went by on the way to a KDC.
type tapped struct {
	request messages.ASReq
	reply   []byte
}

// tap is somebody on the network between who reads everything, and changes what change says.
type tap struct {
	address string
	mu      sync.Mutex
	seen    []tapped
}

// change gets a person's request, the how manieth it is, and the KDC's answer, if ask is called; nil leaves all as it is.
type change func(n int, request []byte, ask func([]byte) []byte) []byte

func tapBefore(t *testing.T, kdc string, c change) *tap {
	tp := &tap{}
	n := 0
	tp.address = rogue(t, func(t *testing.T, b []byte) []byte {
		var request messages.ASReq
		if err := request.Unmarshal(b); err != nil {
			t.Error(err)
		}
		ask := func(b []byte) []byte { return forward(t, kdc, b) }
		var reply []byte
		if c == nil || request.ReqBody.CName.NameString[0] == agentAccount {
			reply = ask(b)
		} else {
			n++
			reply = c(n, b, ask)
		}
		tp.mu.Lock()
		defer tp.mu.Unlock()
		tp.seen = append(tp.seen, tapped{request, reply})
		return reply
	})
	return tp
}

func (tp *tap) all() []tapped {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return append([]tapped(nil), tp.seen...)
}

// With armour nobody on the network sees a proof, and the agent's own ticket serves many exchanges. A wrong password still counts once.
func TestArmor(t *testing.T) {
	w := start(t)
	tp := tapBefore(t, w.dc.Addr, nil)
	v := w.armored(t, tp.address)
	if v.Armor() != agentAccount {
		t.Error(v.Armor())
	}
	for i, password := range []string{people.RightPassword, people.WrongPassword} {
		r, err := v.Validate(t.Context(), ask("bob@"+w.dc.UPNSuffix, password).Check)
		if err != nil || r.Verdict.Reason != []wire.Reason{wire.Accepted, wire.BadPassword}[i] {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if n, err := w.dc.BadPwdCount(t.Context(), "bob"); err != nil || n != 1 {
		t.Errorf("counted %d, %v", n, err)
	}
	seen := tp.all()
	if len(seen) != 5 {
		t.Fatalf("%d messages: want the agent's own, and two for each password", len(seen))
	}
	for i, m := range seen {
		own := m.request.ReqBody.CName.NameString[0] == agentAccount
		if own != (i == 0) || m.request.PAData.Contains(2) != own || m.request.PAData.Contains(138) || m.request.PAData.Contains(136) == own || !own && len(m.request.PAData) != 1 {
			t.Errorf("message %d: %+v", i, m.request.PAData)
		}
	}
	if l := v.Look(t.Context())[0]; l.Err != nil || l.Took <= 0 {
		t.Errorf("%+v", l)
	}
	if _, err := kerberos.New(kerberos.Config{KDCs: []string{"kdc"}, Realm: realm, Unproven: true, Armor: agentAccount}); err == nil {
		t.Error("armour without a keytab")
	}
	if _, err := kerberos.New(kerberos.Config{KDCs: []string{"kdc"}, Keytab: w.keytab, UDP: true, Armor: agentAccount}); err == nil {
		t.Error("armour by UDP")
	}
}

// Whoever changes something on the way is found out, before any password is judged or after: nobody is told yes or no.
func TestArmorHolds(t *testing.T) {
	w := start(t)
	name := "bob@" + w.dc.UPNSuffix
	earlier := tapBefore(t, w.dc.Addr, nil)
	if r, err := w.armored(t, earlier.address).Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || r.Verdict.Reason != wire.Accepted {
		t.Fatalf("%+v, %v", r, err)
	}
	old := earlier.all()
	edit := func(b []byte, how func(*messages.ASReq)) []byte {
		var request messages.ASReq
		must(t, request.Unmarshal(b))
		how(&request)
		b, err := request.Marshal()
		must(t, err)
		return b
	}
	rename := func(r *messages.ASReq) { r.ReqBody.CName.NameString = []string{"alice@" + w.dc.UPNSuffix} }
	strip := func(r *messages.ASReq) { r.PAData = nil }
	for what, c := range map[string]struct {
		change
		code   wire.Code
		fenced bool
		says   string
	}{
		"no such person, somebody says": {func(int, []byte, func([]byte) []byte) []byte { return refusal(t, 6, nil) },
			wire.DirectoryUnreachable, false, "without armour: KDC_ERR_C_PRINCIPAL_UNKNOWN"},
		"the armour is taken off": {func(_ int, b []byte, ask func([]byte) []byte) []byte { return ask(edit(b, strip)) },
			wire.DirectoryUnreachable, false, "without armour: KDC_ERR_PREAUTH_REQUIRED"},
		"an old answer": {func(int, []byte, func([]byte) []byte) []byte { return old[1].reply },
			wire.DirectoryUnreachable, false, "not sealed with the armour's key"},
		"a wrong password, somebody says": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			if n == 1 {
				return ask(b)
			}
			return refusal(t, 24, nil)
		}, wire.DirectoryUnusable, true, "without armour: KDC_ERR_PREAUTH_FAILED"},
		"an old yes": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			if n == 1 {
				return ask(b)
			}
			return old[2].reply
		}, wire.DirectoryUnusable, true, "not sealed with the armour's key"},
		"one bit of the yes": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			reply := ask(b)
			if n == 2 {
				reply[len(reply)/2] ^= 1
			}
			return reply
		}, wire.DirectoryUnusable, true, ""},
		"the answer to the question, for that to the proof": {func() change {
			var first []byte
			return func(n int, b []byte, ask func([]byte) []byte) []byte {
				if n == 1 {
					first = ask(b)
				}
				return first
			}
		}(), wire.DirectoryUnusable, true, "it is to another question"},
		"another ticket": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			return editYes(t, ask(b), func(r *messages.ASRep) {
				var other messages.ASRep
				must(t, other.Unmarshal(old[2].reply))
				r.Ticket = other.Ticket
			})
		}, wire.DirectoryUnusable, true, "the ticket is another one"},
		"another person in the yes": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			return editYes(t, ask(b), func(r *messages.ASRep) { r.CName.NameString = []string{"alice"} })
		}, wire.DirectoryUnusable, true, "the ticket is for another person"},
		"the proof is somebody else's": {func(n int, b []byte, ask func([]byte) []byte) []byte {
			if n == 1 {
				return ask(b)
			}
			return ask(edit(b, rename))
		}, wire.DirectoryUnusable, true, ""},
	} {
		tp := tapBefore(t, w.dc.Addr, c.change)
		check := ask(name, people.RightPassword)
		r, err := w.armored(t, tp.address).Validate(t.Context(), check.Check)
		if err == nil {
			t.Errorf("%s: %+v", what, r.Verdict)
			continue
		}
		if e := trouble(t, err); e.Code != c.code || e.Fenced != c.fenced || (check.Fences.Load() > 0) != c.fenced || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// editYes changes an AS-REP and leaves other answers alone.
func editYes(t *testing.T, reply []byte, how func(*messages.ASRep)) []byte {
	var r messages.ASRep
	if r.Unmarshal(reply) != nil {
		return reply
	}
	how(&r)
	b, err := r.Marshal()
	must(t, err)
	return b
}

// Whoever has the agent ask for a ticket of a service of his own, in place of the ticket-granting one, would know the key of all that is armoured with it.
func TestOwnTicketIsAGrantingOne(t *testing.T) {
	w := start(t)
	keytabOf(t, w.dc, "agent2")
	address := rogue(t, func(t *testing.T, b []byte) []byte {
		var request messages.ASReq
		must(t, request.Unmarshal(b))
		if request.ReqBody.CName.NameString[0] == agentAccount {
			request.ReqBody.SName.NameString = []string{"host", "agent2." + w.dc.UPNSuffix}
			var err error
			b, err = request.Marshal()
			must(t, err)
		}
		return forward(t, w.dc.Addr, b)
	})
	_, err := w.armored(t, address).Validate(t.Context(), ask("alice@"+w.dc.UPNSuffix, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced || !strings.Contains(err.Error(), "no ticket-granting one") {
		t.Error(err)
	}
}

// Somebody before one KDC cannot take the agent's ticket away from the others, nor from itself while it is good.
func TestOwnTicketOutlastsRefusals(t *testing.T) {
	w := start(t)
	name := "alice@" + w.dc.UPNSuffix
	var hostile atomic.Bool
	address := rogue(t, func(t *testing.T, b []byte) []byte {
		var request messages.ASReq
		must(t, request.Unmarshal(b))
		if hostile.Load() {
			return refusal(t, 24, nil)
		}
		return forward(t, w.dc.Addr, b)
	})
	v := w.validator(t, func(c *kerberos.Config) { c.KDCs, c.Armor = []string{address, w.dc.Addr}, agentAccount })
	for _, now := range []bool{false, true, true} {
		hostile.Store(now)
		r, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check)
		if err != nil || r.Verdict.Reason != wire.Accepted {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	// The one that it has serves on where a KDC gives it no other.
	var refuses, once atomic.Bool
	alone := w.armored(t, rogue(t, func(t *testing.T, b []byte) []byte {
		var request messages.ASReq
		must(t, request.Unmarshal(b))
		if own := request.ReqBody.CName.NameString[0] == agentAccount; refuses.Load() && (own || once.CompareAndSwap(false, true)) {
			return refusal(t, 24, nil)
		}
		return forward(t, w.dc.Addr, b)
	}))
	for range 2 {
		if r, err := alone.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || r.Verdict.Reason != wire.Accepted {
			t.Errorf("%+v, %v", r, err)
		}
		refuses.Store(true)
	}
	if !once.Load() {
		t.Error("nothing was refused")
	}
	// And where it has none yet, the next KDC gives it one.
	v = w.validator(t, func(c *kerberos.Config) { c.KDCs, c.Armor = []string{address, w.dc.Addr}, agentAccount })
	if r, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || r.Verdict.Reason != wire.Accepted || r.DC == address {
		t.Errorf("%+v, %v", r, err)
	}
}

// A ticket that KDCs take no more is replaced before anybody notices; a refusal of the agent's own account is told, and not repeated at once.
func TestOwnTicket(t *testing.T) {
	w := start(t)
	name := "alice@" + w.dc.UPNSuffix
	stale := tapBefore(t, w.dc.Addr, func(n int, b []byte, ask func([]byte) []byte) []byte {
		if n == 1 {
			return refusal(t, 31, nil)
		}
		return ask(b)
	})
	if r, err := w.armored(t, stale.address).Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || r.Verdict.Reason != wire.Accepted {
		t.Errorf("%+v, %v", r, err)
	}
	if n := len(stale.all()); n != 5 {
		t.Errorf("%d messages", n)
	}
	unknown := w.validator(t, func(c *kerberos.Config) { c.Armor = "NOBODY$" })
	_, err := unknown.Validate(t.Context(), ask(name, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnusable || e.Fenced || !strings.Contains(err.Error(), "refuses NOBODY$@CORP.EXAMPLE.COM") {
		t.Error(err)
	}
	late := w.armored(t, rogue(t, func(*testing.T, []byte) []byte {
		e := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"krbtgt", realm}}, realm, 37, "")
		e.STime = time.Now().UTC().Add(10 * time.Minute)
		b, err := e.Marshal()
		must(t, err)
		return b
	}))
	_, err = late.Validate(t.Context(), ask(name, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.ClockSkew || e.Fenced {
		t.Error(err)
	}

	must(t, w.dc.SetPassword(t.Context(), agentAccount, []byte("Another-Key-1")))
	tp := tapBefore(t, w.dc.Addr, nil)
	v := w.armored(t, tp.address)
	for range 2 {
		_, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check)
		if e := trouble(t, err); e.Code != wire.DirectoryUnusable || e.Fenced || !strings.Contains(err.Error(), "the key in the keytab is not that of the account: export it anew (AGENT1$@CORP.EXAMPLE.COM)") {
			t.Error(err)
		}
	}
	if n := len(tp.all()); n != 1 {
		t.Errorf("the agent's account was tried %d times", n)
	}
	if l := v.Look(t.Context())[0]; l.Err == nil {
		t.Errorf("%+v", l)
	}
}
