package reglog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

// timeForm is how entries write a time: RFC 3339 in UTC, always with milliseconds, so that there is one way to write it.
const timeForm = "2006-01-02T15:04:05.000Z"

// Entry is one change. Its JSON, in this order and without spaces, is what is hashed: there is exactly one way to write an entry.
type Entry struct {
	// Index counts a tenant's entries from 0.
	Index int64        `json:"index"`
	Time  string       `json:"time"`
	Event string       `json:"event"`
	Actor tenant.Actor `json:"actor"`

	Agent       string `json:"agent,omitempty"`
	AgentName   string `json:"agent_name,omitempty"`
	Directory   string `json:"directory,omitempty"`
	Serial      string `json:"certificate_serial,omitempty"`
	Certificate string `json:"certificate_sha256,omitempty"`
	KeyID       string `json:"key_id,omitempty"`
	Token       string `json:"token,omitempty"`
	Detail      string `json:"detail,omitempty"`
}

func newEntry(index int64, e tenant.Event, by tenant.Actor, now time.Time) Entry {
	by.ID, by.Name = clip(by.ID), clip(by.Name)
	return Entry{Index: index, Time: now.UTC().Format(timeForm), Event: e.What, Actor: by, Agent: e.Agent, AgentName: clip(e.AgentName),
		Directory: clip(e.Directory), Serial: e.Serial, Certificate: e.Certificate, KeyID: e.KeyID, Token: e.Token, Detail: clip(e.Detail)}
}

// clip keeps the beginning of a text, valid UTF-8.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Encode returns the bytes that are hashed.
func (e Entry) Encode() []byte { return compact(e) }

// compact writes JSON on one line, with no escapes but those that JSON demands (and U+2028, U+2029). Its callers' types cannot fail.
func compact(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var errForm = errors.New("is not written as this service writes it")

// decode reads what compact wrote, and nothing else: unknown, repeated and reordered members, other spacing and trailing bytes are errors.
func decode[T any](text []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, err
	}
	if !bytes.Equal(compact(v), text) {
		return v, errForm
	}
	return v, nil
}

// DecodeEntry is the inverse of [Entry.Encode].
func DecodeEntry(text []byte) (Entry, error) {
	e, err := decode[Entry](text)
	if err != nil {
		return e, err
	}
	if at, err := time.Parse(timeForm, e.Time); err != nil || at.Format(timeForm) != e.Time || e.Index < 0 || e.Event == "" {
		return e, errForm
	}
	return e, nil
}

// beginChain is the chain's hash before the first entry; it binds the chain to its log.
func beginChain(origin string) []byte {
	sum := sha256.Sum256([]byte("sallyport registration log\n" + origin + "\n"))
	return sum[:]
}

// nextChain is the chain's hash at an entry.
func nextChain(before, entry []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(before), entry...))
	return sum[:]
}

// A Record is one line of an export file, one message to syslog, one item of a post to a webhook: a log's key, one of its
// entries, or a checkpoint.
type Record struct {
	// Log is the origin: trust domain and tenant.
	Log string `json:"log"`
	// Key is the verifier key (a note's vkey). A copy that carries its own key proves nothing to who does not have it from elsewhere.
	Key string `json:"key,omitempty"`
	// Chain is the chain's hash at Entry, in hexadecimal.
	Chain string          `json:"chain,omitempty"`
	Entry json.RawMessage `json:"entry,omitempty"`
	// Checkpoint is a signed note.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// Line returns the record as one line, without its end.
func (r Record) Line() []byte { return compact(r) }

// EntryRecord returns the record of an entry as it is stored.
func EntryRecord(origin string, s Stored) Record {
	return Record{Log: origin, Chain: hex.EncodeToString(s.Chain), Entry: s.Text}
}

// DecodeRecord reads one line. The entry in it is held to its form, too.
func DecodeRecord(line []byte) (Record, Entry, error) {
	if len(line) > maxLine {
		return Record{}, Entry{}, fmt.Errorf("is longer than %d bytes", maxLine)
	}
	r, err := decode[Record](line)
	if err != nil {
		return r, Entry{}, err
	}
	kinds := 0
	for _, has := range []bool{r.Key != "", r.Entry != nil, r.Checkpoint != ""} {
		if has {
			kinds++
		}
	}
	if r.Log == "" || kinds != 1 || (r.Chain != "") != (r.Entry != nil) || len(r.Checkpoint) > maxCheckpoint {
		return r, Entry{}, errForm
	}
	if r.Entry == nil {
		return r, Entry{}, nil
	}
	e, err := DecodeEntry(r.Entry)
	return r, e, err
}
