package samba

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// settingsContainer holds the password settings objects of a domain.
func (dc *DC) settingsContainer() string {
	return "CN=Password Settings Container,CN=System," + dc.BaseDN
}

// SetLockoutPolicyOf makes a password settings object, whose lockout policy holds for one account in place of the domain's. Nothing else in it
// is stricter than the domain's usual rules. The name must be new.
func (dc *DC) SetLockoutPolicyOf(ctx context.Context, name, sam string, threshold int, duration, window time.Duration) error {
	return dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, "cn")
		if err != nil {
			return err
		}
		add := ldap.NewAddRequest("CN="+ldap.EscapeDN(name)+","+dc.settingsContainer(), nil)
		for _, a := range []struct{ name, value string }{
			{"objectClass", "msDS-PasswordSettings"}, {"msDS-PasswordSettingsPrecedence", "10"}, {"msDS-PSOAppliesTo", entry.DN},
			{"msDS-LockoutThreshold", strconv.Itoa(threshold)}, {"msDS-LockoutDuration", interval(duration)}, {"msDS-LockoutObservationWindow", interval(window)},
			{"msDS-PasswordReversibleEncryptionEnabled", "FALSE"}, {"msDS-PasswordHistoryLength", "0"}, {"msDS-PasswordComplexityEnabled", "FALSE"},
			{"msDS-MinimumPasswordLength", "0"}, {"msDS-MinimumPasswordAge", "0"}, {"msDS-MaximumPasswordAge", "-9223372036854775808"},
		} {
			add.Attribute(a.name, []string{a.value})
		}
		if err := s.Add(add); err != nil {
			return fmt.Errorf("samba: creating password settings object %s: %w", name, err)
		}
		return nil
	})
}

// ForgetWrongPasswords makes an account's last wrong password so much older, as if time had passed.
func (dc *DC) ForgetWrongPasswords(ctx context.Context, sam string, by time.Duration) error {
	return dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, "cn")
		if err != nil {
			return err
		}
		return dc.write(ctx, entry.DN, "badPasswordTime", filetime(time.Now().Add(-by)))
	})
}

// ForgetAccount takes away an account's counts of wrong passwords, which are not replicated: a domain controller at which nobody has tried to be
// that account yet does not have them. No module lets anybody do that, so the file below them is edited.
func (dc *DC) ForgetAccount(ctx context.Context, sam string) error {
	return dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, "cn")
		if err != nil {
			return err
		}
		partition := filepath.Join("sam.ldb.d", strings.ToUpper(dc.BaseDN)+".ldb")
		return dc.edit(ctx, partition, entry.DN, "delete: badPwdCount\n-\ndelete: badPasswordTime")
	})
}

// GrantReadOfPasswordSettings lets an account read password settings objects, those that are there and those to come, which else only
// administrators may.
func (dc *DC) GrantReadOfPasswordSettings(ctx context.Context, sam string) error {
	return dc.as(ctx, func(s *Session) error {
		trustee, err := dc.find(s, sam, "objectSid")
		if err != nil {
			return err
		}
		found, err := s.Search(ldap.NewSearchRequest(dc.settingsContainer(), ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
			"(objectClass=*)", []string{"nTSecurityDescriptor"}, []ldap.Control{onlyDACL()}))
		if err != nil {
			return fmt.Errorf("samba: reading who may read password settings: %w", err)
		}
		for _, e := range found.Entries {
			descriptor, err := grant(e.GetRawAttributeValue("nTSecurityDescriptor"), trustee.GetRawAttributeValue("objectSid"))
			if err != nil {
				return err
			}
			change := ldap.NewModifyRequest(e.DN, []ldap.Control{onlyDACL()})
			change.Replace("nTSecurityDescriptor", []string{string(descriptor)})
			if err := s.Modify(change); err != nil {
				return fmt.Errorf("samba: letting %s read %s: %w", sam, e.DN, err)
			}
		}
		return nil
	})
}

// onlyDACL limits reading and writing of security descriptors to the list of who may do what (LDAP_SERVER_SD_FLAGS_OID, MS-ADTS 3.1.1.3.4.1.11).
func onlyDACL() ldap.Control {
	return ldap.NewControlString("1.2.840.113556.1.4.801", true, "\x30\x03\x02\x01\x04")
}

// grant adds to a security descriptor that somebody may read the object and what is below it (MS-DTYP 2.4.6, 2.4.5, 2.4.4.2).
func grant(descriptor, sid []byte) ([]byte, error) {
	const (
		header        = 20
		aclHeader     = 8
		selfRelative  = 0x8000
		hasDACL       = 0x0004
		inherit       = 0x02     // CONTAINER_INHERIT_ACE
		readAndList   = 0x020014 // RIGHT_READ_CONTROL, RIGHT_DS_READ_PROPERTY, RIGHT_DS_LIST_CONTENTS
		accessAllowed = 0x00
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
	ace := []byte{accessAllowed, inherit, 0, 0}
	ace = binary.LittleEndian.AppendUint32(ace, readAndList)
	ace = append(ace, sid...)
	binary.LittleEndian.PutUint16(ace[2:], uint16(len(ace)))
	out := make([]byte, header, header+size+len(ace))
	out[0] = 1
	binary.LittleEndian.PutUint16(out[2:], selfRelative|hasDACL)
	binary.LittleEndian.PutUint32(out[16:], header)
	out = append(append(out, descriptor[at:at+size]...), ace...)
	acl := out[header:]
	binary.LittleEndian.PutUint16(acl[2:], uint16(size+len(ace)))
	binary.LittleEndian.PutUint16(acl[4:], binary.LittleEndian.Uint16(acl[4:])+1)
	return out, nil
}
