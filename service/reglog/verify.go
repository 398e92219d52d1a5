package reglog

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// Trust is what a reader of an export file has from elsewhere.
type Trust struct {
	// Keys are verifier keys. A log without one among them is held to the key in its file, which its [Finding] says.
	Keys []string
	// Checkpoints are signed notes that were kept apart, older or newer than the file: its entries must continue and reach them.
	Checkpoints []string
}

// Finding is what became of one log of a file.
type Finding struct {
	Log     string `json:"log"`
	Entries int64  `json:"entries"`
	// Signed is how many entries the largest checkpoint covers that the entries agree with.
	Signed int64 `json:"signed"`
	// Root is the tree's at Entries, in the base64 of checkpoints.
	Root string `json:"root"`
	Key  string `json:"key,omitempty"`
	// OwnKey says that the key came with the file: then it is whole, and may be all made up.
	OwnKey bool `json:"own_key"`
	// Held counts checkpoints that agree, those of [Trust] included.
	Held int `json:"checkpoints"`
	// Broken is "" for a log that is whole. Line is where in the file; 0 for the end of it.
	Broken string `json:"broken,omitempty"`
	Line   int    `json:"line,omitempty"`
	// Entry is the first entry that does not fit; -1 if the entries are not what is wrong. Entries before it, from Signed on, fit a chain
	// that anybody can make: they are whole only if nobody made it anew.
	Entry int64 `json:"entry"`
}

// Whole reports whether nothing is wrong.
func (f Finding) Whole() bool { return f.Broken == "" }

// state is one log while its file is read.
type state struct {
	Finding
	trusted bool
	apart   []string // checkpoints of Trust that wait for a key
	chain   []byte
	hashes  []tlog.Hash
	later   []Checkpoint // larger than what has been read
}

func (s *state) breaks(line int, entry int64, format string, args ...any) {
	if s.Broken == "" {
		s.Broken, s.Line, s.Entry = fmt.Sprintf(format, args...), line, entry
	}
}

// ReadHashes makes the state a tlog.HashReader.
func (s *state) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(s.hashes)) {
			return nil, errors.New("a hash beyond the tree")
		}
		out[i] = s.hashes[x]
	}
	return out, nil
}

// Verify reads an export file, or several put together, and returns what it finds of each log in it. It needs no service and no
// database. Its memory grows by 64 bytes an entry. The error is about reading, or about trust that cannot be read; what is wrong
// with the file stands in the findings. A file without any log is an error.
func Verify(r io.Reader, trust Trust) ([]Finding, error) {
	keys := map[string]string{}
	for _, k := range trust.Keys {
		name, err := KeyName(k)
		if err != nil {
			return nil, err
		}
		keys[name] = k
	}
	apart := map[string][]string{}
	for _, text := range trust.Checkpoints {
		c, err := parseCheckpoint(text)
		if err != nil {
			return nil, fmt.Errorf("the checkpoint kept apart: %w", err)
		}
		apart[c.Origin] = append(apart[c.Origin], text)
	}
	logs := map[string]*state{}
	var order []*state
	of := func(origin string) *state {
		s := logs[origin]
		if s == nil {
			s = &state{Finding: Finding{Log: origin, Key: keys[origin], Entry: -1}, apart: apart[origin], chain: beginChain(origin)}
			s.trusted = s.Key != ""
			logs[origin] = s
			order = append(order, s)
			s.holdApart()
		}
		return s
	}
	lines := bufio.NewReaderSize(r, maxLine+1)
	var last *state
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("reading line %d: %w", n, err)
		}
		record, entry, bad := DecodeRecord(bytes.TrimSuffix(line, []byte("\n")))
		if bad != nil {
			if last == nil {
				return nil, fmt.Errorf("line %d cannot be read, so this is no export of a registration log: %w", n, bad)
			}
			// Whose line it was, nobody can say: every log of the file may lack it.
			for _, s := range order {
				s.breaks(n, s.Entries, "line %d cannot be read, where entry %d may have stood: %v", n, s.Entries, bad)
			}
			break
		}
		last = of(record.Log)
		last.take(n, record, entry)
	}
	if len(order) == 0 {
		return nil, errors.New("the file holds no registration log")
	}
	for origin := range apart {
		if logs[origin] == nil {
			return nil, fmt.Errorf("a checkpoint kept apart is of the log %s, of which the file holds nothing", origin)
		}
	}
	for name := range keys {
		if logs[name] == nil {
			return nil, fmt.Errorf("a key given is of the log %s, of which the file holds nothing", name)
		}
	}
	out := make([]Finding, len(order))
	for i, s := range order {
		s.finish()
		out[i] = s.Finding
	}
	return out, nil
}

// take adds one record.
func (s *state) take(line int, r Record, e Entry) {
	switch {
	case s.Broken != "":
	case r.Key != "":
		s.takeKey(line, r.Key)
	case r.Checkpoint != "":
		if s.Key == "" {
			s.breaks(line, -1, "a checkpoint comes before the log's key: give the key")
			return
		}
		s.hold(line, r.Checkpoint)
	default:
		s.takeEntry(line, r, e)
	}
}

