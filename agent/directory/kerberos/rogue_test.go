package kerberos_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// rogue is somebody on the network who answers in a KDC's place.
func rogue(t *testing.T, answer func(t *testing.T, request []byte) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if request, err := receive(c); err == nil {
				if reply := answer(t, request); reply != nil {
					_ = send(c, reply)
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func receive(c net.Conn) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

func send(c net.Conn, b []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// forward asks a real KDC.
func forward(t *testing.T, kdc string, request []byte) []byte {
	c, err := net.Dial("tcp", net.JoinHostPort(kdc, "88"))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	if err := send(c, request); err != nil {
		t.Error(err)
	}
	b, err := receive(c)
	if err != nil {
		t.Error(err)
	}
	return b
}

const (
	realm = "CORP.EXAMPLE.COM"
	salt  = realm + "alice"
)

// liar is a KDC without any secret but a password that its accomplice chose and types: Zanarotti's attack. ticket, if set, is what it hands out; else it
// makes one under a key of its own.
type liar struct {
	password string
	ticket   *messages.Ticket
	session  types.EncryptionKey // that it says is in the ticket
	nonce    int                 // added to the right one
	client   string              // in place of alice
	late     time.Duration
}

func (l liar) answer(t *testing.T, b []byte) []byte {
	var request messages.ASReq
	if err := request.Unmarshal(b); err != nil {
		t.Error(err)
		return nil
	}
	if !request.PAData.Contains(2) {
		return refusal(t, 25, hints(t, etypeInfo{18, salt, nil}))
	}
	e, err := crypto.GetEtype(18)
	if err != nil {
		t.Error(err)
		return nil
	}
	value, err := e.StringToKey(l.password, salt, "00001000")
	if err != nil {
		t.Error(err)
	}
	key := types.EncryptionKey{KeyType: 18, KeyValue: value}
	own, err := types.GenerateEncryptionKey(e)
	if err != nil {
		t.Error(err)
	}
	if l.session.KeyType == 0 {
		l.session = own
	}
	if l.client == "" {
		l.client = "alice"
	}
	name := types.PrincipalName{NameType: 1, NameString: []string{l.client}}
	now := time.Now().UTC().Add(l.late).Truncate(time.Second)
	if l.ticket == nil {
		plain, err := asn1.Marshal(messages.EncTicketPart{Flags: types.NewKrbFlags(), Key: l.session, CRealm: realm, CName: name, AuthTime: now, EndTime: now.Add(time.Hour)})
		if err != nil {
			t.Error(err)
		}
		sealed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(plain, asnAppTag.EncTicketPart), own, keyusage.KDC_REP_TICKET, 1)
		if err != nil {
			t.Error(err)
		}
		l.ticket = &messages.Ticket{TktVNO: 5, Realm: realm, SName: request.ReqBody.SName, EncPart: sealed}
	}
	part := messages.EncKDCRepPart{Key: l.session, LastReqs: []messages.LastReq{{LRValue: now}}, Nonce: request.ReqBody.Nonce + l.nonce, Flags: types.NewKrbFlags(),
		AuthTime: now, EndTime: now.Add(time.Hour), SRealm: realm, SName: request.ReqBody.SName}
	plain, err := part.Marshal()
	if err != nil {
		t.Error(err)
	}
	sealed, err := crypto.GetEncryptedData(plain, key, keyusage.AS_REP_ENCPART, 1)
	if err != nil {
		t.Error(err)
	}
	rep := messages.ASRep{KDCRepFields: messages.KDCRepFields{PVNO: 5, MsgType: 11, CRealm: realm, CName: name, Ticket: *l.ticket, EncPart: sealed}}
	reply, err := rep.Marshal()
	if err != nil {
		t.Error(err)
	}
	return reply
}

type etypeInfo struct {
	Kind   int32  `asn1:"explicit,tag:0"`
	Salt   string `asn1:"explicit,optional,generalstring,tag:1"`
	Params []byte `asn1:"explicit,optional,tag:2"`
}

// hints is the e-data of a demand for proof.
func hints(t *testing.T, entries ...etypeInfo) []byte {
	value, err := asn1.Marshal(entries)
	if err != nil {
		t.Error(err)
	}
	b, err := asn1.Marshal(types.MethodData{{PADataType: 19, PADataValue: value}})
	if err != nil {
		t.Error(err)
	}
	return b
}

func refusal(t *testing.T, number int32, edata []byte) []byte {
	e := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"krbtgt", realm}}, realm, number, "")
	e.EData = edata
	b, err := e.Marshal()
	if err != nil {
		t.Error(err)
	}
	return b
}

