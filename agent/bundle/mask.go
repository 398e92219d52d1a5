package bundle

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// secret stands for what was taken out.
const secret = "[secret]"

// What looks like a secret. Where there are groups, the first stays and the rest goes.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`),
	regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|negotiate|ntlm|digest)\s+)?)[^\s"',]+`),
	regexp.MustCompile(`(?i)(["']?[a-z0-9_-]*(?:password|passwd|passphrase|pwd|secret|token|api[-_]?key)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,}]+)`),
	regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/\s"'@]*(?:@[^/\s"'@]*)*@`),
	regexp.MustCompile(`()\bsp[a-z]{1,3}_[A-Za-z0-9_-]{6,}`),
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`),
}

// fields are the keys of fields that hold names.
const fields = `(?:name|user|user_?name|upn|userprincipalname|sam|samaccountname|account|mail|e-?mail|displayname|display_name)`

// What looks like somebody's name. The second group is the name; first and third stay.
var names = []*regexp.Regexp{
	// A field that holds one, in text and JSON.
	regexp.MustCompile(`(?im)((?:^|[\s,{])["']?` + fields + `["']?\s*[:=]\s*")((?:[^"\\\n]|\\.)+)(")`),
	regexp.MustCompile(`(?im)((?:^|[\s,{])["']?` + fields + `["']?\s*[:=]\s*)([^"'\s,}]+)()`),
	// user@domain.
	regexp.MustCompile(`(^|[^A-Za-z0-9._%+'~!#$&*-])([\pL\pN._%+'~!#$&*-]+)(@[\pL\pN](?:[\pL\pN.-]*[\pL\pN])?)`),
	// DOMAIN\user, in JSON with two.
	regexp.MustCompile(`((?:^|[\s"'=(,:])[A-Z][A-Z0-9-]{0,14}\\{1,2})([^\s"'\\,;)]+)()`),
	// The distinguished name of an entry below a domain.
	regexp.MustCompile(`(?i)(\bCN=)((?:\\.|[^,"\\+])+)(,(?:(?:CN|OU)=(?:\\.|[^,"\\])+,)*DC=)`),
	// The security identifier of an account in a domain.
	regexp.MustCompile(`(\bS-1-5-21(?:-\d+){3}-)(\d+)(\b)`),
}

// ordinary are words that are in every log and nobody's name alone; masked as parts of names, not by themselves.
var ordinary = []string{"agent", "user", "name", "root", "system", "admin", "service", "sallyport", "sallyport-agent", "error", "password", "check",
	"info", "warn", "true", "false", "right", "wrong", "trouble", "gateway", "directory", "domain", "controller", "the", "and", "for"}

// Masker takes secrets out of texts and gives people pseudonyms. It is used by one goroutine.
type Masker struct {
	salt  []byte
	known map[string]bool // accounts in lower case that were met in a place for names
}

// NewMasker makes pseudonyms that no other has.
func NewMasker() *Masker {
	m := &Masker{salt: make([]byte, 32), known: map[string]bool{}}
	_, _ = rand.Read(m.salt) // never fails: crypto/rand
	return m
}

// Learn remembers the names in a text, so that they are found where nothing shows that they are names.
func (m *Masker) Learn(text string) {
	text = hide(text)
	for _, r := range names {
		for _, found := range r.FindAllStringSubmatch(text, -1) {
			if account := accountOf(found[2]); len([]rune(account)) >= 3 && !slices.Contains(ordinary, account) && strings.Trim(account, "0123456789") != "" {
				m.known[account] = true
			}
		}
	}
}

// Mask returns a text without secrets and names. It may be called with what it returned.
func (m *Masker) Mask(text string) string {
	text = hide(text)
	for _, r := range names {
		text = replace(r, text, func(g []string) string {
			if strings.Contains(g[2], "…") || strings.Contains(g[2], secret) || strings.Contains(g[2], pseudonym) {
				return g[0] // the agent has shortened it, or it was replaced before
			}
			whole := g[2]
			domain, account, ok := strings.Cut(whole, "@")
			if ok {
				return g[1] + m.alias(domain) + "@" + account + g[3]
			}
			if at := strings.LastIndexByte(whole, '\\'); at > 0 {
				return g[1] + whole[:at+1] + m.alias(whole[at+1:]) + g[3]
			}
			return g[1] + m.alias(whole) + g[3]
		})
	}
	return m.bare(text)
}

// words are what plain names are made of; others, with spaces or signs, are looked for one by one.
var (
	words = regexp.MustCompile(`[\pL\pN]+(?:[._+'-]+[\pL\pN]+)*`)
	plain = regexp.MustCompile(`^` + words.String() + `$`)
	parts = regexp.MustCompile(`[\pL\pN]+`)
)

// bare replaces learned names where nothing around them shows what they are. It looks words up, since a log of a busy day has thousands of
// names, too many for one expression.
func (m *Masker) bare(text string) string {
	var odd []string
	for name := range m.known {
		if !plain.MatchString(name) {
			odd = append(odd, regexp.QuoteMeta(name))
		}
	}
	if len(odd) > 0 {
		// The longest first, so that "anna b. bell" is not taken for an "anna b." and a rest.
		slices.SortFunc(odd, func(a, b string) int { return len(b) - len(a) })
		text = replace(regexp.MustCompile(`(?i)(^|[^\pL\pN_])(`+strings.Join(odd, "|")+`)`), text, func(g []string) string { return g[1] + m.alias(g[2]) })
	}
	return words.ReplaceAllStringFunc(text, func(word string) string {
		if strings.HasPrefix(word, pseudonym) {
			return word
		}
		at := parts.FindAllStringIndex(word, maxParts)
		var b strings.Builder
		end := 0
		for i := 0; i < len(at); i++ {
			for j := len(at) - 1; j >= i; j-- { // of "anna.bell.txt" the longest name that is known
				if whole := word[at[i][0]:at[j][1]]; m.known[strings.ToLower(whole)] {
					b.WriteString(word[end:at[i][0]] + m.alias(whole))
					end, i = at[j][1], j
					break
				}
			}
		}
		return b.String() + word[end:]
	})
}

// maxParts bounds how much of one word is looked at: names have two or three parts.
const maxParts = 16

// hide takes secrets out.
func hide(text string) string {
	for _, r := range secrets {
		text = replace(r, text, func(g []string) string {
			switch {
			case strings.HasSuffix(g[0], secret):
				return g[0]
			case strings.HasSuffix(g[1], "://"):
				return g[1] + secret + "@"
			}
			return g[1] + secret
		})
	}
	return text
}

// replace is ReplaceAllStringFunc with groups.
func replace(r *regexp.Regexp, text string, with func(groups []string) string) string {
	var b strings.Builder
	last := 0
	for _, at := range r.FindAllStringSubmatchIndex(text, -1) {
		groups := make([]string, len(at)/2)
		for i := range groups {
			if at[2*i] >= 0 {
				groups[i] = text[at[2*i]:at[2*i+1]]
			}
		}
		b.WriteString(text[last:at[0]])
		b.WriteString(with(groups))
		last = at[1]
	}
	b.WriteString(text[last:])
	return b.String()
}

// pseudonym begins every alias.
const pseudonym = "person-"

// alias is an account's pseudonym, whatever form of its name was met.
func (m *Masker) alias(name string) string {
	h := hmac.New(sha256.New, m.salt)
	h.Write([]byte(accountOf(name)))
	return pseudonym + hex.EncodeToString(h.Sum(nil)[:4])
}

// accountOf is what the forms of a name share: "anna" for anna@corp.example, CORP\anna and ANNA.
func accountOf(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	if at := strings.LastIndexByte(name, '\\'); at >= 0 {
		name = name[at+1:]
	}
	account, _, _ := strings.Cut(name, "@")
	return account
}
