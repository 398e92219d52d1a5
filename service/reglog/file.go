package reglog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// File appends records to one file, the lines of which [Verify] reads, and waits for the disk.
type File struct{ Path string }

// Name is "file".
func (File) Name() string { return "file" }

// Send appends. It looks first what the file has already: a line that was torn by a crash is cut off, and entries that were
// written just before one are not written twice. A file that is new or was rotated away begins with the log's key.
func (f File) Send(_ context.Context, origin, key string, records []Record) (err error) {
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	chains := map[int64]string{}
	for _, r := range records {
		if r.Entry != nil {
			e, err := DecodeEntry(r.Entry)
			if err != nil {
				return brokenf("an entry to be exported %v", err)
			}
			chains[e.Index] = r.Chain
		}
	}
	has, err := survey(file, origin, chains)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if err := file.Truncate(has.end); err != nil {
		return err
	}
	var text bytes.Buffer
	if !has.key {
		text.Write(append(Record{Log: origin, Key: key}.Line(), '\n'))
	}
	for _, r := range records {
		if r.Entry != nil && has.chains[r.Chain] {
			continue
		}
		text.Write(append(r.Line(), '\n'))
	}
	if _, err := file.WriteAt(text.Bytes(), has.end); err != nil {
		return err
	}
	return file.Sync()
}

// contents is what a file has of a log.
type contents struct {
	end    int64 // of its last whole line
	key    bool
	chains map[string]bool // of the entries that are to be written and stand there already
}

// survey reads the file through: registrations are rare, and files of them small. What is no record of ours is an error rather than
// written into, and so is another history than the file's: the chain at an index tells all before it.
func survey(file *os.File, origin string, chains map[int64]string) (c contents, err error) {
	c.chains = map[string]bool{}
	lines := bufio.NewReaderSize(file, maxLine+1)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return c, nil // what stands behind the last end of a line is torn
		}
		if err != nil {
			return c, fmt.Errorf("line %d: %w", n, err)
		}
		r, e, err := DecodeRecord(line[:len(line)-1])
		if err != nil {
			return c, fmt.Errorf("line %d is no record of a registration log (%w): name another file, or move this one away", n, err)
		}
		c.end += int64(len(line))
		if r.Log == origin {
			c.key = c.key || r.Key != ""
			if chain, sent := chains[e.Index]; sent && r.Entry != nil {
				if chain != r.Chain {
					return c, brokenf("line %d has another entry %d than the database: it was rewritten, or restored from an older backup. "+
						"Keep this file, and name a new one", n, e.Index)
				}
				c.chains[chain] = true
			}
		}
	}
}
