package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// unfit reports whether a character must not stand within a name: spaces, which some directories pass over; what cannot be
// seen; and what a directory may not know, which it passes over as well. With any of them one account has endless names. The
// rule, and the next one, stand in wire/testdata/README.md; the agent has them too.
func unfit(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == unicode.ReplacementChar || r == '\u2800' ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// otherForms are characters of which the part before the @ makes another form of a name: Samba passes over a backslash as an escape, and takes
// what has an equals sign for a distinguished name, of which <SID=…>;CN=x@corp.example is one. With either one account has endless names.
const otherForms = `\=`

// fold brings the spellings that directories take for one name to one form. It is for counting alone: what is looked up and
// asked is the name itself.
func fold(name string) string {
	var b strings.Builder
	// Behind a broken byte the library leaves characters as they are.
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(name, "")) {
		if r > 0xffff || unicode.Is(unicode.Lm, r) ||
			!unicode.In(r, unicode.L, unicode.N, unicode.P) && !(r < 0x80 && unicode.IsSymbol(r)) {
			continue
		}
		r = unicode.ToLower(unicode.ToUpper(r))
		if s, ok := expansions[r]; ok {
			b.WriteString(s)
			continue
		}
		if r >= 0x3041 && r <= 0x3096 {
			r += 0x60 // hiragana to katakana
		}
		b.WriteRune(r)
	}
	return b.String()
}

// strangers is a key of this process alone, under which names of no domain are counted: such a name may be a password that was typed into the
// wrong field, and counts are stored. A restart forgets them, and each of several processes counts for itself, which nobody can see: there is
// nothing to guess at.
type strangers [sha256.Size]byte

func newStrangers() (s strangers) {
	_, _ = rand.Read(s[:]) // crypto/rand never fails: it ends the program instead
	return s
}

// account is what lockout knows a name of no domain by: the same for all its spellings.
func (s strangers) account(name string) string {
	h := hmac.New(sha256.New, s[:])
	h.Write([]byte(fold(name)))
	return "stranger:" + hex.EncodeToString(h.Sum(nil))
}

// expansions are letters that directories compare as others although Unicode does not decompose them.
var expansions = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'þ': "th", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'ħ': "h", '。': "."}
