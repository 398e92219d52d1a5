package attack

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// subjects reads the parts of subjects that package queue uses from its sources.
func subjects(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("../../service/queue", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil && strings.HasPrefix(s, "sallyport.") {
					found = append(found, s)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// A tenant's process at the broker (which no tenant has; but scopes are what keeps a mistake of ours from being a breach) gets with
// another tenant's directories, agents and slots what it gets with inventions.
func TestQueueIsolation(t *testing.T) {
	w := newWorld(t)
	theirs := w.attached(w.b, w.dirOfB)
	w.attached(w.a, w.dir)
	q := w.mitm.gateway
	const nowhere = "01981111-0000-7000-8000-000000000003"
	slot := func() string {
		t.Helper()
		o, err := q.Ask(t.Context(), w.b, w.dirOfB, queue.Ask{Request: "r"})
		if err != nil || o.Agent != theirs.row.ID {
			t.Fatalf("%+v %v", o, err)
		}
		return o.Slot
	}
	asking := func(t *testing.T) {
		for _, scope := range []tenant.Scope{w.a, tenant.ScopeOf(nowhere)} {
			_, there := q.Ask(t.Context(), scope, w.dirOfB, queue.Ask{Request: "r"})
			_, none := q.Ask(t.Context(), scope, nowhere, queue.Ask{Request: "r"})
			if !fault.Has(there, wire.NoAgent) || there.Error() != none.Error() {
				t.Errorf("another tenant's directory: %v; one of nowhere: %v", there, none)
			}
		}
	}
	covers := map[string]func(*testing.T){
		"sallyport.ask.":    asking,
		"sallyport.askall.": asking,
		// As sallyport.ask., with the gateway's id behind: what it answers is the same.
		"sallyport.askat.": asking,
		// Of the gateway's subjects …release takes slots alone, 128 random bits without a tenant in them.
		"sallyport.gateway.": func(t *testing.T) {
			deliver := func(d queue.Delivery) string {
				o, fenced, err := q.Deliver(t.Context(), w.a, w.gateway.ID(), d, func([]byte) []byte { t.Error("a fence"); return nil })
				if err != nil || fenced {
					t.Errorf("%v, fenced %v", err, fenced)
				}
				return o.Refused.String() + o.Detail
			}
			for _, d := range []queue.Delivery{
				{Request: "r", Directory: w.dirOfB, Agent: theirs.row.ID, Slot: slot(), Envelope: []byte("e")},
				{Request: "r", Directory: w.dir, Agent: theirs.row.ID, Slot: slot(), Envelope: []byte("e")},
			} {
				none := d
				none.Agent, none.Slot = nowhere, strings.Repeat("A", len(d.Slot))
				if there, none := deliver(d), deliver(none); there != none || !strings.Contains(there, "not reserved") {
					t.Errorf("another tenant's slot: %s; one of nowhere: %s", there, none)
				}
			}
			if got := theirs.log.lines(t, "password check"); len(got) != 0 {
				t.Errorf("the other tenant's agent was asked: %v", got)
			}
		},
		// A process's inbox: random, without a tenant in it. What comes there and nobody waits for is denied; see TestRepeatedFence.
		"sallyport.": func(*testing.T) {},
		"sallyport.fleet": func(t *testing.T) {
			attachments := len(theirs.log.lines(t, "attached to gateway"))
			for _, agent := range []string{theirs.row.ID, nowhere, ""} {
				if err := q.Announce(queue.Change{Tenant: w.a.String(), Agent: agent}); err != nil {
					t.Error(err)
				}
			}
			// A revocation that is real is heard after the lies on the same subject; by then they have had their effect.
			own := w.attached(w.a, w.dir)
			if err := w.fleet.Revoke(t.Context(), w.a, own.row.ID, "a test", time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := q.Announce(queue.Change{Tenant: w.a.String(), Agent: own.row.ID}); err != nil {
				t.Fatal(err)
			}
			until(t, "the revoked agent to be gone", func() bool { return !slices.Contains(w.gateway.Attached(w.a), own.row.ID) })
			if !slices.Contains(w.gateway.Attached(w.b), theirs.row.ID) || len(theirs.log.lines(t, "attached to gateway")) != attachments {
				t.Error("the other tenant's agent was sent away")
			}
		},
	}
	known := []string{}
	for _, s := range subjects(t) {
		cover, ok := covers[s]
		if !ok {
			t.Errorf("subject %q is not covered: write how another tenant's identifiers could be put into it", s)
			continue
		}
		known = append(known, s)
		t.Run(s, cover)
	}
	if len(known) < 4 {
		t.Errorf("the subjects read are %v", known)
	}
	if got := w.gateway.Attached(tenant.Scope{}); len(got) != 0 {
		t.Errorf("nobody's agents: %v", got)
	}
}
