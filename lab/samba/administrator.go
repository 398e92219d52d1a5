package samba

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Session is an LDAP connection. Close it after use.
type Session struct {
	*ldap.Conn
	release func() bool // takes the watch on the context away
}

// Close ends the connection.
func (s *Session) Close() error {
	s.release()
	return s.Conn.Close()
}

// Connect opens a verified LDAPS connection on which nobody is bound yet. It is closed when ctx ends.
func (dc *DC) Connect(ctx context.Context) (*Session, error) {
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: dc.CAPool, ServerName: dc.Host, MinVersion: tls.VersionTLS12}}
	raw, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(dc.Addr, "636"))
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	conn := ldap.NewConn(raw, true)
	conn.Start()
	conn.SetTimeout(operationTime)
	return &Session{Conn: conn, release: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// Administrator opens a connection with Administrator's rights.
func (dc *DC) Administrator(ctx context.Context) (*Session, error) {
	s, err := dc.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Bind(dc.AdminUPN(), string(dc.AdminPassword.Reveal())); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("samba: binding as Administrator: %w", err)
	}
	return s, nil
}

// as runs do with Administrator's rights.
func (dc *DC) as(ctx context.Context, do func(*Session) error) error {
	s, err := dc.Administrator(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// SetLockoutPolicy changes the domain's policy: how many wrong passwords lock an account (0: none ever do, and none are
// counted), for how long (0: until an administrator unlocks it), and how far apart they may be to add up.
func (dc *DC) SetLockoutPolicy(ctx context.Context, threshold int, duration, window time.Duration) error {
	if threshold < 0 || duration < 0 || window <= 0 {
		return errors.New("samba: a lockout policy needs a threshold and a duration of 0 or more and a window above 0")
	}
	change := ldap.NewModifyRequest(dc.BaseDN, nil)
	change.Replace("lockoutThreshold", []string{strconv.Itoa(threshold)})
	change.Replace("lockoutDuration", []string{interval(duration)})
	change.Replace("lockOutObservationWindow", []string{interval(window)})
	return dc.as(ctx, func(s *Session) error {
		if err := s.Modify(change); err != nil {
			return fmt.Errorf("samba: changing the lockout policy: %w", err)
		}
		return nil
	})
}

// Attribute returns the first value of an attribute of a user, as its bytes are; "" when the user has none. The user's
// sAMAccountName must be exact except for case.
func (dc *DC) Attribute(ctx context.Context, sam, name string) (value string, err error) {
	err = dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, name)
		if err == nil {
			value = string(entry.GetRawAttributeValue(name))
		}
		return err
	})
	return value, err
}

// BadPwdCount returns the domain controller's own count of wrong passwords: the judge of how often it was really asked.
func (dc *DC) BadPwdCount(ctx context.Context, sam string) (int, error) {
	value, err := dc.Attribute(ctx, sam, "badPwdCount")
	if err != nil || value == "" {
		return 0, err
	}
	return strconv.Atoi(value)
}

// Unlock unlocks an account and sets its count of wrong passwords to zero.
func (dc *DC) Unlock(ctx context.Context, sam string) error {
	return dc.modify(ctx, sam, "lockoutTime", "0")
}

// SetPassword gives a user a new password, as an administrator does. For an hour after that Samba still accepts the old one
// too, as Windows does for its older protocols.
func (dc *DC) SetPassword(ctx context.Context, sam string, password []byte) error {
	return dc.modify(ctx, sam, "unicodePwd", Quoted(password))
}

func (dc *DC) modify(ctx context.Context, sam, attribute, value string) error {
	return dc.as(ctx, func(s *Session) error {
		entry, err := dc.find(s, sam, "cn")
		if err != nil {
			return err
		}
		change := ldap.NewModifyRequest(entry.DN, nil)
		change.Replace(attribute, []string{value})
		if err := s.Modify(change); err != nil {
			return fmt.Errorf("samba: changing %s of %s: %w", attribute, sam, err)
		}
		return nil
	})
}

// find returns the entry with a sAMAccountName.
func (dc *DC) find(s *Session, sam string, attributes ...string) (*ldap.Entry, error) {
	found, err := dc.search(s, sam, attributes...)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("samba: %d accounts are named %s", len(found), sam)
	}
	return found[0], nil
}

func (dc *DC) search(s *Session, sam string, attributes ...string) ([]*ldap.Entry, error) {
	found, err := s.Search(ldap.NewSearchRequest(dc.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
		"(sAMAccountName="+ldap.EscapeFilter(sam)+")", attributes, nil))
	if err != nil {
		return nil, fmt.Errorf("samba: looking for %s: %w", sam, err)
	}
	return found.Entries, nil
}

// interval is a duration as Active Directory keeps it: negative, in units of 100 ns.
func interval(d time.Duration) string { return strconv.FormatInt(-int64(d/100), 10) }

// filetime is a point in time as Active Directory keeps it: units of 100 ns since the year 1601.
func filetime(t time.Time) string {
	const epoch = 11644473600 // seconds from 1601 to 1970
	return strconv.FormatInt((t.Unix()+epoch)*10_000_000, 10)
}
