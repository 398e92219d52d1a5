package evaluation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attribute is one attribute of an entry. values are set, or live gives them.
type attribute struct {
	name, folded string
	values       []string
	live         func() []string
	// asked is true for attributes that are computed only for who names them; "*" leaves them out.
	asked bool
}

func (a *attribute) read() []string {
	if a.live != nil {
		return a.live()
	}
	return a.values
}

// entry is one object of the directory. Its attributes change only under the directory's write lock.
type entry struct {
	dn, key, parent string
	attributes      []attribute
	account         *account // nil: nobody can bind as it
	secured         bool     // has an objectSid
}

func (e *entry) set(name string, values ...string) {
	e.attributes = append(e.attributes, attribute{name: name, folded: strings.ToLower(name), values: values})
}

// setText sets an attribute unless it is empty.
func (e *entry) setText(name, value string) {
	if value != "" {
		e.set(name, value)
	}
}

func (e *entry) live(name string, read func() string) {
	e.attributes = append(e.attributes, attribute{name: name, folded: strings.ToLower(name), live: func() []string { return []string{read()} }})
}

// computed adds an attribute that is shown only to who names it.
func (e *entry) computed(name string, read func() string) {
	e.live(name, read)
	e.attributes[len(e.attributes)-1].asked = true
}

// add appends a value to an attribute with several.
func (e *entry) add(name, value string) {
	folded := strings.ToLower(name)
	for i := range e.attributes {
		if a := &e.attributes[i]; a.folded == folded {
			a.values = append(slices.Clip(a.values), value)
			return
		}
	}
	e.set(name, value)
}

// values returns an attribute's values; none when the entry does not have it.
func (e *entry) values(folded string) []string {
	for i := range e.attributes {
		if a := &e.attributes[i]; a.folded == folded {
			return a.read()
		}
	}
	return nil
}

// equal compares a value with what was asked for, by the attribute's syntax.
func equal(folded, have, want string) bool {
	switch folded {
	case "objectguid", "objectsid":
		return have == want
	case "distinguishedname", "memberof", "member", "objectcategory":
		a, errA := keyOf(have)
		b, errB := keyOf(want)
		if errA == nil && errB == nil {
			return a == b
		}
		// A category may be named by the class alone: "person" for CN=Person,CN=Schema,… ([MS-ADTS] 3.1.1.3.4.4).
		return folded == "objectcategory" && strings.HasPrefix(a, "cn\x01"+fold(want)+"\x00")
	}
	return fold(have) == fold(want)
}

// compare orders two values: numbers as numbers, all else as text.
func compare(have, want string) int {
	a, errA := strconv.ParseInt(have, 10, 64)
	b, errB := strconv.ParseInt(want, 10, 64)
	if errA == nil && errB == nil {
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	}
	return strings.Compare(fold(have), fold(want))
}

// guid makes an objectGUID that is the same at every start, so that a service that remembers people by it still knows them
// after the evaluation directory was started anew.
func guid(parts ...string) []byte {
	sum := sha256.Sum256([]byte("sallyport evaluation objectGUID\x00" + strings.Join(parts, "\x00")))
	g := sum[:16]
	g[7] = g[7]&0x0f | 0x80 // version 8: made by a rule of one's own (RFC 9562 §5.8); the third group is little endian
	g[8] = g[8]&0x3f | 0x80
	return g
}

// guidText writes an objectGUID; its first three groups are little endian ([MS-DTYP] 2.3.4.2).
func guidText(g []byte) string {
	h := hex.EncodeToString([]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]}) + hex.EncodeToString(g[8:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// sid is an objectSid: S-1-5-21, three numbers of the domain, and a number within it ([MS-DTYP] 2.4.2.2). The domain itself has
// rid 0 and is one number shorter.
type sid struct {
	domain [3]uint32
	rid    uint32
}

// newSID derives the domain's numbers from its name.
func newSID(baseDN string) sid {
	sum := sha256.Sum256([]byte("sallyport evaluation objectSid\x00" + fold(baseDN)))
	var s sid
	for i := range s.domain {
		s.domain[i] = binary.LittleEndian.Uint32(sum[4*i:])
	}
	return s
}

func (s sid) numbers() []uint32 {
	n := append([]uint32{21}, s.domain[:]...)
	if s.rid != 0 {
		n = append(n, s.rid)
	}
	return n
}

func (s sid) bytes() []byte {
	n := s.numbers()
	b := []byte{1, byte(len(n)), 0, 0, 0, 0, 0, 5}
	for _, v := range n {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func (s sid) String() string {
	var b strings.Builder
	b.WriteString("S-1-5")
	for _, v := range s.numbers() {
		fmt.Fprintf(&b, "-%d", v)
	}
	return b.String()
}
