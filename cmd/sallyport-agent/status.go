package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/wire"
)

type statusCommand struct {
	Checks int    `help:"How many of the newest checks to show, of 20 that are kept." default:"5" placeholder:"N"`
	Output string `help:"How to print: text or json." enum:"text,json" default:"text" placeholder:"FORMAT" short:"o"`
}

// Help is printed below the flags.
func (statusCommand) Help() string {
	return `Run it as the agent's user, or as root. The exit code is 0 only when the agent runs and is attached to its gateway.

Examples:
  sudo -u sallyport-agent sallyport-agent status
  sallyport-agent status --checks 20
  sallyport-agent status --output json | jq .link.state`
}

// shownStatus is the JSON output: what the agent wrote, and what can be said of it now.
type shownStatus struct {
	Running  bool `json:"running"`
	Attached bool `json:"attached"`
	agent.Status
}

// Run is called by kong.
func (s *statusCommand) Run(c *cli, term *terminal) error {
	status, err := agent.ReadStatus(statusFile(c.State))
	switch {
	case agent.NeverRan(err):
		_, err := identity.Open(c.State)
		if root := os.Geteuid() == 0 && errors.Is(err, identity.ErrPermissions); err != nil && !root {
			return err // root may look at another user's agent, and must not run it
		}
		fmt.Fprintln(term.out, "registered, and has never run: start it (systemctl start sallyport-agent)")
		return errNotAttached
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as the agent's user, or as root", err)
	case err != nil:
		return err
	}
	now := time.Now()
	if s.Output == "json" {
		e := json.NewEncoder(term.out)
		e.SetIndent("", "  ")
		err = e.Encode(shownStatus{status.Running(now), status.Attached(now), status})
	} else {
		err = printStatus(term.out, status, now, s.Checks)
	}
	if err == nil && !status.Attached(now) {
		err = errNotAttached
	}
	return err
}

// printStatus prints a status for people, with so many of the newest checks.
func printStatus(out io.Writer, s agent.Status, now time.Time, checks int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	answers := func(l *agent.Latency) {
		if l != nil {
			row("", "answers in %.3g ms (median of the last %d), %.3g ms (19 of 20)", l.MedianMS, l.Answers, l.P95MS)
		}
	}
	row("agent", "%s (%s), version %s", s.AgentName, s.Agent, s.Version)
	row("tenant", "%s, directory %s", s.TenantName, s.DirectoryName)
	switch {
	case s.Running(now):
		row("process", "%d, up %s", s.PID, now.Sub(s.Started).Round(time.Second))
	case s.Ended != "":
		row("process", "ended %s ago: %s", now.Sub(s.Written).Round(time.Second), s.Ended)
	default:
		row("process", "gone without a word: last heard of %s ago, look in its log", now.Sub(s.Written).Round(time.Second))
	}
	if s.Running(now) {
		row("link", "%s to %s since %s", s.Link.State, s.Link.Address, s.Link.Since.Format(time.RFC3339))
		if s.Link.Gateway != "" {
			row("gateway", "%s, clock %+d ms", s.Link.Gateway, s.Link.SkewMS)
		}
		row("link since start", "%d reconnects, %d failed tries", s.Link.Reconnects, s.Link.Failures)
	}
	if s.Link.LastError != "" {
		row("last error", "%s", s.Link.LastError)
	}
	left := s.Certificate.Sub(now)
	if left > 0 {
		row("certificate", "until %s, %d days left, renewed by itself at %s", s.Certificate.UTC().Format(time.RFC3339), int(left.Hours()/24), s.Renewal.UTC().Format(time.RFC3339))
		row("key store", "%s", s.KeyStore)
	} else {
		entry, _ := wire.Lookup(wire.CertificateExpired)
		row("certificate", "expired at %s: %s", s.Certificate.UTC().Format(time.RFC3339), entry.Remedy)
	}
	row("checks", "%d right, %d wrong, %d without a verdict, %d refused; %d of %d in flight",
		s.Tally.Right, s.Tally.Wrong, s.Tally.Trouble, s.Tally.Refused, s.Link.InFlight, s.Link.Slots)
	if g := s.Guard; g != nil {
		row("lockout guard", "%s", guardWords(*g))
		if g.State != ldap.GuardOff {
			row("", "%d attempts spared, %d at protected accounts, since the start", g.Spared, g.Protected)
		}
		// Nothing has been read since: this is what checks end in now.
		if g.LastError != "" && g.LastErrorAt.After(g.ReadAt) {
			row("", "%s", g.LastError)
		}
	}
	if v := s.Validator; v != nil {
		row("validator", "%s: %s", v.Kind, v.Why)
		if v.Kind == agent.Kerberos {
			row("", "realm %s, proven by %s", v.Realm, cmp.Or(v.Service, "NOTHING"))
			if v.Armor != "" {
				row("", "armoured with the ticket of %s", v.Armor)
			}
		}
		if v.Kind == agent.Windows {
			row("", "member of %s", v.Domain)
		}
		for _, k := range v.KDCs {
			row("kdc", "%s %s", k.Address, cmp.Or(k.LastError, "in order"))
			answers(k.Latency)
			if k.UDPError != "" {
				row("", "by TCP alone for now, since UDP was of no use: %s", k.UDPError)
			}
		}
	}
	if d := s.DNS; d != nil {
		row("DNS", "%s", dnsWords(*d))
		switch {
		case d.LastError != "" && len(d.Named) > 0:
			row("", "%s; what was found before stays in use", d.LastError)
		case d.LastError != "":
			row("", "%s", d.LastError)
		}
	}
	for _, d := range s.Servers {
		row("domain controller", "%s %s, %d connections idle, %d in use", d.Address, d.State, d.Idle, d.InUse)
		if d.Why != "" {
			row("", "chosen: %s", d.Why)
		}
		if d.PingMS > 0 {
			row("", "a question takes %.3g ms", d.PingMS)
		}
		answers(d.Latency)
		if d.LastError != "" && d.State != ldap.Serving {
			row("", "%s", d.LastError)
			if d.Remedy != "" {
				row("", "what to do: %s", d.Remedy)
			}
		}
	}
	if len(s.Recent) > 0 && checks > 0 {
		row("last checks", "newest first; the trace finds each in the service: sallyport signin show TRACE")
	}
	for _, f := range s.Recent[:min(max(checks, 0), len(s.Recent))] {
		what := string(f.Outcome)
		if f.Outcome != agent.Right && f.Outcome != agent.Wrong {
			what += ", " + f.Reason
		}
		if f.Code != 0 {
			what += fmt.Sprintf(" (%d)", f.Code)
		}
		if f.DC != "" {
			what += fmt.Sprintf(", %s in %.3g ms", f.DC, f.TookMS)
		}
		row("  "+f.At.UTC().Format(time.RFC3339), "%s, trace %s", what, cmp.Or(f.Trace, "none"))
	}
	return w.Flush()
}