func (s *state) takeKey(line int, key string) {
	name, err := KeyName(key)
	switch {
	case err != nil || name != s.Log:
		s.breaks(line, -1, "the key in the file is not of this log")
	case s.Key == "":
		s.Key, s.OwnKey = key, true
		s.holdApart()
	case s.Key != key && s.trusted:
		s.breaks(line, -1, "the file's key %s is not the one given: another log was begun in its place, or this is another installation", key)
	case s.Key != key:
		s.breaks(line, -1, "the log's key changes: another log was begun in its place")
	}
}

func (s *state) takeEntry(line int, r Record, e Entry) {
	switch {
	case e.Index > s.Entries && s.Entries == 0:
		s.breaks(line, 0, "the file begins with entry %d: the entries before it are missing; give the files before this one, too", e.Index)
		return
	case e.Index > s.Entries:
		s.breaks(line, s.Entries, "entry %d is missing: entry %d stands in its place", s.Entries, e.Index)
		return
	case e.Index < s.Entries && s.hashes[tlog.StoredHashIndex(0, e.Index)] == tlog.RecordHash(r.Entry):
		return // receivers get what was under way in a crash twice, and what is said twice the same is no other history
	case e.Index < s.Entries:
		s.breaks(line, s.Entries, "entry %d comes again where entry %d should stand: an entry was inserted or moved", e.Index, s.Entries)
		return
	}
	chain := nextChain(s.chain, r.Entry)
	switch fits := r.Chain == hex.EncodeToString(chain); {
	case !fits && e.Index == s.Signed:
		s.breaks(line, e.Index, "entry %d was altered: its chain hash does not fit it and the entries before it", e.Index)
		return
	case !fits:
		s.breaks(line, e.Index, "the chain breaks at entry %d: it was altered, or one of %d to %d together with its chain hash", e.Index, s.Signed, e.Index-1)
		return
	}
	hashes, err := tlog.StoredHashes(e.Index, r.Entry, s)
	if err != nil {
		s.breaks(line, e.Index, "entry %d: %v", e.Index, err)
		return
	}
	s.chain, s.hashes = chain, append(s.hashes, hashes...)
	s.Entries++
	// As early as possible: what agrees with a checkpoint narrows down where a later break can be.
	for _, c := range s.later {
		if c.Size == s.Entries {
			s.agree(line, c)
		}
	}
}

// holdApart holds the log to the checkpoints that were kept apart, once there is a key to check them with.
func (s *state) holdApart() {
	if s.Key == "" {
		return
	}
	for _, text := range s.apart {
		s.hold(0, text)
	}
	s.apart = nil
}

// hold holds the entries to a checkpoint: now if they reach it, else at the end.
func (s *state) hold(line int, text string) {
	c, err := OpenCheckpoint(text, s.Key) // of this log, as the key is
	switch {
	case err != nil:
		s.breaks(line, -1, "a checkpoint is forged or damaged: %v", err)
	case c.Size > s.Entries:
		s.later = append(s.later, c)
	default:
		s.agree(line, c)
	}
}

func (s *state) agree(line int, c Checkpoint) {
	root, err := tlog.TreeHash(c.Size, s)
	switch {
	case err != nil:
		s.breaks(line, -1, "%v", err)
	case root != c.Root && c.Size > s.Signed:
		s.breaks(line, s.Signed, "the entries are not those that were signed: the first that differs is among %d to %d", s.Signed, c.Size-1)
	case root != c.Root:
		s.breaks(line, -1, "the log forks: a checkpoint of %d entries tells another history than one of %d", c.Size, s.Signed)
	default:
		s.Held++
		s.Signed = max(s.Signed, c.Size)
	}
}

func (s *state) finish() {
	if len(s.apart) > 0 {
		s.breaks(0, -1, "the file holds no key: give it")
	}
	for _, c := range s.later {
		if c.Size > s.Entries {
			s.breaks(0, s.Entries, "the file ends after %d entries, and %d were signed: entry %d and those after it are missing", s.Entries, c.Size, s.Entries)
		}
	}
	if s.Held == 0 {
		s.breaks(0, -1, "no signed checkpoint covers the entries: the chain is whole, and anybody could have made it")
	}
	if root, err := tlog.TreeHash(s.Entries, s); err == nil {
		s.Root = root.String()
	}
}

// ReadCheckpoints reads what was kept apart: a file that holds one checkpoint as "log checkpoint" prints it, or an export, of which all
// checkpoints are taken. Signatures are checked by [Verify].
func ReadCheckpoints(r io.Reader) ([]string, error) {
	lines := bufio.NewReaderSize(r, maxLine+1)
	if first, err := lines.Peek(1); err != nil || first[0] != '{' {
		text, err := io.ReadAll(io.LimitReader(lines, maxCheckpoint+1))
		if err != nil {
			return nil, err
		}
		if len(text) > maxCheckpoint {
			return nil, errors.New("is too long for a checkpoint")
		}
		return []string{string(text)}, nil
	}
	var out []string
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		record, _, err := DecodeRecord(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return nil, fmt.Errorf("line %d %w", n, err)
		}
		if record.Checkpoint != "" {
			out = append(out, record.Checkpoint)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("holds no checkpoint")
	}
	return out, nil
}
