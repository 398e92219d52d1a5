package evaluation

import (
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// The choices of a filter (RFC 4511 §4.5.1.7), by their tags on the wire.
const (
	filterAnd        = 0xa0
	filterOr         = 0xa1
	filterNot        = 0xa2
	filterEqual      = 0xa3
	filterSubstrings = 0xa4
	filterGreater    = 0xa5
	filterLess       = 0xa6
	filterPresent    = 0x87
	filterApprox     = 0xa8
	filterExtensible = 0xa9
)

// The matching rules of extensible filters that Active Directory has ([MS-ADTS] 3.1.1.3.4.4).
const (
	ruleBitAnd = "1.2.840.113556.1.4.803"
	ruleBitOr  = "1.2.840.113556.1.4.804"
)

// filter is a parsed filter. Which fields are used depends on its kind.
type filter struct {
	kind      byte
	children  []*filter
	attribute string   // folded
	value     string   // as it was sent
	parts     []string // of substrings, folded: initial, any …, final; initial and final may be empty
	rule      string
}

// parseFilter reads a filter; parts counts towards maxFilter. Malformed ones are refused whole. The depth is that of the message, which
// was bounded before.
func parseFilter(p *ber.Packet, parts *int) (*filter, bool) {
	if *parts++; *parts > maxFilter {
		return nil, false
	}
	f := &filter{kind: tagOf(p)}
	rest, ok := p.Children, true
	switch f.kind {
	case filterAnd, filterOr, filterNot:
		for _, part := range rest {
			child, ok := parseFilter(part, parts)
			if !ok {
				return nil, false
			}
			f.children = append(f.children, child)
		}
		return f, f.kind != filterNot || len(f.children) == 1
	case filterEqual, filterGreater, filterLess, filterApprox:
		f.attribute = fold(text(&rest, tagOctetString, &ok))
		f.value = text(&rest, tagOctetString, &ok)
		return f, ok && len(rest) == 0
	case filterPresent:
		f.attribute = fold(p.Data.String())
		return f, true
	case filterSubstrings:
		return f, f.parseSubstrings(rest, parts)
	case filterExtensible:
		return f, f.parseExtensible(rest)
	}
	return nil, false
}

// parseSubstrings reads pieces: an initial one first, a final one last, any others between.
func (f *filter) parseSubstrings(rest []*ber.Packet, parts *int) bool {
	const initialPiece, anyPiece, finalPiece = 0x80, 0x81, 0x82
	ok := true
	f.attribute = fold(text(&rest, tagOctetString, &ok))
	pieces := take(&rest, tagSequence, &ok).Children
	if !ok || len(rest) != 0 || len(pieces) == 0 {
		return false
	}
	f.parts = []string{""}
	final := ""
	for i, piece := range pieces {
		if *parts++; *parts > maxFilter {
			return false
		}
		tag, value := tagOf(piece), strings.ToLower(piece.Data.String())
		switch {
		case tag == initialPiece && i == 0:
			f.parts[0] = value
		case tag == anyPiece:
			f.parts = append(f.parts, value)
		case tag == finalPiece && i == len(pieces)-1:
			final = value
		default:
			return false
		}
	}
	f.parts = append(f.parts, final)
	return true
}

// parseExtensible reads rule, attribute and value, each optional and in any order.
func (f *filter) parseExtensible(rest []*ber.Packet) bool {
	const rule, attribute, value, dnAttributes = 0x81, 0x82, 0x83, 0x84
	for _, part := range rest {
		switch tagOf(part) {
		case rule:
			f.rule = part.Data.String()
		case attribute:
			f.attribute = fold(part.Data.String())
		case value:
			f.value = part.Data.String()
		case dnAttributes: // changes nothing here
		default:
			return false
		}
	}
	return true
}

// approximate reports whether the filter has an approximate match anywhere, which Samba cannot do.
func (f *filter) approximate() bool {
	if f.kind == filterApprox {
		return true
	}
	for _, c := range f.children {
		if c.approximate() {
			return true
		}
	}
	return false
}

// matches reports whether the filter is true of e. An attribute that e does not have makes a comparison false, so that its
// negation is true, as in Samba.
func (f *filter) matches(e *entry) bool {
	switch f.kind {
	case filterAnd:
		for _, c := range f.children {
			if !c.matches(e) {
				return false
			}
		}
		return true
	case filterOr:
		for _, c := range f.children {
			if c.matches(e) {
				return true
			}
		}
		return false
	case filterNot:
		return !f.children[0].matches(e)
	case filterPresent:
		return f.attribute == "dn" || len(e.values(f.attribute)) > 0
	}
	for _, have := range e.values(f.attribute) {
		if f.compares(have) {
			return true
		}
	}
	return false
}

// compares reports whether one value satisfies the comparison.
func (f *filter) compares(have string) bool {
	switch f.kind {
	case filterEqual:
		return equal(f.attribute, have, f.value)
	case filterSubstrings:
		return f.substrings(strings.ToLower(have))
	case filterGreater, filterLess:
		order := compare(have, f.value)
		return f.kind == filterGreater && order >= 0 || f.kind == filterLess && order <= 0
	case filterExtensible:
		a, errA := strconv.ParseInt(have, 10, 64)
		b, errB := strconv.ParseInt(f.value, 10, 64)
		if errA != nil || errB != nil {
			return false
		}
		return f.rule == ruleBitAnd && a&b == b || f.rule == ruleBitOr && a&b != 0
	}
	return false
}

// substrings compares pieces from left to right, each after the one before it.
func (f *filter) substrings(have string) bool {
	have, ok := strings.CutPrefix(have, f.parts[0])
	if !ok {
		return false
	}
	last := len(f.parts) - 1
	for _, piece := range f.parts[1:last] {
		i := strings.Index(have, piece)
		if i < 0 {
			return false
		}
		have = have[i+len(piece):]
	}
	return strings.HasSuffix(have, f.parts[last])
}
