package samba

import (
	"context"
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
