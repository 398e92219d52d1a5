package evaluation

import (
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

type filterKind ber.Tag

// The choices of a filter (RFC 4511 §4.5.1.7), by their tags.
const (
	filterAnd filterKind = iota
	filterOr
	filterNot
	filterEqual
	filterSubstrings
	filterGreater
	filterLess
	filterPresent
	filterApprox
	filterExtensible
)

// The matching rules of extensible filters that Active Directory has ([MS-ADTS] 3.1.1.3.4.4).
const (
	ruleBitAnd = "1.2.840.113556.1.4.803"
	ruleBitOr  = "1.2.840.113556.1.4.804"
)

// filter is a parsed filter. Which fields are used depends on its kind.
type filter struct {
	kind      filterKind
	children  []*filter
	attribute string   // folded
	value     string   // as it was sent
	parts     []string // of substrings, folded: initial, any …, final; initial and final may be empty
	rule      string
}

// parseFilter reads a filter; parts counts towards maxFilter. Malformed ones are refused whole.
func parseFilter(p *ber.Packet, parts *int) (*filter, bool) {
	if *parts++; *parts > maxFilter || p.ClassType != ber.ClassContext {
		return nil, false
	}
	f := &filter{kind: filterKind(p.Tag)}
	switch f.kind {
	case filterAnd, filterOr, filterNot:
		if p.TagType != ber.TypeConstructed || f.kind == filterNot && len(p.Children) != 1 {
			return nil, false
		}
		for _, c := range p.Children {
			child, ok := parseFilter(c, parts)
			if !ok {
				return nil, false
			}
			f.children = append(f.children, child)
		}
		return f, true
	case filterEqual, filterGreater, filterLess, filterApprox:
		if p.TagType != ber.TypeConstructed || len(p.Children) != 2 {
			return nil, false
		}
		attribute, ok := text(p.Children[0])
		value, valid := text(p.Children[1])
		f.attribute, f.value = fold(attribute), value
		return f, ok && valid
	case filterPresent:
		f.attribute = fold(p.Data.String())
		return f, p.TagType == ber.TypePrimitive
	case filterSubstrings:
		return f, f.parseSubstrings(p, parts)
	case filterExtensible:
		return f, f.parseExtensible(p)
	}
	return nil, false
}

func (f *filter) parseSubstrings(p *ber.Packet, parts *int) bool {
	if p.TagType != ber.TypeConstructed || len(p.Children) != 2 ||
		!is(p.Children[1], ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence) || len(p.Children[1].Children) == 0 {
		return false
	}
	attribute, ok := text(p.Children[0])
	if !ok {
		return false
	}
	f.attribute = fold(attribute)
	initial, final, middle := "", "", []string(nil)
	pieces := p.Children[1].Children
	if *parts += len(pieces); *parts > maxFilter {
		return false
	}
	for i, piece := range pieces {
		if piece.ClassType != ber.ClassContext || piece.TagType != ber.TypePrimitive {
			return false
		}
		value := strings.ToLower(piece.Data.String())
		switch {
		case piece.Tag == 0 && i == 0:
			initial = value
		case piece.Tag == 1:
			middle = append(middle, value)
		case piece.Tag == 2 && i == len(pieces)-1:
			final = value
		default:
			return false
		}
	}
	f.parts = append(append([]string{initial}, middle...), final)
	return true
}

func (f *filter) parseExtensible(p *ber.Packet) bool {
	if p.TagType != ber.TypeConstructed {
		return false
	}
	for _, c := range p.Children {
		if c.ClassType != ber.ClassContext || c.TagType != ber.TypePrimitive {
			return false
		}
		switch c.Tag {
		case 1:
			f.rule = c.Data.String()
		case 2:
			f.attribute = fold(c.Data.String())
		case 3:
			f.value = c.Data.String()
		case 4: // dnAttributes changes nothing here
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
