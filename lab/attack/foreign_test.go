package attack

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestAgentOfAnotherDomain: an agent whose settings name domain controllers of another domain is told so and asked about nobody: no password
// of the directory's people is ever tried there.
func TestAgentOfAnotherDomain(t *testing.T) {
	w := newWorld(t)
	other, elsewhere := w.domain("DC=corp,DC=example,DC=com")
	w.attached(w.a, w.dir)
	w.failures = 0 // a right password wipes out the one that was mistyped before
	if o := w.typed(right); !o.Right {
		t.Fatalf("%v %v", o.Code, o.err)
	}
	if pin, known, err := w.fleet.PinOf(t.Context(), w.a, w.dir); err != nil || !known || pin.NamingContext != "DC=corp,DC=example" || pin.GUID == "" || pin.SID == "" {
		t.Errorf("%+v %v %v", pin, known, err)
	}

	mistaken := w.enrol(w.a, w.dir, w.gateway.address)
	mistaken.servers = []string{elsewhere}
	mistaken.start(noLimits)
	sentAway := func() bool {
		return slices.ContainsFunc(mistaken.log.lines(t, "link ended, coming back"), func(l map[string]any) bool {
			return contains(l["err"], wire.DirectoryForeign.String())
		})
	}
	until(t, "the mistaken agent to be told", sentAway)
	for range 8 {
		if o := w.typed(right); !o.Right {
			t.Fatalf("%v %v", o.Code, o.err)
		}
	}
	if n := other.Binds(name); n != 0 {
		t.Errorf("%d passwords were tried in another domain", n)
	}
	history, err := w.fleet.History(t.Context(), w.a, mistaken.row.ID)
	if err != nil || len(history) != 2 || history[0].Event != "foreign-directory" {
		t.Errorf("%+v %v", history, err)
	}
}

// TestControllersOfTwoDomains: of the domain controllers that an agent was given, those of another domain are not asked, whichever answers
// first.
func TestControllersOfTwoDomains(t *testing.T) {
	w := newWorld(t)
	other, elsewhere := w.domain("DC=corp,DC=example,DC=com")
	w.failures = 0
	w.attached(w.a, w.dir)
	if o := w.typed(right); !o.Right {
		t.Fatalf("%v %v", o.Code, o.err)
	}
	both := w.enrol(w.a, w.dir, w.gateway.address)
	both.servers = []string{elsewhere, w.ldaps}
	both.attach()
	before := w.corp.Binds(name)
	for range 8 {
		if o := w.typed(right); !o.Right {
			t.Fatalf("%v %v", o.Code, o.err)
		}
	}
	if n := other.Binds(name); n != 0 || w.corp.Binds(name) != before+8 {
		t.Errorf("%d passwords were tried in another domain, %d in the right one", n, w.corp.Binds(name)-before)
	}
}

// TestDirectoryUnproven: an agent none of whose domain controllers answers says so, and needs no proof for that.
func TestDirectoryUnproven(t *testing.T) {
	w := newWorld(t)
	alone := w.enrol(w.a, w.dir, w.gateway.address)
	alone.servers = []string{"ldaps://127.0.0.1:1"}
	alone.attach()
	if o := w.typed(right); o.Right || o.Code != wire.DirectoryUnreachable {
		t.Errorf("right %v, %v %v", o.Right, o.Code, o.err)
	}
	if _, known, err := w.fleet.PinOf(t.Context(), w.a, w.dir); known || err != nil {
		t.Errorf("%v %v", known, err)
	}
	if a, err := w.fleet.ByID(t.Context(), w.a, alone.row.ID); err != nil || a.State != fleet.Active {
		t.Errorf("%v %v", a.State, err)
	}
}

func contains(v any, part string) bool {
	s, ok := v.(string)
	return ok && strings.Contains(s, part)
}
