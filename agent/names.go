package agent

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// askable reports whether the directory may be asked about a name at all: local@domain, one @, the domain as DNS writes it and with a dot,
// nothing unfit within. That is the one form that services send. Directories take others for a name as well – distinguished names,
// NetBIOS names, identifiers, names with spaces in them –, and each would be another count for the same account, and one that no guard
// knows.
func askable(name string) bool {
	local, domain, _ := strings.Cut(name, "@")
	if local == "" || !strings.Contains(domain, ".") || strings.ContainsFunc(local, unfit) || strings.ContainsAny(local, otherForms) {
		return false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	return true
}

// otherForms are characters of which the part before the @ makes another form of a name: Samba passes over a backslash as an escape, and takes
// what has an equals sign for a distinguished name, of which <SID=…>;CN=x@corp.example is one.
const otherForms = `\=`

// unfit reports whether a character must not stand within a name: spaces, which some directories pass over; what cannot be
// seen; and what a directory may not know, which it passes over as well. With any of them one account has endless names. The
// rule, and the next one, stand in wire/testdata/README.md; the service has them too.
func unfit(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == unicode.ReplacementChar || r == '\u2800' ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// foldName brings the spellings that Active Directory takes for one name to one form: it compares names without regard to
// case, width, and accents (MS-UCODEREF §3.1.5.4.1, NORM_IGNORECASE | NORM_IGNOREWIDTH | NORM_IGNORENONSPACE). Without it every
// spelling would have a limit of its own. It is for counting alone: the directory is asked about the name itself.
func foldName(name string) string {
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

// expansions are letters that directories compare as others although Unicode does not decompose them.
var expansions = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'þ': "th", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'ħ': "h", '。': "."}