// capture takes a ticket for the agent's service from the network: alice's own, or that of somebody whom the attacker is.
func capture(t *testing.T, w world, name string) *messages.Ticket {
	t.Helper()
	var ticket atomic.Pointer[messages.Ticket]
	tap := rogue(t, func(t *testing.T, request []byte) []byte {
		b := forward(t, w.dc.Addr, request)
		var rep messages.ASRep
		if rep.Unmarshal(b) == nil {
			ticket.Store(&rep.Ticket)
		}
		return b
	})
	v := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{tap} })
	if r, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil || !r.Verdict.Reason.Right() || ticket.Load() == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	return ticket.Load()
}

// Nobody on the network between can make the agent say yes.
func TestRogueKDC(t *testing.T) {
	w := start(t)
	name := "alice@" + w.dc.UPNSuffix
	const chosen = "Attackers-Own-1"
	other := keytabOf(t, w.dc, "agent2")
	seen := capture(t, w, name)
	for what, c := range map[string]struct {
		liar
		says string
	}{
		"Zanarotti: a false KDC and a password of its own": {liar{password: chosen}, "not sealed with the key of host/agent1"},
		"with a genuine ticket of the victim":              {liar{password: chosen, ticket: seen}, "made for somebody else"},
		"that knows no password":                           {liar{password: "another"}, "not sealed with the password's key"},
		"that answers another question":                    {liar{password: chosen, nonce: 1}, "another question"},
		"that answers at another time":                     {liar{password: chosen, late: -time.Hour}, "another time"},
	} {
		v := w.validator(t, func(k *kerberos.Config) { k.KDCs = []string{rogue(t, c.answer)} })
		r, err := v.Validate(t.Context(), ask(name, chosen).Check)
		if e := trouble(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced || r.Verdict.Reason != "" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("a KDC %s: %+v, %v", what, r, err)
		}
	}
	// The same false KDC has its way with an agent that was told not to care: that is what --kerberos-unproven means.
	careless, err := kerberos.New(kerberos.Config{KDCs: []string{rogue(t, liar{password: chosen}.answer)}, Realm: realm, Unproven: true})
	must(t, err)
	if r, err := careless.Validate(t.Context(), ask(name, chosen).Check); err != nil || !r.Verdict.Reason.Right() {
		t.Errorf("the attack does not work where it should, so the test above shows nothing: %+v, %v", r, err)
	}

	// A request is changed on its way to ask about the attacker himself, whose password is right.
	renamed := rogue(t, func(t *testing.T, b []byte) []byte {
		var request messages.ASReq
		if err := request.Unmarshal(b); err != nil {
			t.Error(err)
			return nil
		}
		request.ReqBody.CName.NameString = []string{"bob@" + w.dc.UPNSuffix}
		b, err := request.Marshal()
		if err != nil {
			t.Error(err)
		}
		return forward(t, w.dc.Addr, b)
	})
	for _, typed := range []string{name, w.dc.NetBIOS + `\alice`} {
		_, err = w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{renamed} }).Validate(t.Context(), ask(typed, people.RightPassword).Check)
		if e := trouble(t, err); e.Code != wire.DirectoryUnusable || !strings.Contains(err.Error(), "another person") {
			t.Errorf("%v", err)
		}
	}
	if r, err := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{renamed} }).Validate(t.Context(), ask("bob@"+w.dc.UPNSuffix, people.RightPassword).Check); err != nil || !r.Verdict.Reason.Right() {
		t.Errorf("the relay itself does not work: %+v, %v", r, err)
	}

	// And a key that is not the service's.
	tap := rogue(t, func(t *testing.T, b []byte) []byte { return asService(t, w, b) })
	_, err = w.validator(t, func(c *kerberos.Config) { c.Keytab, c.KDCs = other, []string{tap} }).Validate(t.Context(), ask(name, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced {
		t.Errorf("%v", err)
	}
}

// asService forwards a request as one for the first agent's service.
func asService(t *testing.T, w world, b []byte) []byte {
	var request messages.ASReq
	if err := request.Unmarshal(b); err != nil {
		t.Error(err)
		return nil
	}
	request.ReqBody.SName.NameString = []string{"host", "agent1." + w.dc.UPNSuffix}
	b, err := request.Marshal()
	if err != nil {
		t.Error(err)
	}
	return forward(t, w.dc.Addr, b)
}

// What a KDC says before any proof.
func TestBeforeTheProof(t *testing.T) {
	status := func(s uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, s)
		return append(b, 0, 0, 0, 0, 1, 0, 0, 0)
	}
	for what, c := range map[string]struct {
		number int32
		edata  []byte
		reason wire.Reason
		code   wire.Code
	}{
		"unknown":               {6, nil, wire.NoSuchUser, 0},
		"locked":                {18, status(0xC0000234), wire.AccountLocked, 0},
		"disabled, to anybody":  {18, status(0xC0000072), wire.AccountRestricted, 0},
		"hours, to anybody":     {18, status(0xC000006F), wire.AccountRestricted, 0},
		"expired, to anybody":   {23, status(0xC0000071), wire.AccountRestricted, 0},
		"another realm":         {68, nil, "", wire.DirectoryUnreachable},
		"no common encryption":  {14, nil, "", wire.DirectoryUnusable},
		"no hint":               {25, nil, "", wire.DirectoryUnusable},
		"RC4 alone":             {25, hints(t, etypeInfo{23, "", nil}), "", wire.DirectoryUnusable},
		"no entries":            {25, hints(t), "", wire.DirectoryUnusable},
		"no salt":               {25, hints(t, etypeInfo{18, "", nil}), "", wire.DirectoryUnusable},
		"one round":             {25, hints(t, etypeInfo{18, salt, []byte{0, 0, 0, 1}}), "", wire.DirectoryUnusable},
		"four billion rounds":   {25, hints(t, etypeInfo{18, salt, []byte{0, 0, 0, 0}}), "", wire.DirectoryUnusable},
		"a million rounds":      {25, hints(t, etypeInfo{18, salt, []byte{0, 16, 0, 0}}), "", wire.DirectoryUnusable},
		"parameters of 3 bytes": {25, hints(t, etypeInfo{18, salt, []byte{0, 16, 0}}), "", wire.DirectoryUnusable},
		"a long salt":           {25, hints(t, etypeInfo{18, strings.Repeat("x", 2000), nil}), "", wire.DirectoryUnusable},
		"busy":                  {29, nil, "", wire.DirectoryUnreachable},
	} {
		var proofs atomic.Int32
		v, err := kerberos.New(kerberos.Config{Realm: realm, Unproven: true, KDCs: []string{rogue(t, func(t *testing.T, b []byte) []byte {
			var request messages.ASReq
			if request.Unmarshal(b) != nil || request.PAData.Contains(2) {
				proofs.Add(1)
			}
			return refusal(t, c.number, c.edata)
		})}})
		must(t, err)
		check := ask("alice@corp.example.com", "secret")
		r, err := v.Validate(t.Context(), check.Check)
		if c.code == 0 && (err != nil || r.Verdict.Reason != c.reason || r.Verdict.Win32 == 0 || check.Fences.Load() != 1) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		if c.code != 0 {
			if e := trouble(t, err); e.Code != c.code || e.Fenced || check.Fences.Load() != 0 {
				t.Errorf("%s: %v", what, err)
			}
		}
		if proofs.Load() > 0 {
			t.Errorf("%s: a proof was sent", what)
		}
	}
}