// dnsWords says what DNS says about domain controllers.
func dnsWords(d agent.DNS) string {
	what := fmt.Sprintf("names nobody for %s yet", d.Domain)
	if len(d.Named) > 0 {
		what = fmt.Sprintf("names %s for %s", strings.Join(d.Named, ", "), d.Domain)
	}
	if d.LeftOut > 0 {
		what += fmt.Sprintf(" and %d more, which are not needed", d.LeftOut)
	}
	switch {
	case d.SiteUnknown:
		what += fmt.Sprintf("; it knows nobody of the site %s", d.Site)
	case d.SiteLearned:
		what += fmt.Sprintf("; this host is in the site %s", d.Site)
	case d.Site != "":
		what += fmt.Sprintf("; those of the site %s go first", d.Site)
	}
	if len(d.Foreign) > 0 {
		what += fmt.Sprintf("; outside of the domain, and not used: %s", strings.Join(d.Foreign, ", "))
	}
	return what
}

// guardWords says how the lockout guard stands.
func guardWords(g agent.Guard) string {
	var what string
	switch g.State {
	case ldap.GuardOff:
		return "off: no reader account (reader-name); attempts that would lock somebody in the directory are not spared"
	case ldap.GuardRefused:
		return fmt.Sprintf("blind: the directory does not accept %s (%d)", g.Reader, wire.ReaderRefused)
	case ldap.GuardUntried:
		return fmt.Sprintf("%s has not read anything yet", g.Reader)
	case ldap.GuardPartial:
		what = fmt.Sprintf("%s may not read %s", g.Reader, strings.Join(g.Missing, "; "))
	default:
		what = fmt.Sprintf("%s reads all it needs", g.Reader)
	}
	switch p := g.Strictest; {
	case p == nil:
	case p.Threshold == 0:
		what += "; the directory never locks"
	default:
		what += fmt.Sprintf("; %s locks after %d, %d kept in reserve", p.Source, p.Threshold, g.Reserve)
	}
	return what
}
