package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// demand is what a directory's answer demands of the page and of the log.
type demand struct {
	shown, logged wire.Code
}

// demands says, apart from the service's own rules so that both can be wrong only separately, what each answer of a directory
// must become: what tells a stranger something about the account looks like a wrong password and is named in the log alone;
// what only somebody with the right password can learn is told.
var demands = map[wire.Reason]demand{
	wire.Accepted:          {0, 0},
	wire.BadPassword:       {50126, 50126},
	wire.NoSuchUser:        {50126, 50126},
	wire.AccountLocked:     {50126, 50053},
	wire.AccountDisabled:   {50126, 50057},
	wire.AccountExpired:    {50126, 90051},
	wire.AccountRestricted: {50126, 90050},
	wire.PasswordExpired:   {50144, 50144},
	wire.MustChange:        {50144, 50144},
	wire.LogonHours:        {80012, 80012},
	wire.Workstation:       {90052, 90052},
}

// play is one sign-in of the check.
type play struct {
	// account is how the row is called.
	account, name, password string
	want                    demand
	// upn is who must be signed in, when somebody must.
	upn string
	// reason is what the log must say the directory said; empty: nothing is demanded.
	reason wire.Reason
	// before changes the world first.
	before func(context.Context) error
	// nobody demands that no agent served this.
	nobody bool
}