func TestClockIsLookedAtBeforeTheFence(t *testing.T) {
	v, err := kerberos.New(kerberos.Config{Realm: realm, Unproven: true, KDCs: []string{rogue(t, func(t *testing.T, _ []byte) []byte {
		e := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"krbtgt", realm}}, realm, 25, "")
		e.EData, e.STime = hints(t, etypeInfo{18, salt, nil}), time.Now().UTC().Add(10*time.Minute)
		b, err := e.Marshal()
		if err != nil {
			t.Error(err)
		}
		return b
	})}})
	must(t, err)
	_, err = v.Validate(t.Context(), ask("alice@corp.example.com", "x").Check)
	if e := trouble(t, err); e.Code != wire.ClockSkew || e.Fenced {
		t.Error(err)
	}
}

// Garbage instead of a first answer lets the next KDC be asked; instead of the last one it is an honest "may have counted".
func TestGarbage(t *testing.T) {
	for what, reply := range map[string][]byte{"nothing": nil, "bytes": []byte("garbage"), "an AS-REQ": {0x6a, 2, 5, 0}, "half an error": refusal(t, 24, nil)[:20]} {
		v, err := kerberos.New(kerberos.Config{Realm: realm, Unproven: true, KDCs: []string{rogue(t, func(*testing.T, []byte) []byte { return reply })}})
		must(t, err)
		_, err = v.Validate(t.Context(), ask("alice@corp.example.com", "x").Check)
		if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced {
			t.Errorf("%s: %v", what, err)
		}
		var proofs atomic.Int32
		v, err = kerberos.New(kerberos.Config{Realm: realm, Unproven: true, KDCs: []string{rogue(t, func(t *testing.T, b []byte) []byte {
			var request messages.ASReq
			if request.Unmarshal(b) == nil && !request.PAData.Contains(2) {
				return refusal(t, 25, hints(t, etypeInfo{18, salt, nil}))
			}
			proofs.Add(1)
			return reply
		})}})
		must(t, err)
		_, err = v.Validate(t.Context(), ask("alice@corp.example.com", "x").Check)
		if e := trouble(t, err); !e.Fenced || proofs.Load() != 1 {
			t.Errorf("%s after the proof: %v, %d proofs", what, err, proofs.Load())
		}
	}
}

