package windows

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type asking = directorytest.Asked

var ask, unjudged, must = directorytest.Ask, directorytest.Trouble, directorytest.Must

const (
	domainSID  = "S-1-5-21-1004336348-1177238915-682003330"
	domainGUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	aliceGUID  = "4fa050f0-f561-11cf-bdd9-00aa003a77b6"
	right      = "Correct-Horse-7 ö🐎"
)

var member = Member{
	Domain: directory.Domain{NamingContext: "DC=corp,DC=example", Forest: "DC=corp,DC=example", GUID: domainGUID, SID: domainSID},
	DNS:    "corp.example", NetBIOS: "CORP", Computer: []string{"AGENT1", "agent1", "agent1.corp.example"},
}

// fake is a Windows host in a domain with one person, alice. Its fields change what it does.
type fake struct {
	said   map[string]error  // by name: what LogonUserW says in place of judging, whatever the password
	sids   map[string]string // by name: whose token a yes is; alice's by default
	guest  string            // the token that unknown names get, as with Guest enabled; empty: they are refused
	noDC   error
	guid   string // of the domain that the domain controller serves
	called names
	hang   chan struct{} // if not nil, logons hang until it is closed
	mute   error         // what everybody is told, as by a Windows without a domain controller

	mu       sync.Mutex
	logons   []account
	buffers  [][]uint16
	anew     []bool
	asked    []string // security identifiers
	inFlight atomic.Int32
	most     atomic.Int32
}

func newFake() *fake {
	return &fake{guid: domainGUID, called: names{"{4FA050F0-F561-11CF-BDD9-00AA003A77B6}", "alice@corp.example", `CORP\alice`, "Alice Archer"}}
}

// change changes what the host does while it is used.
func (f *fake) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
}

// calls are the logons but for those of made-up names.
func (f *fake) calls() []account {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.logons)
}

func (f *fake) member() (Member, error) { return member, nil }

func (f *fake) locate(dns string, anew bool) (string, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.anew = append(f.anew, anew)
	return "dc1." + dns, f.guid, f.noDC
}

func (f *fake) logon(who account, password []uint16) (string, error) {
	now := f.inFlight.Add(1)
	defer f.inFlight.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	f.mu.Lock()
	f.buffers = append(f.buffers, password)
	if !strings.HasPrefix(who.user, "sallyport-") {
		f.logons = append(f.logons, who)
	}
	mute := f.mute
	f.mu.Unlock()
	if mute != nil {
		return "", mute
	}
	name := strings.ToLower(who.user)
	if f.hang != nil && !strings.HasPrefix(name, "sallyport-") {
		<-f.hang
	}
	expected, err := wide([]byte(right))
	if err != nil {
		return "", err
	}
	switch said := f.said[name]; {
	case said != nil:
		return "", said
	case name != "alice" && name != "alice@corp.example" && f.sids[name] == "":
		if f.guest != "" {
			return f.guest, nil
		}
		return "", refusal(1326)
	case string16(password) != string16(expected):
		return "", refusal(1326)
	case f.sids[name] != "":
		return f.sids[name], nil
	}
	return domainSID + "-1104", nil
}

func (f *fake) names(_, sid string) (names, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, sid)
	if f.called == (names{}) {
		return names{}, refusal(1722)
	}
	return f.called, nil
}

// string16 makes UTF-16 comparable.
func string16(w []uint16) string {
	var b strings.Builder
	for _, u := range w {
		b.WriteRune(rune(u))
	}
	return b.String()
}

// wiped reports whether every buffer with a password holds nothing any more.
func (f *fake) wiped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.buffers {
		for _, u := range b {
			if u != 0 {
				return false
			}
		}
	}
	return len(f.buffers) > 0
}

func (f *fake) validator(t *testing.T, c Config) *Validator {
	t.Helper()
	v, err := newOn(f, c)
	must(t, err)
	return v
}