// Check plays every account through the real pages, then loses one agent, then all, and compares each answer with what the
// directory's answer demands. It prints a table and, below it, what was wrong.
func (w *World) Check(ctx context.Context) (passed, failed int, err error) {
	transport, err := w.transport()
	if err != nil {
		return 0, 0, err
	}
	names, err := w.agentNames(ctx)
	if err != nil {
		return 0, 0, err
	}
	out := tabwriter.NewWriter(w.options.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\nACCOUNT\tTHE PAGE\tCODE\tIN THE LOG\tAGENT\tTIME AT EACH STOP (ms since the password was posted)\t")
	var complaints []string
	for _, p := range w.plays() {
		row, complaint := w.playOne(ctx, p, transport, names)
		verdict := "ok"
		if complaint == "" {
			passed++
		} else {
			failed++
			verdict = "FAILED"
			complaints = append(complaints, p.account+": "+complaint)
		}
		fmt.Fprintf(out, "%s\t%s\n", row, verdict)
		if ctx.Err() != nil {
			return passed, failed, ctx.Err()
		}
	}
	if err := out.Flush(); err != nil {
		return passed, failed, err
	}
	for _, c := range complaints {
		fmt.Fprintln(w.options.Out, "FAILED", c)
	}
	return passed, failed, nil
}

// plays lists the sign-ins of the check in their order.
func (w *World) plays() []play {
	wrong := demand{50126, 50126}
	var out []play
	for _, p := range w.directory.people {
		right := string(p.Password.Reveal())
		out = append(out, play{account: p.SAM + " (" + string(p.State) + ")", name: p.UPN, password: right,
			want: demands[p.Answer(true)], reason: p.Answer(true), upn: p.UPN})
		if p.State == people.Normal {
			out = append(out, play{account: p.SAM + ", wrong password", name: p.UPN, password: people.WrongPassword, want: wrong, reason: wire.BadPassword})
		}
		if p.State == people.Disabled || p.State == people.PasswordExpired {
			reason := p.Answer(false)
			out = append(out, play{account: p.SAM + ", wrong password", name: p.UPN, password: people.WrongPassword, want: demands[reason], reason: reason})
		}
	}
	out = append(out,
		play{account: "unknown user", name: "nobody@" + w.directory.domain, password: people.WrongPassword, want: wrong},
		play{account: "unknown domain", name: "nobody@unknown.example", password: people.WrongPassword, want: demand{50126, 50128}, nobody: true},
		play{account: "break-glass", name: breakGlass, password: w.kept.BreakGlassPassword, upn: breakGlass, nobody: true},
		play{account: "break-glass, wrong password", name: breakGlass, password: people.WrongPassword, want: wrong, nobody: true})
	someone := play{name: "nobody@" + w.directory.domain, password: people.WrongPassword, want: wrong}
	if len(w.directory.people) > 0 {
		p := w.directory.people[0]
		someone = play{name: p.UPN, password: string(p.Password.Reveal()), upn: p.UPN, reason: wire.Accepted}
	}
	lost := someone
	lost.account, lost.before = "after one agent was killed", func(context.Context) error { w.KillAgent(0); return nil }
	none := play{account: "all agents stopped", name: someone.name, password: someone.password, want: demand{80001, 80001}, nobody: true,
		before: func(ctx context.Context) error { w.StopAgents(); return w.awaitAgents(ctx, 0) }}
	return append(out, lost, none,
		play{account: "break-glass, all agents stopped", name: breakGlass, password: w.kept.BreakGlassPassword, upn: breakGlass, nobody: true})
}

// playOne signs in and compares. It returns the row of the table and what was wrong, empty if nothing was.
func (w *World) playOne(ctx context.Context, p play, transport http.RoundTripper, agents map[string]string) (row, complaint string) {
	if p.before != nil {
		if err := p.before(ctx); err != nil {
			return p.account + "\t\t\t\t\t\t", err.Error()
		}
	}
	v := visitor.New(w.app(), transport)
	saw, err := v.SignIn(ctx, p.name, p.password)
	if err != nil {
		return p.account + "\t\t\t\t\t\t", err.Error()
	}
	record, err := w.record(ctx, saw.Trace, p.name)
	if err != nil {
		return p.account + "\t" + saw.Sentence + "\t\t\t\t\t", err.Error()
	}
	page := "signed in as " + saw.SignedIn
	if saw.SignedIn == "" {
		page = shorten(saw.Sentence, 44)
	}
	row = strings.Join([]string{p.account, page, number(saw.Code), strings.TrimSpace(number(int(record.Code)) + " " + record.Reason),
		agents[record.Agent], stops(record.Stops)}, "\t") + "\t"
	switch {
	case p.want.shown == 0 && !strings.EqualFold(saw.SignedIn, p.upn):
		complaint = fmt.Sprintf("the page says %q (%d), but %s must be signed in", saw.Sentence, saw.Code, p.upn)
	case p.want.shown != 0 && saw.SignedIn != "":
		complaint = fmt.Sprintf("%s was signed in, but must not be", saw.SignedIn)
	case wire.Code(saw.Code) != p.want.shown:
		complaint = fmt.Sprintf("the page shows %d, not %d", saw.Code, p.want.shown)
	case record.Code != p.want.logged:
		complaint = fmt.Sprintf("the log says %d, not %d", record.Code, p.want.logged)
	case p.reason != "" && record.Reason != string(p.reason):
		complaint = fmt.Sprintf("the log says the directory said %q, not %q", record.Reason, p.reason)
	case p.nobody && record.Agent != "":
		complaint = fmt.Sprintf("an agent (%s) was involved, but none must be", record.Agent)
	case !p.nobody && record.Agent == "":
		complaint = "the log names no agent"
	case saw.SignedIn == "" && saw.Trace == "":
		complaint = "the page shows no trace id"
	}
	return row, complaint
}

// record finds the log's record of what was just played: by the trace id that the page showed, else the name's newest.
func (w *World) record(ctx context.Context, trace, name string) (admin.SignIn, error) {
	if trace == "" {
		return w.newest(ctx, name)
	}
	items, err := w.signIns(ctx, trace)
	if err != nil {
		return admin.SignIn{}, err
	}
	if len(items) != 1 {
		return admin.SignIn{}, fmt.Errorf("the sign-in log has %d records of trace %s, not one", len(items), trace)
	}
	return items[0], nil
}

// agentNames maps the agents' ids to their names.
func (w *World) agentNames(ctx context.Context) (map[string]string, error) {
	agents, err := admin.All[admin.Agent](ctx, w.api, admin.Path("tenants", tenantName, "agents"))
	names := map[string]string{"": "-"}
	for _, a := range agents {
		names[a.ID] = a.Name
	}
	return names, err
}

func number(code int) string {
	if code == 0 {
		return "-"
	}
	return fmt.Sprint(code)
}

// shorten cuts a sentence for a table.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// stops prints the times of the stops in their order, "asked 0.1 fenced 0.9 …".
func stops(all []admin.Stop) string {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b admin.Stop) int { return cmp.Compare(a.Micros, b.Micros) })
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = fmt.Sprintf("%s %.1f", s.Name, float64(s.Micros)/1000)
	}
	return strings.Join(parts, " ")
}

