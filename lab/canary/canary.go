package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Canary is a secret to be looked for. It is not changed after [New] and may be used concurrently.
type Canary struct {
	exact   map[[2]byte][]needle // by the first two bytes
	escaped []piece
	starts  [256]bool     // bytes that an escaped piece may begin with
	pairs   [1 << 13]byte // bits: pairs of bytes that an exact needle begins with
}

// needle is a piece in one encoding.
type needle struct {
	bytes    []byte
	encoding string
	piece    int
}

// piece is a part of the secret, as text and character by character.
type piece struct {
	plain string
	runes []rune
}

// Finding says that a piece of the secret was found. It does not hold it.
type Finding struct {
	// Name is the file or what else was searched; of a packed stream with "(gzip at OFFSET)" behind it.
	Name string
	// Offset is where it begins, in bytes.
	Offset int64
	// Encoding is how it was written down.
	Encoding string
	// Piece is which part of the secret it was, counted from 0.
	Piece int
}

// String returns the finding as a line.
func (f Finding) String() string {
	return fmt.Sprintf("%s at %d: piece %d of the secret as %s", f.Name, f.Offset, f.Piece, f.Encoding)
}

// New prepares the search for a secret, which must be valid UTF-8 of at least twelve characters and at most 1024 bytes: shorter ones
// would be found where they are not.
func New(secret string) (*Canary, error) {
	all := []rune(secret)
	if len(all) < pieceRunes || len(secret) > maxSecret || !utf8.ValidString(secret) {
		return nil, fmt.Errorf("canary: a secret must be text of %d characters or more and %d bytes or less", pieceRunes, maxSecret)
	}
	c := &Canary{exact: map[[2]byte][]needle{}}
	for len(all) > 0 {
		n := pieceRunes
		if len(all) < 2*pieceRunes {
			n = len(all)
		}
		c.add(piece{string(all[:n]), all[:n]})
		all = all[n:]
	}
	return c, nil
}

// add prepares one piece.
func (c *Canary) add(p piece) {
	number := len(c.escaped)
	c.escaped = append(c.escaped, p)
	for _, b := range []byte(string(p.runes[:1]) + `%\=&+`) {
		c.starts[b] = true
	}
	for _, set := range []struct {
		name  string
		bytes []byte
	}{{"UTF-8", []byte(p.plain)}, {"UTF-16LE", wide(p, false)}, {"UTF-16BE", wide(p, true)}} {
		for _, n := range encodings(set.bytes) {
			key := [2]byte(n.bytes)
			n.encoding, n.piece = strings.TrimSpace(set.name+" "+n.encoding), number
			c.exact[key] = append(c.exact[key], n)
			at := int(key[0])<<8 | int(key[1])
			c.pairs[at>>3] |= 1 << (at & 7)
		}
	}
}

// wide is text in UTF-16.
func wide(p piece, bigEndian bool) []byte {
	var out []byte
	for _, u := range utf16.Encode(p.runes) {
		if bigEndian {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out
}

// encodings returns bytes as they are and in every encoding that has few forms.
func encodings(raw []byte) []needle {
	out := []needle{{bytes: raw}}
	for shift := range 3 {
		out = append(out, needle{bytes: inner(base64.StdEncoding, raw, shift), encoding: "Base64"},
			needle{bytes: inner(base64.URLEncoding, raw, shift), encoding: "Base64 for addresses"})
	}
	lower := hex.EncodeToString(raw)
	for _, digits := range []string{lower, strings.ToUpper(lower)} {
		for _, between := range []string{"", " ", ":", "-", ", 0x", ",0x", " 0x"} {
			out = append(out, needle{bytes: []byte(join(digits, between)), encoding: "hexadecimal"})
		}
	}
	for _, between := range []string{" ", ",", ", "} {
		decimal := make([]string, len(raw))
		for i, b := range raw {
			decimal[i] = strconv.Itoa(int(b))
		}
		out = append(out, needle{bytes: []byte(strings.Join(decimal, between)), encoding: "decimal bytes"})
	}
	return out
}

// join puts something between each two digits.
func join(digits, between string) string {
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, between)
}

// inner returns the characters of Base64 that depend on raw alone when shift bytes stand before it in the group of three.
func inner(enc *base64.Encoding, raw []byte, shift int) []byte {
	text := enc.EncodeToString(append(make([]byte, shift), raw...))
	bits := (shift + len(raw)) * 8
	return []byte(text[(shift*8+5)/6 : bits/6])
}

// Search looks for the secret in data. Names are for the findings, of which there are at most fifty.
func (c *Canary) Search(name string, data []byte) []Finding {
	found := c.flat(name, 0, data)
	for at := 0; len(found) < maxFindings; at++ {
		next := bytes.Index(data[at:], []byte{0x1f, 0x8b, 8})
		if next < 0 {
			break
		}
		at += next
		found = append(found, c.flat(fmt.Sprintf("%s (gzip at %d)", name, at), 0, unpack(data[at:]))...)
	}
	return found
}

// flat searches data that begin at an offset, and unpacks nothing.
func (c *Canary) flat(name string, offset int64, data []byte) (found []Finding) {
	for i := 0; i < len(data) && len(found) < maxFindings; i++ {
		var next byte
		if i+1 < len(data) {
			next = data[i+1]
		}
		if at := int(data[i])<<8 | int(next); c.pairs[at>>3]&(1<<(at&7)) != 0 {
			for _, n := range c.exact[[2]byte{data[i], next}] {
				if bytes.HasPrefix(data[i:], n.bytes) {
					found = append(found, Finding{name, offset + int64(i), n.encoding, n.piece})
				}
			}
		}
		if !c.starts[data[i]] {
			continue
		}
		for number, p := range c.escaped {
			if !bytes.HasPrefix(data[i:], []byte(p.plain)) && p.begins(data[i:]) {
				found = append(found, Finding{name, offset + int64(i), "escaped text", number})
			}
		}
	}
	return found
}

// File searches a file of any size.
func (c *Canary) File(path string) ([]Finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []Finding
	buffer := make([]byte, 0, 64<<10)
	for offset := int64(0); ; {
		buffer, err = fill(f, buffer)
		if err != nil && !errors.Is(err, io.EOF) {
			return found, fmt.Errorf("canary: %s: %w", path, err)
		}
		for _, one := range c.Search(path, buffer) {
			one.Offset += offset
			found = append(found, one)
		}
		if err != nil || len(found) >= maxFindings {
			return found, nil
		}
		offset += int64(len(buffer) - overlap)
		buffer = append(buffer[:0], buffer[len(buffer)-overlap:]...)
	}
}

// fill reads until the buffer holds a chunk, or the end.
func fill(f io.Reader, buffer []byte) ([]byte, error) {
	b := bytes.NewBuffer(buffer)
	n, err := io.Copy(b, io.LimitReader(f, int64(chunk-len(buffer))))
	if err == nil && n < int64(chunk-len(buffer)) {
		err = io.EOF
	}
	return b.Bytes(), err
}

// Folder searches the names and the contents of all files below a folder and says how many there were. Links are not followed; what
// vanishes meanwhile is left out.
func (c *Canary) Folder(root string) (found []Finding, files int, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil
		}
		if err != nil {
			return err
		}
		found = append(found, c.flat("the name of "+filepath.Dir(path)+"/…", 0, []byte(d.Name()))...)
		if !d.Type().IsRegular() {
			return nil
		}
		in, err := c.File(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		found = append(found, in...)
		return err
	})
	return found, files, err
}
