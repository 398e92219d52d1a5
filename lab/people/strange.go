package people

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// character returns one of a kind that is likely to be changed on a way.
func character(r *rand.Rand) rune {
	from := func(s string) rune { all := []rune(s); return all[r.IntN(len(all))] }
	switch r.IntN(9) {
	case 0:
		return from(` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`")
	case 1:
		return rune('!' + r.IntN('~'-'!'+1))
	case 2: // blanks, marks that nobody sees, and a byte order mark
		return from(" \t\u00a0\u1680\u2003\u200b\u200d\u200e\u202e\u2028\u3000\ufeff\u00ad\u034f")
	case 3:
		return rune(0x300 + r.IntN(0x70)) // combining
	case 4: // with forms that are equal or compatible
		return from("éÅÅΩΩKKſßẞİıǅﬁ①²ｱがÀ각가ﬀ")
	case 5:
		return rune(1 + r.IntN(0x1f)) // controls
	case 6:
		return rune(0x7f + r.IntN(0x700))
	case 7: // the basic plane, but for surrogates
		if c := rune(0x800 + r.IntN(0xF800)); c < 0xD800 || c > 0xDFFF {
			return c
		}
		return '\uffff'
	default: // one of the sixteen others
		return rune(0x10000*(1+r.IntN(16)) + r.IntN(0x10000))
	}
}

// Units is the length of a text as Active Directory counts.
func Units(s string) int { return len(utf16.Encode([]rune(s))) }

// StrangePassword returns a password of any characters but NUL, of up to 256 units, often short and sometimes as long as can be. It satisfies no rule of
// complexity.
func StrangePassword(r *rand.Rand) string {
	want := 1 + r.IntN(20)
	switch r.IntN(4) {
	case 0:
		want = 127 + r.IntN(130)
	case 1:
		want = []int{14, 15, 64, 127, 128, 255, 256}[r.IntN(7)]
	}
	var b strings.Builder
	for left := want; left > 0; {
		c := character(r)
		if n := Units(string(c)); n <= left {
			b.WriteRune(c)
			left -= n
		}
	}
	s := b.String()
	for i, form := range []norm.Form{norm.NFC, norm.NFD} {
		if formed := form.String(s); r.IntN(6) == i && Units(formed) <= 256 { // either can be longer
			return formed
		}
	}
	return s
}

// Near returns up to four passwords that are almost another: one character, one blank, one letter's case or the form of an accent is different.
func Near(r *rand.Rand, right string) []string {
	all := []rune(right)
	i := r.IntN(len(all))
	other := character(r)
	for other == all[i] {
		other = character(r)
	}
	changed := slices.Clone(all)
	changed[i] = other
	wrong := []string{string(changed), right + " ", " " + right, right + "\u0301", string(all[:len(all)-1]), strings.TrimSpace(right),
		norm.NFC.String(right), norm.NFD.String(right), norm.NFKC.String(right), strings.ToUpper(right), strings.ToLower(right)}
	for i, c := range all {
		if f := unicode.SimpleFold(c); f != c {
			one := slices.Clone(all)
			one[i] = f
			wrong = append(wrong, string(one))
			break
		}
	}
	wrong = slices.DeleteFunc(wrong, func(s string) bool { return s == right || s == "" })
	slices.Sort(wrong)
	wrong = slices.Compact(wrong)
	r.Shuffle(len(wrong), func(i, j int) { wrong[i], wrong[j] = wrong[j], wrong[i] })
	return wrong[:min(4, len(wrong))]
}

// odd are characters with a meaning in filters, distinguished names, principals, addresses or forms. A name before the @ may hold any of them.
// With a backslash or an equals sign it would be of another form, and nobody is asked about it.
const odd = `*()'"#,+;<>&%!|~^?{}[]:/$.` + "`"

// StrangeName returns the part of a userPrincipalName before the @, with odd characters and with letters whose case, width or accents directories
// compare in rules of their own. It is in NFC, and different for every i.
func StrangeName(r *rand.Rand, i int) string {
	letters := []rune("abcXYZéüÅñøßłжЖшΩσЯאب漢字かナ가ｱﬁ①ǆĲKſıİςΌᾳΐⓐⅷԯႠაꭰᏸ𐐨😀")
	n := 1 + r.IntN(12)
	var b strings.Builder
	for range n {
		switch r.IntN(3) {
		case 0:
			b.WriteByte(odd[r.IntN(len(odd))])
		default:
			b.WriteRune(letters[r.IntN(len(letters))])
		}
	}
	return norm.NFC.String(fmt.Sprintf("u%d%s", i, b.String()))
}
