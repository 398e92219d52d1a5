package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/wire"
)

// Stop is one place on the way of a password check.
type Stop struct {
	// Name is one of [StopNames].
	Name string
	// At is how long after the password was posted; it is kept to the microsecond.
	At time.Duration
}

// StopNames are the names of stops, about in the order of the way. Those of the agent are when it says that it was there.
var StopNames = []string{"asked", "offered", "sealed", "delivered", "agent-opened", "fenced", "agent-fenced", "agent-judged", "answered", "confirmed", "done"}

// SignIn is one record.
type SignIn struct {
	// ID is given by the log.
	ID string
	// Trace is the W3C trace id that the page shows and every log holds.
	Trace, Journey string
	// Person is the user's id, empty for an unknown name.
	Person string
	// TypedName is what was typed, or as much of it as may be kept, and NameForm which kind of name that is.
	TypedName, NameForm string
	App, Address        string
	// Outcome is the caller's word for how it ended, Code the true number (0 when nothing was wrong), Reason and
	// Diagnostic the directory's words.
	Outcome                       string
	Code                          wire.Code
	Reason, Diagnostic            string
	Directory, Agent, Gateway, DC string
	Stops                         []Stop
	// At is when the password was posted. It must not be zero.
	At time.Time
}

// storedStop is the form of a Stop in the store: microseconds, since a reader of the table should not have to divide by a
// billion.
type storedStop struct {
	Name   string `json:"name"`
	Micros int64  `json:"us"`
}

// columns of table sign_in, in the order of row.
const columns = `id, tenant_id, at, trace, journey_id, person_id, typed_name, name_form, app_id, address, outcome, code, reason, diagnostic,
	directory_id, agent_id, gateway, dc, stops`

const columnCount = 19

// row is a record as it is stored.
type row [columnCount]any

// newRow gives the record its id and makes it fit for the store.
func newRow(tenantID string, s SignIn) (row, error) {
	if s.At.IsZero() {
		return row{}, errors.New("audit: a record needs the time of its sign-in")
	}
	stops := make([]storedStop, 0, len(s.Stops))
	for _, stop := range s.Stops[:min(len(s.Stops), maxStops)] {
		stops = append(stops, storedStop{text(stop.Name), stop.At.Microseconds()})
	}
	encoded, err := json.Marshal(stops)
	if err != nil {
		return row{}, fmt.Errorf("audit: stops: %w", err)
	}
	return row{db.NewID(), tenantID, db.Millis(s.At), text(s.Trace), text(s.Journey), text(s.Person), text(s.TypedName), text(s.NameForm),
		text(s.App), text(s.Address), text(s.Outcome), int64(s.Code), text(s.Reason), text(s.Diagnostic), text(s.Directory), text(s.Agent),
		text(s.Gateway), text(s.DC), string(encoded)}, nil
}

// text makes anything printable text of a bounded length.
func text(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] <= '~'
	}
	if plain && len(s) <= maxText {
		return s // nearly always
	}
	if len(s) > maxText*utf8.UTFMax {
		s = s[:maxText*utf8.UTFMax]
	}
	runes := []rune(strings.ToValidUTF8(s, "\ufffd"))
	for i, r := range runes {
		// Directions of writing are turned by format characters (Cf), which can forge what stands beside them.
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			runes[i] = '\ufffd'
		}
	}
	return string(runes[:min(len(runes), maxText)])
}

// scan reads one row of columns.
func scan(rows db.Scanner) (SignIn, error) {
	var s SignIn
	var tenantID, stops string
	var at int64
	if err := rows.Scan(&s.ID, &tenantID, &at, &s.Trace, &s.Journey, &s.Person, &s.TypedName, &s.NameForm, &s.App, &s.Address, &s.Outcome,
		&s.Code, &s.Reason, &s.Diagnostic, &s.Directory, &s.Agent, &s.Gateway, &s.DC, &stops); err != nil {
		return SignIn{}, err
	}
	s.At = db.Time(at)
	var stored []storedStop
	if err := json.Unmarshal([]byte(stops), &stored); err != nil {
		return SignIn{}, fmt.Errorf("stops of record %s: %w", s.ID, err)
	}
	for _, stop := range stored {
		s.Stops = append(s.Stops, Stop{stop.Name, time.Duration(stop.Micros) * time.Microsecond})
	}
	return s, nil
}
