package reglog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Syslog sends each record as a message of RFC 5424. Syslog acknowledges nothing: what a broken connection or a datagram loses is lost there,
// and shows as a missing entry when what was collected is verified.
type Syslog struct {
	// Address is udp://host:port, tcp://host:port, tls://host:port or unix:///dev/log.
	Address string
	// TLS is for tls://; nil verifies with the system's roots.
	TLS *tls.Config
}

// Name is "syslog".
func (Syslog) Name() string { return "syslog" }

// priority is facility 13, log audit, and severity 5, notice (RFC 5424 §6.2.1).
const priority = 13*8 + 5

// Send opens a connection for these records: they are rare, and a fresh one is not one that died unnoticed.
func (s Syslog) Send(ctx context.Context, _, _ string, records []Record) (err error) {
	conn, stream, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	for _, r := range records {
		m := message(r, host, os.Getpid(), time.Now())
		if stream {
			m = append([]byte(strconv.Itoa(len(m))+" "), m...) // octet counting, RFC 6587 §3.4.1 and RFC 5425 §4.3
		}
		if _, err := conn.Write(m); err != nil {
			return err
		}
	}
	return nil
}

func (s Syslog) dial(ctx context.Context) (conn net.Conn, stream bool, err error) {
	u, err := ParseSyslog(s.Address)
	if err != nil {
		return nil, false, err
	}
	var d net.Dialer
	switch u.Scheme {
	case "unix":
		conn, err = d.DialContext(ctx, "unixgram", u.Path)
	case "tls":
		stream = true
		conn, err = (&tls.Dialer{NetDialer: &d, Config: s.TLS}).DialContext(ctx, "tcp", u.Host)
	default:
		stream = u.Scheme == "tcp"
		conn, err = d.DialContext(ctx, u.Scheme, u.Host)
	}
	return conn, stream, err
}

// ParseSyslog reads an address of [Syslog].
func ParseSyslog(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return u, nil
	case (u.Scheme == "udp" || u.Scheme == "tcp" || u.Scheme == "tls") && u.Hostname() != "" && u.Port() != "" && u.Path == "":
		return u, nil
	}
	return nil, fmt.Errorf("%q is not udp://host:port, tcp://host:port, tls://host:port or unix:///dev/log", address)
}

// message writes one message. Its text is the record's line; JSON needs no byte order mark (RFC 5424 §6.4, MSG-ANY).
func message(r Record, host string, pid int, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>1 %s %s sallyport %d registration - ", priority, now.UTC().Format(timeForm), hostname(host), pid)
	b.Write(r.Line())
	return b.Bytes()
}

// hostname is a HOSTNAME of RFC 5424 §6: up to 255 printable characters, or "-".
func hostname(s string) string {
	if s == "" || len(s) > 255 {
		return "-"
	}
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 {
			return "-"
		}
	}
	return s
}
