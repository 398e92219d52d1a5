package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Mail sends events over SMTP.
type Mail struct {
	// Address is the server's host:port. From is the sender, To receives every event of all tenants.
	Address, From string
	To            []string
	// Administrators returns the mail addresses of a tenant's administrators, who receive the tenant's events; nil: nobody.
	Administrators func(context.Context, tenant.Scope) ([]string, error)
	// Username and Password sign in at the server (PLAIN, RFC 4616); an empty Username does not.
	Username string
	Password wire.Secret
	// Roots are the authorities that the server's certificate must lead to; nil means the system's. With Roots, TLS is wanted on this machine
	// too.
	Roots *x509.CertPool
}

func (*Mail) name() string { return "mail" }

// deliver sends one mail. Nobody to send it to is no failure; some recipients that the server refuses are none either.
func (m *Mail) deliver(ctx context.Context, scope tenant.Scope, msg Message) error {
	to, err := m.recipients(ctx, scope)
	if err != nil || len(to) == 0 {
		return err
	}
	host, _, err := net.SplitHostPort(m.Address)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed connection, which the next line notices
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	offered, _ := c.Extension("STARTTLS")
	switch {
	case offered && (!local(host) || m.Roots != nil):
		if err := c.StartTLS(&tls.Config{ServerName: host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	case !local(host) || m.Roots != nil:
		return errors.New("the mail server offers no STARTTLS: nothing is sent in the open")
	}
	if m.Username != "" {
		if err := c.Auth(smtp.PlainAuth("", m.Username, string(m.Password.Reveal()), host)); err != nil {
			return fmt.Errorf("signing in at the mail server: %w", err)
		}
	}
	if err := c.Mail(m.From); err != nil {
		return err
	}
	var taken []string
	var refused error
	for _, address := range to {
		if err := c.Rcpt(address); err != nil {
			refused = errors.Join(refused, err)
			continue
		}
		taken = append(taken, address)
	}
	if len(taken) == 0 {
		return fmt.Errorf("the mail server takes no recipient: %w", refused)
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.compose(msg, taken)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the mail was taken
	return nil
}

// recipients are all that are addresses, each once.
func (m *Mail) recipients(ctx context.Context, scope tenant.Scope) ([]string, error) {
	all := append([]string(nil), m.To...)
	if m.Administrators != nil {
		more, err := m.Administrators(ctx, scope)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	seen := map[string]bool{}
	var out []string
	for _, s := range all {
		a, err := mail.ParseAddress(s)
		if err != nil || seen[strings.ToLower(a.Address)] || strings.ContainsAny(a.Address, "\r\n <>") || len(out) == maxRecipients {
			continue
		}
		seen[strings.ToLower(a.Address)] = true
		out = append(out, a.Address)
	}
	return out, nil
}

// compose writes the mail (RFC 5322, RFC 2045). What agents and people wrote stands only in the encoded subject and body.
func (m *Mail) compose(msg Message, to []string) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(m.From, "@")
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
		m.From, strings.Join(to, ">, <"), mime.QEncoding.Encode("utf-8", subject(msg)), msg.At.UTC().Format(time.RFC1123Z), msg.ID, domain)
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(text(msg))) // a buffer takes everything
	_ = q.Close()
	return b.Bytes()
}

// headlines say what happened.
var headlines = map[string]string{
	AgentRegistered: "an agent registered", AgentApproved: "an agent was approved", AgentDenied: "an agent was denied",
	AgentQuarantined: "an agent was frozen", PolicyChanged: "the registration policy was changed",
}

func subject(m Message) string {
	what := headlines[m.Kind]
	if what == "" {
		what = m.Kind
	}
	if m.Kind == AgentRegistered && m.State == "pending" {
		what += " and waits for an approval"
	}
	s := "Sallyport " + m.TenantName + ": " + what
	if m.Name != "" {
		s += ": " + m.Name
	}
	return s
}

func text(m Message) string {
	var b strings.Builder
	b.WriteString(subject(m) + "\n\n")
	for _, line := range []struct{ label, value string }{
		{"agent", m.Name}, {"host", m.Host}, {"system", m.OS}, {"address", m.Address}, {"directory", m.Directory}, {"state", m.State},
		{"fingerprint", m.Fingerprint}, {"by", m.By}, {"detail", m.Detail}, {"at", m.At.UTC().Format(time.RFC3339)}, {"event", m.ID},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", line.label+":", line.value)
		}
	}
	if m.Page != "" {
		b.WriteString("\nTo approve or deny it: " + m.Page + "\n")
	}
	if m.Kind == AgentRegistered {
		b.WriteString("\nIf nobody of you expects this agent, shut it out: sallyport agent revoke " + m.Agent + " --reason …\n")
	}
	return b.String()
}

// local reports whether a host is this machine.
func local(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
