package evaluation

import (
	"encoding/hex"
	"errors"
	"strings"
)

// fold makes names and text comparable: without regard to case, to spaces at the ends, or to their number within (RFC 4518).
func fold(s string) string {
	s = strings.ToLower(s)
	if strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") || strings.Contains(s, "  ") {
		fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
		s = strings.Join(fields, " ")
	}
	return s
}

var errDN = errors.New("evaluation: not a distinguished name")

// rdn is one component of a DN. Multi-valued components do not occur in Active Directory.
type rdn struct{ attribute, value string }

// parseDN reads a distinguished name (RFC 4514). The empty name has no components.
func parseDN(dn string) ([]rdn, error) {
	var out []rdn
	rest := strings.TrimSpace(dn)
	for rest != "" {
		attribute, tail, ok := strings.Cut(rest, "=")
		attribute = strings.TrimSpace(attribute)
		if !ok || attribute == "" || strings.ContainsAny(attribute, `,+"\<>;`) {
			return nil, errDN
		}
		value, after, more, err := parseValue(tail)
		if err != nil || value == "" {
			return nil, errDN
		}
		out = append(out, rdn{attribute, value})
		if rest = strings.TrimLeft(after, " "); more && rest == "" {
			return nil, errDN // ends in a comma
		}
	}
	return out, nil
}

// parseValue reads up to the next comma that is not escaped and undoes escapes; more says whether a comma was met.
func parseValue(s string) (value, after string, more bool, err error) {
	var b strings.Builder
	keep := 0 // length up to which trailing spaces were escaped
	s = strings.TrimLeft(s, " ")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',':
			return trimmed(b.String(), keep), s[i+1:], true, nil
		case '+', '"', ';', '<', '>':
			return "", "", false, errDN
		case '\\':
			if i+2 < len(s) {
				if octet, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
					b.Write(octet)
					i, keep = i+2, b.Len()
					continue
				}
			}
			if i+1 >= len(s) {
				return "", "", false, errDN
			}
			i++
			b.WriteByte(s[i])
			keep = b.Len()
		default:
			b.WriteByte(c)
		}
	}
	return trimmed(b.String(), keep), "", false, nil
}

// trimmed takes away trailing spaces beyond the part that must be kept.
func trimmed(s string, keep int) string {
	return s[:keep] + strings.TrimRight(s[keep:], " ")
}

// key is what DNs are compared and found by. The separators cannot occur in folded text by accident and need no escapes.
func key(parts []rdn) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(0)
		}
		b.WriteString(fold(p.attribute))
		b.WriteByte(1)
		b.WriteString(fold(p.value))
	}
	return b.String()
}

// keyOf is key of a DN in text.
func keyOf(dn string) (string, error) {
	parts, err := parseDN(dn)
	if err != nil {
		return "", err
	}
	return key(parts), nil
}

// escapeValue writes a value as a component of a DN has it (RFC 4514 §2.4), with "#" escaped everywhere, as Samba does.
func escapeValue(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == 0:
			b.WriteString(`\00`)
			continue
		case strings.IndexByte(`,+"\<>;=#`, c) >= 0, c == ' ' && (i == 0 || i == len(value)-1):
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
