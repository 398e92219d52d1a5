package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Protection says whose passwords an agent never asks a directory about. The zero value protects the accounts that every domain has.
type Protection struct {
	// Names are account names (sAMAccountName) besides administrator and krbtgt, in any case.
	Names []string
	// Groups are distinguished names of groups whose members, direct or through other groups, are protected. Only a reader can tell who they are.
	Groups []string
}

// Bounds of a protection: what is configured by hand, and goes into one search.
const (
	maxNames  = 1000
	maxGroups = 50
	maxText   = 1024
)

// always are protected whatever is configured: the built-in administrator as every domain first calls it, and the account of the ticket service.
var always = []string{"administrator", "krbtgt"}

// Check refuses what cannot work.
func (p Protection) Check() error {
	if len(p.Names) > maxNames || len(p.Groups) > maxGroups {
		return fmt.Errorf("more than %d protected names or %d groups", maxNames, maxGroups)
	}
	for _, n := range p.Names {
		if n == "" || len(n) > maxText || strings.ContainsAny(n, "@\\/\x00") {
			return fmt.Errorf("protected account %q: want a sAMAccountName, without domain", n)
		}
	}
	for _, g := range p.Groups {
		if len(g) > maxText || !strings.Contains(g, "=") {
			return errors.New("a protected group is not a distinguished name such as CN=Tier 0,OU=Groups,DC=corp,DC=example")
		}
	}
	return nil
}

// Named reports whether a typed name, local@domain, is that of a protected account by its name alone. fold brings the spellings that a
// directory takes for one name to one form.
func (p Protection) Named(typed string, fold func(string) string) bool {
	local, _, _ := strings.Cut(typed, "@")
	folded := fold(local[strings.LastIndexByte(local, '\\')+1:])
	same := func(n string) bool { return fold(n) == folded }
	return slices.ContainsFunc(always, same) || slices.ContainsFunc(p.Names, same)
}

// Protects reports whether the account that a directory shows is protected, but for its groups: by its sAMAccountName or its objectSid.
func (p Protection) Protects(account string, sid []byte) bool {
	if rid, ok := RID(sid); ok && (rid == ridAdministrator || rid == ridKrbtgt) {
		return true
	}
	same := func(n string) bool { return strings.EqualFold(n, account) }
	return slices.ContainsFunc(always, same) || slices.ContainsFunc(p.Names, same)
}

// Relative identifiers of the accounts that every domain has, however they are called (MS-DTYP 2.4.2.4).
const (
	ridAdministrator = 500
	ridKrbtgt        = 502
)

// RID returns the last part of a domain account's objectSid (MS-DTYP 2.4.2.2): S-1-5-21-a-b-c-RID. ok is false for anything else.
func RID(sid []byte) (rid uint32, ok bool) {
	if len(sid) != 8+4*5 || sid[0] != 1 || sid[1] != 5 || !slices.Equal(sid[2:8], []byte{0, 0, 0, 0, 0, 5}) || binary.LittleEndian.Uint32(sid[8:]) != 21 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(sid[len(sid)-4:]), true
}
