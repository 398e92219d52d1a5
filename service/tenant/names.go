package tenant

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// tenantName is what can stand in a URL's path and in a cookie's name: a DNS label of at least two characters.
var tenantName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])$`)

func checkName(name string) error {
	if !tenantName.MatchString(name) {
		return fault.Newf(wire.BadRequest, "the tenant name %q must have 2 to 63 lower-case letters, digits and hyphens, "+
			"with no hyphen at either end", clip(name))
	}
	return nil
}

// cleanText trims a name that people read and checks it.
func cleanText(what, s string, most int) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", fault.Newf(wire.BadRequest, "the %s must not be empty", what)
	case !utf8.ValidString(s):
		return "", fault.Newf(wire.BadRequest, "the %s must be valid UTF-8", what)
	case utf8.RuneCountInString(s) > most:
		return "", fault.Newf(wire.BadRequest, "the %s must have at most %d characters", what, most)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fault.Newf(wire.BadRequest, "the %s must not hold control or invisible characters", what)
	}
	return s, nil
}

// cleanDirectoryName also keeps the slash out, so that a directory can be addressed by its name in a path.
func cleanDirectoryName(s string) (string, error) {
	s, err := cleanText("directory name", s, maxDirectoryName)
	if err == nil && strings.Contains(s, "/") {
		return "", fault.New(wire.BadRequest, "the directory name must not hold a slash")
	}
	return s, err
}

// domains turns what people type into the form that DNS uses: UTS #46 mapping for look-ups, only letters, digits and hyphens,
// lengths as in RFC 1035 §2.3.4.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(true), idna.CheckJoiners(true),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// DomainName returns the form in which a domain is stored and compared: lower-case ASCII, internationalised labels in their
// "xn--" form. Anything that is no DNS name of at least two labels is refused with wire.BadRequest.
func DomainName(s string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", fault.Newf(wire.BadRequest, "%q is not a domain name like corp.example: %s", clip(s), why)
	}
	if len(s) > 253 {
		return refuse("it is longer than 253 characters")
	}
	if !utf8.ValidString(s) {
		return refuse("it is not valid UTF-8")
	}
	name, err := domains.ToASCII(strings.TrimSpace(s))
	if err != nil {
		return refuse("it holds a character or a label that DNS does not allow")
	}
	if strings.HasSuffix(name, ".") {
		return refuse("leave the dot at the end away")
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return refuse("it needs at least one dot")
	}
	// A numeric last label would be an IPv4 address to every URL parser (WHATWG URL §3.5).
	if last := name[dot+1:]; last[0] >= '0' && last[0] <= '9' {
		return refuse("its last part begins with a digit")
	}
	return name, nil
}

// cleanAttribute wants the name of an attribute as LDAP has it (RFC 4512 §1.4, keystring), or nothing. Whether a directory has it, and lets it be
// looked up by, agents find out.
func cleanAttribute(s string) (string, error) {
	s = strings.TrimSpace(s)
	ok := len(s) <= maxAttribute
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		ok = ok && (letter || i > 0 && (c >= '0' && c <= '9' || c == '-'))
	}
	if !ok {
		return "", fault.Newf(wire.BadRequest, "%q is not the name of an attribute like mail: letters, digits and hyphens, at most %d, a letter first", clip(s), maxAttribute)
	}
	return s, nil
}

// cleanNetBIOS wants a domain's NetBIOS name ([MS-NBTE] §2.2, and what Windows refuses in it), in upper case, or nothing.
func cleanNetBIOS(s string) (string, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if n := utf8.RuneCountInString(s); !utf8.ValidString(s) || n > maxNetBIOS || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || strings.ContainsRune(`\/:*?"<>|,@`, r)
	}) {
		return "", fault.Newf(wire.BadRequest, "%q is not a domain's NetBIOS name like CORP: at most %d characters, without spaces and none of \\ / : * ? \" < > | , @", clip(s), maxNetBIOS)
	}
	return s, nil
}

// cleanColor returns "#rrggbb" in lower case, or says why white text could not be read on it.
func cleanColor(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if s == "" {
		return DefaultColor, nil
	}
	ratio, ok := contrastWithWhite(s)
	if !ok {
		return "", fault.Newf(wire.BadRequest, "the color %q must be written as # and six hexadecimal digits, like %s", clip(s), DefaultColor)
	}
	if ratio < minContrast {
		return "", fault.Newf(wire.BadRequest, "the color %s is too light for the white text on it (contrast %.2f:1, at least %.1f:1 is needed): "+
			"choose a darker one", s, math.Floor(ratio*100)/100, minContrast)
	}
	return s, nil
}

// contrastWithWhite is WCAG 2.2's contrast ratio between a color and white.
func contrastWithWhite(color string) (float64, bool) {
	if len(color) != 7 || color[0] != '#' {
		return 0, false
	}
	n, err := strconv.ParseUint(color[1:], 16, 32)
	if err != nil {
		return 0, false
	}
	part := func(shift uint) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	luminance := 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
	return 1.05 / (luminance + 0.05), true
}

// clip shortens what was typed before it is shown back.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