// Explain prints what a person can do now.
func (w *World) Explain() {
	o := w.options.Out
	fmt.Fprintf(o, "\nSallyport is running.\n\n")
	if w.directory.label != "" {
		fmt.Fprintf(o, "  Directory            %s\n", w.directory.label)
	}
	fmt.Fprintf(o, "  Sample application   %s\n", w.SampleURL())
	fmt.Fprintf(o, "  Issuer               %s\n  Discovery            %s/.well-known/openid-configuration\n", w.Issuer(), w.Issuer())
	fmt.Fprintf(o, "  Admin API            https://%s/admin/v1   (token: %s/service/admin-token)\n", w.kept.Admin, w.data)
	fmt.Fprintf(o, "  Health and metrics   http://%s/readyz  http://%s/metrics\n", w.kept.Monitor, w.kept.Monitor)
	fmt.Fprintf(o, "  Logs                 %s/*.log\n", w.data)
	fmt.Fprintf(o, "\nYour browser does not know the evaluation CA and will warn about https://localhost: go on, or trust\n  %s\n", w.CAFile())
	table := tabwriter.NewWriter(o, 2, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\n  NAME\tPASSWORD\tWHAT HAPPENS")
	for _, p := range w.directory.people {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", p.UPN, p.Password.Reveal(), happens(p))
		if p.SAM == "bob" {
			fmt.Fprintf(table, "  %s\tanything else\twrong password: 50126\n", p.UPN)
		}
	}
	if len(w.directory.people) == 0 {
		fmt.Fprintf(table, "  anybody@%s\ttheirs\twhat your directory says\n", w.directory.domain)
	}
	fmt.Fprintf(table, "  %s\t%s\tsigns in even when every agent is down (break-glass)\n", breakGlass, w.kept.BreakGlassPassword)
	_ = table.Flush() // a terminal that has gone away reads nothing
	fmt.Fprintf(o, "\nTo try:\n  kill an agent      kill -9 %d     the next sign-in does not notice\n", w.agents[0].PID())
	pids := make([]string, len(w.agents))
	for i, p := range w.agents {
		pids[i] = fmt.Sprint(p.PID())
	}
	fmt.Fprintf(o, "  stop them all      kill %s     80001 at once; break-glass still signs in\n", strings.Join(pids, " "))
	fmt.Fprintf(o, "  the sign-in log    %s signin list --tenant %s --server https://%s --token-file %s/service/admin-token --ca-file %s\n",
		cmp.Or(w.options.Program, "go run ./cmd/sallyport"), tenantName, w.kept.Admin, w.data, w.CAFile())
	fmt.Fprintf(o, "\nCtrl-C ends everything.\n")
}

// happens says for people what a person's sign-in leads to.
func happens(p people.Person) string {
	d := demands[p.Answer(true)]
	switch {
	case d.shown == 0:
		return "signs in"
	case d.shown == d.logged:
		entry, _ := wire.Lookup(d.shown)
		return fmt.Sprintf("%s: %d", strings.ReplaceAll(entry.Name, "-", " "), d.shown)
	default:
		entry, _ := wire.Lookup(d.logged)
		return fmt.Sprintf("looks like a wrong password (%d); the log says %d %s", d.shown, d.logged, strings.ReplaceAll(entry.Name, "-", " "))
	}
}

// Run is the command: it starts everything, then either plays the check or waits for ctx to end, and always ends everything.
// After a check the last line is "N passed, N failed"; a failed play is an error too.
func Run(ctx context.Context, o Options, check bool) error {
	if o.Out == nil {
		o.Out = io.Discard
	}
	began := time.Now()
	fmt.Fprintln(o.Out, "Sallyport demonstration")
	w, err := Start(ctx, o)
	if err != nil {
		return err
	}
	w.say("all up after %s", time.Since(began).Round(100*time.Millisecond))
	passed, failed := 0, 0
	if check {
		passed, failed, err = w.Check(ctx)
	} else {
		w.Explain()
		err = w.Wait(ctx)
	}
	w.say("stopping")
	w.Close()
	w.say("everything has ended")
	if check {
		fmt.Fprintf(o.Out, "\n%d passed, %d failed\n", passed, failed)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d sign-ins did not end as they must", failed, passed+failed)
	}
	return err
}
