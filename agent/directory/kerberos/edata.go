package kerberos

import (
	"encoding/asn1"
	"encoding/binary"
)

// typed is one element of PA-DATA (RFC 4120 §5.2.7) and, byte for byte the same, KERB-ERROR-DATA (MS-KILE 2.2.2).
type typed struct {
	Type  int    `asn1:"explicit,tag:1"`
	Value []byte `asn1:"explicit,tag:2,optional"`
}

// typeExtended is KERB_ERR_TYPE_EXTENDED, and the number of PA-PW-SALT, in whose place Samba sends the same.
const typeExtended = 3

// statusOf finds the NTSTATUS in the e-data of a KRB-ERROR; 0 if there is none. It comes in three shapes: Windows' KERB-ERROR-DATA, a list of such
// elements (METHOD-DATA, as Samba sends it and Windows inside FAST), and the bare structure.
func statusOf(edata []byte) uint32 {
	if len(edata) > maxEData {
		return 0
	}
	if s := extended(edata); s != 0 {
		return s
	}
	var one typed
	if rest, err := asn1.Unmarshal(edata, &one); err == nil && len(rest) == 0 {
		return one.status()
	}
	for _, e := range elements(edata) {
		if s := e.status(); s != 0 {
			return s
		}
	}
	return 0
}

// elements reads METHOD-DATA; nil if it is none.
func elements(b []byte) []typed {
	var all []typed
	if rest, err := asn1.Unmarshal(b, &all); err != nil || len(rest) > 0 || len(all) > maxHints {
		return nil
	}
	return all
}

func (t typed) status() uint32 {
	if t.Type != typeExtended {
		return 0
	}
	return extended(t.Value)
}

// extended reads KERB_EXT_ERROR (MS-KILE 2.2.2): NTSTATUS, a reserved zero, and flags of which the lowest bit is set. A salt of twelve letters, which
// can stand in the same place, has no zero there; nor is a status that is no error one.
func extended(b []byte) uint32 {
	if len(b) != 12 || binary.LittleEndian.Uint32(b[4:]) != 0 || binary.LittleEndian.Uint32(b[8:])&1 == 0 {
		return 0
	}
	status := binary.LittleEndian.Uint32(b)
	if status>>30 != 3 { // severity (MS-ERREF 2.3)
		return 0
	}
	return status
}
