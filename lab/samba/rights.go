package samba

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

// Harden takes everybody out of the group Pre-Windows 2000 Compatible Access, as security baselines advise: signed-in users then read of others only what the
// schema's defaults let them.
func (dc *DC) Harden(ctx context.Context) error {
	dn := "CN=Pre-Windows 2000 Compatible Access,CN=Builtin," + dc.BaseDN
	return dc.as(ctx, func(s *Session) error {
		change := ldap.NewModifyRequest(dn, nil)
		change.Replace("member", nil)
		if err := s.Modify(change); err != nil {
			return fmt.Errorf("samba: emptying %s: %w", dn, err)
		}
		return nil
	})
}

// GrantRead lets an account read attributes of the entries of a class below dn, those that are there and those to come, and nothing else:
//
//	dsacls dn /I:S /G "DOMAIN\sam:RP;attribute;class"
func (dc *DC) GrantRead(ctx context.Context, sam, dn, class string, attributes ...string) error {
	return dc.as(ctx, func(s *Session) error {
		of, err := dc.schemaID(s, class)
		if err != nil {
			return err
		}
		var rights [][]byte
		for _, a := range attributes {
			id, err := dc.schemaID(s, a)
			if err != nil {
				return err
			}
			rights = append(rights, readProperty(id, of))
		}
		return dc.allow(s, sam, dn, rights...)
	})
}

// schemaID is the GUID by which rights name an attribute or a class.
func (dc *DC) schemaID(s *Session, name string) ([]byte, error) {
	found, err := s.Search(ldap.NewSearchRequest("CN=Schema,CN=Configuration,"+dc.BaseDN, ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 0, false,
		"(lDAPDisplayName="+ldap.EscapeFilter(name)+")", []string{"schemaIDGUID"}, nil))
	if err != nil {
		return nil, fmt.Errorf("samba: reading the schema: %w", err)
	}
	if len(found.Entries) != 1 || len(found.Entries[0].GetRawAttributeValue("schemaIDGUID")) != 16 {
		return nil, fmt.Errorf("samba: the schema has no %s", name)
	}
	return found.Entries[0].GetRawAttributeValue("schemaIDGUID"), nil
}

// GrantReadOfPasswordSettings lets an account read password settings objects, those that are there and those to come, which else only
// administrators may:
//
//	dsacls "CN=Password Settings Container,CN=System,…" /I:T /G "DOMAIN\sam:GR"
func (dc *DC) GrantReadOfPasswordSettings(ctx context.Context, sam string) error {
	return dc.as(ctx, func(s *Session) error {
		found, err := s.Search(ldap.NewSearchRequest(dc.settingsContainer(), ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
			"(objectClass=*)", []string{"1.1"}, nil))
		if err != nil {
			return fmt.Errorf("samba: looking for password settings: %w", err)
		}
		for _, e := range found.Entries {
			if err := dc.allow(s, sam, e.DN, genericRead()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Access control entries that allow something (MS-DTYP 2.4.4): all but their size and whom they are for.
const (
	accessAllowed       = 0x00
	accessAllowedObject = 0x05
	containerInherit    = 0x02
	inheritOnly         = 0x08
)

// genericRead is for an object and what is below it: RIGHT_READ_CONTROL, RIGHT_DS_READ_PROPERTY, RIGHT_DS_LIST_CONTENTS.
func genericRead() []byte {
	return binary.LittleEndian.AppendUint32([]byte{accessAllowed, containerInherit, 0, 0}, 0x020014)
}

// readProperty is for one attribute of the objects of a class below: RIGHT_DS_READ_PROPERTY, with both kinds of object named.
func readProperty(attribute, class []byte) []byte {
	ace := binary.LittleEndian.AppendUint32([]byte{accessAllowedObject, containerInherit | inheritOnly, 0, 0}, 0x10)
	ace = binary.LittleEndian.AppendUint32(ace, 0x3)
	return append(append(ace, attribute...), class...)
}

// allow adds entries for an account to the list of who may do what with an object.
func (dc *DC) allow(s *Session, sam, dn string, rights ...[]byte) error {
	trustee, err := dc.find(s, sam, "objectSid")
	if err != nil {
		return err
	}
	found, err := s.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)",
		[]string{"nTSecurityDescriptor"}, []ldap.Control{onlyDACL()}))
	if err != nil {
		return fmt.Errorf("samba: reading who may read %s: %w", dn, err)
	}
	descriptor := found.Entries[0].GetRawAttributeValue("nTSecurityDescriptor")
	for _, r := range rights {
		if descriptor, err = grant(descriptor, r, trustee.GetRawAttributeValue("objectSid")); err != nil {
			return err
		}
	}
	change := ldap.NewModifyRequest(dn, []ldap.Control{onlyDACL()})
	change.Replace("nTSecurityDescriptor", []string{string(descriptor)})
	if err := s.Modify(change); err != nil {
		return fmt.Errorf("samba: letting %s read %s: %w", sam, dn, err)
	}
	return nil
}

// onlyDACL limits reading and writing of security descriptors to the list of who may do what (LDAP_SERVER_SD_FLAGS_OID, MS-ADTS 3.1.1.3.4.1.11).
func onlyDACL() ldap.Control {
	return ldap.NewControlString("1.2.840.113556.1.4.801", true, "\x30\x03\x02\x01\x04")
}

// grant adds to a security descriptor that sid has a right (MS-DTYP 2.4.6, 2.4.5).
func grant(descriptor, right, sid []byte) ([]byte, error) {
	const (
		header       = 20
		aclHeader    = 8
		revisionDS   = 4 // of lists with entries for kinds of objects
		selfRelative = 0x8000
		hasDACL      = 0x0004
	)
	if len(descriptor) < header {
		return nil, errors.New("samba: a security descriptor without a header")
	}
	at := int(binary.LittleEndian.Uint32(descriptor[16:]))
	if at < header || at+aclHeader > len(descriptor) {
		return nil, errors.New("samba: a security descriptor without a list of rights")
	}
	size := int(binary.LittleEndian.Uint16(descriptor[at+2:]))
	if size < aclHeader || at+size > len(descriptor) {
		return nil, errors.New("samba: a security descriptor that is cut off")
	}
	ace := append(append([]byte{}, right...), sid...)
	binary.LittleEndian.PutUint16(ace[2:], uint16(len(ace)))
	out := make([]byte, header, header+size+len(ace))
	out[0] = 1
	binary.LittleEndian.PutUint16(out[2:], selfRelative|hasDACL)
	binary.LittleEndian.PutUint32(out[16:], header)
	out = append(append(out, descriptor[at:at+size]...), ace...)
	acl := out[header:]
	acl[0] = revisionDS
	binary.LittleEndian.PutUint16(acl[2:], uint16(size+len(ace)))
	binary.LittleEndian.PutUint16(acl[4:], binary.LittleEndian.Uint16(acl[4:])+1)
	return out, nil
}