func TestRefusedSettings(t *testing.T) {
	for _, c := range []kerberos.Config{{}, {KDCs: []string{"kdc"}, Unproven: true}, {KDCs: []string{""}, Unproven: true, Realm: realm},
		{KDCs: []string{"kdc:0"}, Unproven: true, Realm: realm}, {KDCs: []string{"http://kdc"}, Unproven: true, Realm: realm},
		{KDCs: []string{"kdc"}, Unproven: true, Realm: realm, Concurrency: -1}} {
		if _, err := kerberos.New(c); err == nil {
			t.Errorf("%+v", c)
		}
	}
	if _, err := kerberos.New(kerberos.Config{KDCs: []string{"kdc"}, Realm: realm}); !errors.Is(err, kerberos.ErrUnproven) {
		t.Error(err)
	}
}

var record = flag.Bool("record", false, "write transcripts of Samba into testdata")

// TestRecord writes what a real domain controller answers to proofs (or, for who is unknown, to the first question).
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	w := start(t)
	for _, name := range []string{"bob", "disabled", "locked", "expired", "mustchange", "accountexpired", "logonhours", "nobody"} {
		var last atomic.Pointer[[]byte]
		tap := rogue(t, func(t *testing.T, request []byte) []byte {
			b := forward(t, w.dc.Addr, request)
			last.Store(&b)
			return b
		})
		password := people.RightPassword
		if name == "bob" {
			password = people.WrongPassword
		}
		_, err := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{tap} }).Validate(t.Context(), ask(name+"@"+w.dc.UPNSuffix, password).Check)
		must(t, err)
		must(t, os.MkdirAll(filepath.Join("testdata", "samba"), 0o755))
		must(t, os.WriteFile(filepath.Join("testdata", "samba", name+".hex"), []byte(hex.EncodeToString(*last.Load())+"\n"), 0o644))
	}
}
