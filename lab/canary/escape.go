package canary

import (
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// begins reports whether data begin with the piece, each character as it is or escaped in any way. It follows all readings at once,
// as an automaton does, since "%25" can be three characters or one.
func (p piece) begins(data []byte) bool {
	at := []int{0}
	for _, r := range p.runes {
		var next []int
		for _, from := range at {
			for _, n := range lengths(data[from:], r) {
				if !slices.Contains(next, from+n) {
					next = append(next, from+n)
				}
			}
		}
		if len(next) == 0 {
			return false
		}
		at = next
	}
	return true
}

// lengths returns how many bytes a character may take at the start of data: one number for each form in which it stands there.
func lengths(data []byte, r rune) (all []int) {
	if len(data) == 0 {
		return nil
	}
	if r == ' ' { // application/x-www-form-urlencoded, perhaps escaped again
		if n := oneByte(data, '+'); n > 0 {
			all = append(all, n)
		}
	}
	if plain := utf8.AppendRune(nil, r); bytes.HasPrefix(data, plain) {
		all = append(all, len(plain))
	}
	if n := eachByte(data, r); n > 0 {
		all = append(all, n)
	}
	switch data[0] {
	case '%':
		for n := 3; r == '%' && bytes.HasSuffix(data[:min(n, len(data))], []byte("25")) && n <= len(data); n += 2 {
			all = append(all, n) // a percent sign, escaped again and again
		}
	case '&':
		if n := entity(data, r); n > 0 {
			all = append(all, n)
		}
	case '\\':
		all = append(all, backslashed(data, r)...)
	}
	return all
}

// eachByte matches the character byte by byte, each of them as it is or as %XX, %25XX, =XX, \xXX, \XX (LDAP) or \ooo.
func eachByte(data []byte, r rune) int {
	n := 0
	for _, b := range utf8.AppendRune(nil, r) {
		step := oneByte(data[n:], b)
		if step == 0 {
			return 0
		}
		n += step
	}
	return n
}

func oneByte(data []byte, b byte) int {
	if len(data) == 0 {
		return 0
	}
	switch data[0] {
	case '%':
		n := 1
		for b != '%' && n < maxAgain && bytes.HasPrefix(data[n:], []byte("25")) {
			n += 2
		}
		if isHex(data[n:], b, 2) {
			return n + 2
		}
	case '=':
		if isHex(data[1:], b, 2) {
			return 3
		}
	case '\\':
		n := backslashes(data)
		switch rest := data[n:]; {
		case len(rest) > 0 && rest[0] == 'x' && isHex(rest[1:], b, 2):
			return n + 3
		case isNumber(rest, uint64(b), 3, 8):
			return n + 3
		case isHex(rest, b, 2):
			return n + 2
		}
	}
	if data[0] == b {
		return 1
	}
	return 0
}

func isHex(data []byte, b byte, digits int) bool { return isNumber(data, uint64(b), digits, 16) }

// isNumber reports whether data begin with exactly so many digits of a number.
func isNumber(data []byte, want uint64, digits, base int) bool {
	if len(data) < digits {
		return false
	}
	got, err := strconv.ParseUint(string(data[:digits]), base, 32)
	return err == nil && got == want
}

// backslashes counts those at the start, up to the most that are understood.
func backslashes(data []byte) int {
	n := 0
	for n < len(data) && n < maxBackslashes && data[n] == '\\' {
		n++
	}
	return n
}

// short are the escapes of one letter, in JSON, Go and C.
var short = map[byte]rune{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'v': '\v', 'a': '\a', '0': 0}

// backslashed matches \", \n, \u00e9, pairs of surrogates and \U0001f600, behind any number of backslashes; and backslashes
// themselves.
func backslashed(data []byte, r rune) (all []int) {
	n := backslashes(data)
	if r == '\\' {
		for i := 2; i <= n; i *= 2 { // 2, 4 and 8 are one that was escaped once, twice, three times
			all = append(all, i)
		}
	}
	rest := data[n:]
	if len(rest) == 0 {
		return nil
	}
	if is, ok := short[rest[0]]; ok && is == r || strings.ContainsRune(`"'/`, r) && rest[0] == byte(r) {
		all = append(all, n+1)
	}
	first, second := utf16.EncodeRune(r)
	switch {
	case rest[0] == 'U' && isNumber(rest[1:], uint64(r), 8, 16):
		all = append(all, n+9)
	case rest[0] == 'u' && r <= 0xffff && isNumber(rest[1:], uint64(r), 4, 16):
		all = append(all, n+5)
	case rest[0] == 'u' && r > 0xffff && isNumber(rest[1:], uint64(first), 4, 16):
		low := rest[5:]
		if m := backslashes(low); m > 0 && len(low) > m && low[m] == 'u' && isNumber(low[m+1:], uint64(second), 4, 16) {
			all = append(all, n+5+m+5)
		}
	}
	return all
}

// named are the entities that HTML escapers write by name.
var named = map[rune][]string{'&': {"amp"}, '<': {"lt"}, '>': {"gt"}, '"': {"quot"}, '\'': {"apos"}}

// entity matches &amp; &#38; and &#x26;.
func entity(data []byte, r rune) int {
	end := bytes.IndexByte(data[:min(len(data), 12)], ';')
	if end < 2 {
		return 0
	}
	word := string(data[1:end])
	if slices.Contains(named[r], word) {
		return end + 1
	}
	if word[0] != '#' {
		return 0
	}
	base := 10
	if word = word[1:]; len(word) > 0 && (word[0] == 'x' || word[0] == 'X') {
		word, base = word[1:], 16
	}
	if got, err := strconv.ParseUint(word, base, 32); err != nil || got != uint64(r) {
		return 0
	}
	return end + 1
}

// unpack returns what a gzip stream holds, as far as it can be read.
func unpack(data []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(io.LimitReader(z, maxUnpacked)) // a stream that is cut off is searched up to there
	return out
}
